"""A&D against the numbers of its sheet, the laws of its terms, and the blocks it brought: diffusion, difficulty,
smoothing."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock, quiet, samples
from torch import Tensor, nn

from semibench import IGNORE, Term, UnsupportedError
from semibench.blocks import ClassDifficulty, LabelDiffusion, blur3, gumbel_blur
from semibench.run.settings import term_records
from semibench_plugins.backbones.diff_vnet import DiffVNet
from semibench_plugins.methods.generalisation.a_and_d import AandD
from semibench_plugins.methods.generalisation.three_decoders.losses import class_dice, dice_with_ce

torch.set_num_threads(1)

LOGITS = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
"""(1, 2 classes, 2 voxels): logits (2, 0) and (0, 1)."""
LABEL = torch.tensor([[0, 1]])


def method(dims: int = 2, **options: Any) -> AandD:
    built = case_of(AandD, dims, backbone=DiffVNet, options={"ddim_steps": 2} | options).build()
    assert isinstance(built, AandD)
    return built


def batch(dims: int = 2, classes: int = 2, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    size = (32, 32) if dims == 2 else (16, 32, 16)
    image = torch.randn((4, 1, *size), generator=generator)
    label = torch.randint(classes, (2, *size), generator=generator)
    return {"labeled": samples(image[:2], label), "unlabeled": samples(image[2:])}


def reached(loss: Tensor, module: nn.Module) -> bool:
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True)
    return any(g is not None and bool(g.abs().sum() > 0) for g in found)


# diffusion


def test_products_of_the_schedule() -> None:
    kept = LabelDiffusion().kept
    expected = {0: 0.9999, 111: 0.873605, 222: 0.596809, 333: 0.318625, 444: 0.132865, 555: 0.043250, 666: 0.010984,
                777: 0.00217529, 888: 0.000335727, 999: 4.03584e-5}  # fmt: skip
    for time, value in expected.items():
        assert float(kept[time]) == pytest.approx(value, rel=1e-4)


def test_noise_has_mean_and_deviation() -> None:
    diffusion = LabelDiffusion()
    clean, time = torch.ones(2, 3, 4), torch.tensor([0, 444])
    silent = diffusion.noised(clean, time, torch.zeros_like(clean))
    assert torch.allclose(silent[0], torch.tensor(0.99995)) and torch.allclose(silent[1], torch.tensor(0.364506))
    loud = diffusion.noised(torch.zeros(2, 3, 4), time, torch.ones(2, 3, 4))
    assert torch.allclose(loud[1], torch.tensor(0.931201), atol=1e-6)
    torch.manual_seed(0)
    many = diffusion.noised(torch.ones(1, 200, 200), torch.tensor([444]))
    assert float(many.mean()) == pytest.approx(0.364506, abs=0.02)
    assert float(many.std()) == pytest.approx(0.931201, abs=0.02)


def test_a_step_of_ddim() -> None:
    diffusion = LabelDiffusion()
    assert diffusion.spaced(10) == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    moved = diffusion.back(torch.tensor(0.5), torch.tensor(1.0), 999, 888)
    assert float(moved) == pytest.approx(0.5118971, abs=1e-6)
    kept = float(diffusion.kept[999])
    noise = (0.5 - math.sqrt(kept)) / math.sqrt(1 - kept)
    assert noise == pytest.approx(0.4936571, abs=1e-6)
    for count in (1, 1001):
        with pytest.raises(ValueError, match="sampling steps"):
            diffusion.spaced(count)


def test_ddim_finds_what_the_network_knows() -> None:
    diffusion, truth = LabelDiffusion(), torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]])
    seen: list[int] = []

    def guess(noisy: Tensor, time: Tensor) -> Tensor:
        seen.append(int(time[0]))
        return 3.0 * truth

    assert torch.equal(diffusion.ddim(guess, torch.randn(1, 2, 2), count=10), truth)
    assert seen == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    start = torch.randn(1, 2, 2)
    first, second = (diffusion.ddim(lambda x, _: 0.5 * x, start, count=5) for _ in range(2))
    assert torch.equal(first, second)


# reparameterize and smooth


def test_kernel_of_the_blur() -> None:
    point = torch.zeros(1, 1, 5, 5, 5)
    point[0, 0, 2, 2, 2] = 1.0
    found = blur3(point)[0, 0]
    expected = {(2, 2, 2): 0.09226, (1, 2, 2): 0.05596, (1, 1, 2): 0.03394, (1, 1, 1): 0.02059}
    for place, value in expected.items():
        assert float(found[place]) == pytest.approx(value, abs=1e-5)
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-6)
    flat = blur3(torch.full((1, 2, 6, 6), 3.0))
    assert torch.allclose(flat[..., 1:-1, 1:-1], torch.tensor(3.0)) and float(flat[0, 0, 0, 0]) < 3.0
    assert torch.equal(blur3(point, 0.0), point)


@pytest.mark.parametrize(("classes", "share"), [(2, 0.881), (5, 0.649), (14, 0.362)])
def test_gumbel_noise_is_strong_with_many_classes(classes: int, share: float) -> None:
    torch.manual_seed(0)
    maps = torch.full((1, classes, 200, 200), -1.0)
    maps[:, 0] = 1.0
    drawn = gumbel_blur(maps, sigma=0.0)
    assert torch.allclose(drawn.sum(1), torch.tensor(1.0), atol=1e-5)
    assert float((drawn.argmax(1) == 0).float().mean()) == pytest.approx(share, abs=0.01)


# difficulty


def test_worked_example_of_the_difficulty() -> None:
    difficulty = ClassDifficulty(3, rule="ema")
    difficulty.last.copy_(torch.tensor([1e-8, 0.5, 0.4]))
    weights = difficulty.step(torch.tensor([0.9, 0.6, 0.3]))
    assert torch.allclose(50 * difficulty.learned[0], torch.tensor([16.4838, 0.018232, 0.0]), atol=2e-4)
    assert torch.allclose(50 * difficulty.unlearned[0], torch.tensor([0.0, 0.0, 0.028768]), atol=1e-6)
    assert torch.allclose(difficulty.ratio, torch.tensor([0.03136, 0.12236, 8.9534]), rtol=2e-4)
    assert torch.allclose(difficulty.share, torch.tensor([0.982, 0.988, 0.994]), atol=1e-6)
    assert torch.allclose(weights, torch.tensor([0.09239, 0.36266, 26.699]), rtol=2e-4)


def naive_window(series: list[list[float]], window: int, exponent: float) -> list[float]:
    """Eq. 3-6 of DTLP-Net, written out; the first value only starts the history."""
    weights = []
    for values in zip(*series, strict=True):
        learned = unlearned = 0.0
        steps = list(pairwise(values))
        for before, now in steps[max(0, len(steps) - window) :]:
            log = math.log(now / before)
            learned += max(now - before, 0.0) * log
            unlearned += min(now - before, 0.0) * log
        weights.append((1 - values[-1]) * ((unlearned + 1e-8) / (learned + 1e-8)) ** exponent)
    return weights


def test_window_of_the_difficulty() -> None:
    generator = torch.Generator().manual_seed(1)
    series = (0.1 + 0.8 * torch.rand((9, 3), generator=generator)).tolist()
    difficulty = ClassDifficulty(3, window=4, rule="window")
    shapes = {name: value.shape for name, value in difficulty.state_dict().items()}
    for number, row in enumerate(series, 1):
        weights = difficulty.step(torch.tensor(row))
        kept = series[:number]
        assert weights.tolist() == pytest.approx(naive_window(kept, 4, 0.2), rel=1e-3)
    assert {name: value.shape for name, value in difficulty.state_dict().items()} == shapes


def test_a_class_that_regresses_counts_more() -> None:
    difficulty = ClassDifficulty(2, rule="window")
    difficulty.step(torch.tensor([0.5, 0.5]))
    rising, falling = difficulty.step(torch.tensor([0.6, 0.4])).tolist()
    assert falling > 100 * rising


def test_absent_classes_are_left_alone() -> None:
    label, prediction = torch.tensor([[0, 1, 1, IGNORE]]), torch.tensor([[0, 1, 0, 2]])
    difficulty = ClassDifficulty(3, rule="window")
    dice, there = difficulty.dice(prediction, label)
    assert dice[:2].tolist() == pytest.approx([2 / 3, 2 / 3], abs=1e-6) and there.tolist() == [True, True, False]
    assert float(dice[2]) == pytest.approx(0.5), "the code's Dice of a class that is nowhere"
    assert float(difficulty.update(prediction, label)[2]) == 1.0 and not bool(difficulty.seen[2])


def greatest_at_the_start(rule: Any, histories: Tensor) -> Tensor:
    """The greatest weight in ten steps of each of the histories (N, 10, 2)."""
    found = []
    for history in histories:
        difficulty = ClassDifficulty(2, rule=rule)
        found.append(torch.stack([difficulty.step(row) for row in history]).max())
    return torch.stack(found)


def test_weights_at_the_start() -> None:
    """With rule "ema" the first Dice, .3 or more, counts as a gain of at least .3 ln(.3e8) > 5.1, of which .98^9 is left after ten
    steps; at most five of nine steps can be falls of .6 ln 3 < .66, together < 3.3. So d_k < 1 and a weight stays below K = 2."""
    generator = torch.Generator().manual_seed(0)
    histories = 0.3 + 0.6 * torch.rand((200, 10, 2), generator=generator)
    histories[0, ::2], histories[0, 1::2] = 0.9, 0.3  # as many great falls as there can be
    assert float(greatest_at_the_start("ema", histories).max()) < 2.0
    fallen = greatest_at_the_start("window", histories)
    assert float(fallen.max()) > 10.0, "a class that fell before it rose"


# losses


def test_loss_of_two_voxels() -> None:
    assert float(dice_with_ce(LOGITS, LABEL, form="code")) == pytest.approx(-0.643727, abs=1e-6)
    assert float(dice_with_ce(LOGITS, LABEL)) == pytest.approx(0.5 * (0.220095 + 1 - 0.863821), abs=1e-6)


def test_forms_have_gradients_that_differ_by_two() -> None:
    logits = torch.randn(2, 3, 6, 6, requires_grad=True)
    label = torch.randint(3, (2, 6, 6))
    weight = torch.tensor([0.2, 1.0, 3.0])
    one, two = (torch.autograd.grad(dice_with_ce(logits, label, weight=weight, form=form), logits)[0]
                for form in ("paper", "code"))  # type: ignore[arg-type]  # fmt: skip
    assert torch.allclose(2 * one, two, atol=1e-7)
    sure = 60.0 * torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    assert float(dice_with_ce(sure, label, form="code")) == pytest.approx(-1.0, abs=1e-6)
    assert float(dice_with_ce(sure, label)) == pytest.approx(0.0, abs=1e-6)


def test_weights_on_the_dice_alone() -> None:
    """Voxel by voxel: the cross-entropy is that without weights, the Dice has them."""
    logits, label = torch.randn(2, 3, 6, 6), torch.randint(3, (2, 6, 6))
    weight = torch.tensor([0.1, 2.0, 0.5])
    dice = class_dice(logits, label)
    entropy = torch.nn.functional.cross_entropy(logits, label)
    found = dice_with_ce(logits, label, weight=weight, weighted="dice")
    expected = 0.5 * (entropy + (2.0 * (1 - dice[0]) + 0.5 * (1 - dice[1])) / 2)
    assert float(found) == pytest.approx(float(expected), abs=1e-6)
    assert float(found) != pytest.approx(float(dice_with_ce(logits, label, weight=weight)), abs=1e-3)


def test_padding_is_left_out() -> None:
    logits, label = torch.randn(1, 3, 4, 6), torch.randint(3, (1, 4, 6))
    padded = torch.nn.functional.pad(label, (0, 2), value=IGNORE)
    wide = torch.cat([logits, 9 * torch.randn(1, 3, 4, 2)], 3)
    assert float(dice_with_ce(wide, padded)) == pytest.approx(float(dice_with_ce(logits, label)), abs=1e-6)


# the method


def test_blend_is_a_geometric_series() -> None:
    network = method().network
    names = dict(network.net.decoder.named_parameters())
    for module, value in ((network.net.decoder, 1.0), (network.xi, 0.25), (network.psi, -0.25)):
        for parameter in module.parameters():
            nn.init.constant_(parameter, value)
    for _ in range(100):
        network.blend(0.01)
    assert all(torch.allclose(value, torch.tensor(0.99**100), atol=1e-5) for value in names.values())
    assert pytest.approx(0.3660, abs=1e-4) == 0.99**100


def test_ramp() -> None:
    term = AandD.terms["unsup"]
    assert [term.at(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([0.0674, 2.865, 10.0], rel=1e-3)
    record = term_records(AandD.terms, AandD.presets["mnms"]["terms"])["unsup"]
    assert Term.restore(record).at(1 / 3) == pytest.approx(10.0)


@pytest.mark.parametrize("dims", [2, 3])
def test_who_learns_from_what(dims: int) -> None:
    built = method(dims)
    network = built.network
    losses = built.losses(batch(dims), clock())
    theta, levels = network.net.decoder, network.net.levels
    expected = {"deno": {network.xi, network.net.noisy_stem}, "diff": {network.psi, network.net.image_stem},
                "unsup": {theta, network.net.image_stem}}  # fmt: skip
    parts = (theta, network.psi, network.xi, network.net.noisy_stem, network.net.image_stem)
    for name, loss in losses.items():
        assert reached(loss, levels), f"the shared encoder learns nothing from {name}"
        assert {part for part in parts if reached(loss, part)} == expected[name], name


def test_pseudo_labels_and_modes() -> None:
    built = method().train()
    network = built.network
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    valid[..., -3:] = False
    images = torch.randn(2, 1, 32, 32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    calm = method(labelling="eval").train()
    calm.network.load_state_dict(before)
    found = calm.pseudo_label(images, valid)
    assert bool((found[~valid] == IGNORE).all()) and set(found[valid].tolist()) <= {0, 1} and calm.network.training
    assert all(torch.equal(value, before[name]) for name, value in calm.network.state_dict().items())
    built.pseudo_label(images, valid)
    moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert moved and all("running" in name or "tracked" in name for name in moved), "labelling uses batch statistics"


def test_labels_have_no_dropout() -> None:
    torch.manual_seed(0)
    images, noisy, time = torch.randn(2, 1, 32, 32), torch.randn(2, 2, 32, 32), torch.tensor([3, 700])

    def labelled(built: AandD) -> list[Tensor]:
        with built.network.labelling(built.options.labelling):
            return [built.network.psi_logits(images), built.network.denoise(images, noisy, time)[0]]

    calm, noisy_labels = method().train(), method(labelling="train").train()
    assert all(torch.equal(one, two) for one, two in zip(labelled(calm), labelled(calm), strict=True))
    assert not any(
        torch.equal(one, two) for one, two in zip(labelled(noisy_labels), labelled(noisy_labels), strict=True)
    )
    restored = [module.training for module in calm.network.modules()]
    assert all(restored), "the dropout is back afterwards"


def statistics(module: nn.Module) -> dict[str, Tensor]:
    """Running means, variances and counts of passes, by name."""
    return {name: value.clone() for name, value in module.named_buffers() if "running" in name or "tracked" in name}


def test_whole_images_alone_move_the_statistics() -> None:
    """Against passes of whole images made by hand: psi labels the unlabeled and learns the labeled, theta learns the unlabeled."""
    built, given = method(mixing=0.0), batch()
    quiet(built).train()
    by_hand, untouched = copy.deepcopy(built.network), statistics(built.network)
    built.losses(given, clock())
    labeled, unlabeled = given["labeled"].image, given["unlabeled"].image
    for images, decoder in ((unlabeled, by_hand.psi), (labeled, by_hand.psi), (unlabeled, by_hand.net.decoder)):
        by_hand.net.decode(by_hand.net.encode(images), images.shape[2:], decoder)
    found, expected = statistics(built.network), statistics(by_hand)
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in found)
    for part in ("net.image_stem", "net.levels", "net.decoder", "psi"):
        assert any(name.startswith(part) and not torch.equal(found[name], untouched[name]) for name in found), part
    noisy = [name for name in found if name.startswith(("net.noisy_stem", "xi"))]
    assert noisy and all(torch.equal(found[name], untouched[name]) for name in noisy)


def test_every_pass_of_the_code_moves_the_statistics() -> None:
    """Two passes of DDIM and one of denoising share the encoder with three of images."""
    counts = {}
    for name in ("images", "code"):
        built = method(**(AandD.presets["code"]["options"] if name == "code" else {}), ddim_steps=2).train()
        built.losses(batch(), clock())
        found = statistics(built.network)
        counts[name] = [int(found[f"{part}.units.0.norm.num_batches_tracked"])
                        for part in ("net.levels.0", "net.noisy_stem", "net.image_stem")]  # fmt: skip
    assert counts == {"images": [3, 0, 3], "code": [6, 3, 3]}
    followed = [name for name, preset in AandD.presets.items() if preset["options"]["statistics"] == "every-pass"]
    assert followed == list(AandD.presets), "each preset follows the code"


@pytest.mark.parametrize(
    "options",
    [
        dict(AandD.presets["code"]["options"]),
        {"clean_map": "softmax", "blur": 0.0, "mixing": 0.0, "difficulty": "none"},
    ],
)
def test_options_run(options: dict[str, Any]) -> None:
    built = method(**options)
    losses = built.losses(batch(), clock())
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert dict(built.optimisers()["main"].settings) == ({"nesterov": True} if options.get("nesterov") else {})
    collected = Collected()
    built.step(batch(), clock(), collected)
    assert set(collected.losses) == set(AandD.terms)


def test_predictors_are_theta_and_psi() -> None:
    built, images = method().eval(), torch.randn(1, 1, 32, 32)
    found = {name: predict(images) for name, predict in built.predictors().items()}
    assert list(found) == ["theta", "psi"] and torch.equal(found["theta"], built(images))
    assert not torch.equal(found["theta"], found["psi"])


def test_a_backbone_without_time_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="diff-vnet"):
        case_of(AandD).build()
