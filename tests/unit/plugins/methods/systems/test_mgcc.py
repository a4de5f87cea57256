"""MGCC and its network: counts of the paper, the laws of its parts, worked schedule values, gradients, predictions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semibench import IGNORE, Backbone, Clock, Samples, Task, Term, UnsupportedError, UsageError
from semibench.blocks.losses import bce_dice
from semibench.run.settings import merge
from semibench_plugins.backbones.mgcc_net import AttentionGate, ConvMixerLayer, MGCCNet, MGCCNetOptions
from semibench_plugins.methods.systems.mgcc import MGCC

torch.set_num_threads(1)
CLOCK = Clock("train", 0, 20000, {})


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def network(channels: int = 3, outputs: int = 1, patch: tuple[int, ...] = (32, 32), **options: Any) -> MGCCNet:
    return MGCCNet(dims=2, channels=channels, outputs=outputs, patch=patch, options=MGCCNetOptions(**options))


def method(classes: int = 2, net: dict[str, Any] | None = None, **options: Any) -> MGCC:
    torch.manual_seed(0)
    task = Task(2, 3, tuple("abcd"[:classes]), (32, 32), ("default",), {"labeled": 2, "unlabeled": 2, "all": 4})

    def backbones(
        name: str | None = None, *, channels: int | None = None, outputs: int | None = None, **more: Any
    ) -> Backbone:
        return network(channels or 3, outputs or classes, width=1 / 8, **{**(net or {}), **more})

    return MGCC(task, backbones, MGCC.Options(**options))


def samples(images: Tensor, label: Tensor | None = None) -> Samples:
    n = len(images)
    valid = torch.ones((n, *images.shape[2:]), dtype=torch.bool)
    return Samples(images, (), label, valid, torch.zeros(n, dtype=torch.long), torch.arange(n))


def batch(classes: int = 2, seed: int = 0) -> dict[str, Samples]:
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 3, 32, 32, generator=draw)
    label = torch.randint(classes, (2, 32, 32), generator=draw)
    return {"labeled": samples(images[:2], label), "unlabeled": samples(images[2:])}


# The network


def test_parameter_counts_are_the_papers() -> None:
    with torch.device("meta"):
        net = network(patch=(256, 256))
        plain = network(patch=(256, 256), gates=False)
        bare = network(patch=(256, 256), gates=False, depths=(0,))
    assert count(net) == 52_142_145, "inference, Table VII: 52.14 M"
    assert count(net) + 3 * count(net.decoder) == 122_182_980, "training: four decoders"
    assert (count(net.blocks), count(net.chain), count(net.decoder)) == (18_851_136, 9_944_064, 23_346_945)
    assert count(plain) == 44_471_105, "without gates: 44.47 M"
    assert count(bare) == 34_527_041, "plain U-Net: 34.53 M"


def test_counts_of_the_parts() -> None:
    with torch.device("meta"):
        assert [count(AttentionGate(c)) for c in (64, 128, 256, 512)] == [90_880, 361_984, 1_444_864, 5_773_312]
        assert count(ConvMixerLayer(1024, 7)) == 1_104_896


def test_an_undecided_gate_multiplies_by_one_and_a_half() -> None:
    gate = AttentionGate(6)
    nn.init.zeros_(gate.vote[1].weight)  # type: ignore[arg-type]
    skip = torch.randn(2, 6, 9, 9)
    torch.testing.assert_close(gate(skip), 1.5 * skip, rtol=0, atol=0)


def test_a_gate_stays_between_once_and_twice() -> None:
    skip = torch.randn(2, 6, 9, 9)
    factor = AttentionGate(6)(skip) / skip
    assert factor.min() >= 1.0 - 1e-5 and factor.max() <= 2.0 + 1e-5


def test_convmixer_without_depthwise_weights_adds_a_constant_before_the_pointwise_part() -> None:
    layer = ConvMixerLayer(5, 7).eval()
    nn.init.zeros_(layer.depthwise.weight)
    maps = torch.randn(2, 5, 8, 8)
    constant = layer.norm(nn.functional.gelu(layer.depthwise(torch.zeros(1, 5, 1, 1))))
    torch.testing.assert_close(layer(maps), layer.pointwise(maps + constant))


def test_taps_are_cumulative_and_share_the_skips() -> None:
    net = network(width=1 / 8, depths=(0, 1, 3)).eval()
    images = torch.rand(1, 3, 32, 32)
    taps = net.taps(images)
    assert [tuple(maps.shape[1:]) for maps in taps[0]] == [
        (8, 32, 32),
        (16, 16, 16),
        (32, 8, 8),
        (64, 4, 4),
        (128, 2, 2),
    ]
    assert all(tap[level] is taps[0][level] for tap in taps for level in range(4))
    by_hand = taps[0][-1]
    for depth, layer in enumerate(net.chain, start=1):
        by_hand = layer(by_hand)
        if depth in net.depths:
            torch.testing.assert_close(taps[net.depths.index(depth)][-1], by_hand)
    torch.testing.assert_close(net.encode(images)[-1], by_hand)


def test_stages_give_the_maps_of_encode() -> None:
    net = network(width=1 / 8).eval()
    seen: list[Tensor] = []
    hooks = [stage.register_forward_hook(lambda _module, _inputs, output: seen.append(output)) for stage in net.stages]
    maps = net.encode(torch.rand(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    assert all(a is b for a, b in zip(maps, seen, strict=True))
    names = [name for name, _ in net.named_parameters(remove_duplicate=False)]
    assert len(names) == len(list(net.parameters())), "no parameter has two names"


def test_network_refuses_what_it_cannot_take() -> None:
    with pytest.raises(UsageError, match="multiples of 16"):
        network(patch=(40, 32))
    with pytest.raises(UsageError, match="2D"):
        MGCCNet(dims=3, channels=1, outputs=2, patch=(32, 32, 32), options=MGCCNetOptions())
    with pytest.raises(ValueError, match="cumulative"):
        MGCCNetOptions(depths=(3, 0))
    with pytest.raises(UsageError, match="variant"):
        network(width=1 / 8).new_decoder(upsampling="linear")


# The method


def test_consistency_weight_follows_the_code_and_the_paper() -> None:
    code = MGCC.terms["consistency"]
    assert code.at(0 / 20000) == pytest.approx(0.047166, abs=1e-6)
    assert code.at(19999 / 20000) == pytest.approx(3.993968, abs=1e-6)
    for step in (0, 149, 150, 7499, 12000, 19999):  # the code's staircase: a new value every 150 iterations
        t = min(step // 150, 200) / 200
        assert code.at(step / 20000) == pytest.approx(7 * torch.tensor(-5 * (1 - t) ** 2).exp().item(), rel=1e-5)
    record = merge(code.record(), MGCC.presets["paper"]["terms"]["consistency"])
    paper = Term.restore(record)
    assert paper.at(0.0) == pytest.approx(0.1 * 0.006738, abs=1e-6) and paper.at(1.0) == pytest.approx(0.1)


def test_training_gives_four_maps_and_prediction_runs_the_main_path_only() -> None:
    model = method()
    images = torch.rand(2, 3, 32, 32)
    assert [tuple(logits.shape) for logits in model.branches(images)] == [(2, 2, 32, 32)] * 4
    ran: list[int] = []
    for number, decoder in enumerate(model.auxiliary):
        decoder.register_forward_hook(lambda _module, _inputs, _output, number=number: ran.append(number))
    logits = model.eval()(images)
    assert logits.shape == (2, 2, 32, 32) and not ran
    assert torch.equal(logits[:, 0], torch.zeros_like(logits[:, 0])), "one sigmoid output as two classes: cat([0, z])"
    torch.testing.assert_close(logits.softmax(1)[:, 1], model.net(images)[:, 0].sigmoid())
    torch.testing.assert_close(model.branches(images)[0], logits)


@pytest.mark.parametrize("classes", [2, 4])
def test_losses_are_finite_scalars_and_reach_every_parameter(classes: int) -> None:
    model = method(classes)
    losses = model.losses(batch(classes), CLOCK)
    assert set(losses) == set(model.terms) and all(loss.shape == () and loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_supervised_term_is_the_mean_over_decoders_of_bce_and_dice_by_hand() -> None:
    model = method(perturbations=("none", "none", "none"))
    given = batch()
    images, label = torch.cat([given["labeled"].image, given["unlabeled"].image]), given["labeled"].target.float()
    by_hand = []
    for logits in model.branches(images):
        p = (logits[:2, 1] - logits[:2, 0]).sigmoid()
        bce = -(label * p.log() + (1 - label) * (1 - p).log()).mean()
        dice = 1 - (2 * (p * label).sum((1, 2)) + 1e-5) / (p.sum((1, 2)) + label.sum((1, 2)) + 1e-5)
        by_hand.append(0.5 * bce + dice.mean())
    torch.testing.assert_close(model.losses(given, CLOCK)["sup"], torch.stack(by_hand).mean(), rtol=1e-4, atol=1e-6)


def test_consistency_is_the_mean_square_of_the_sigmoids_by_hand() -> None:
    model = method(perturbations=("none", "none", "none"))
    given = batch()
    outputs = [z[2:, 1].sigmoid() for z in model.branches(torch.cat([s.image for s in given.values()]))]
    by_hand = torch.stack([(outputs[0] - other).square().mean() for other in outputs[1:]]).mean()
    torch.testing.assert_close(model.losses(given, CLOCK)["consistency"], by_hand)


def test_tied_decoders_without_chain_and_perturbation_agree_exactly() -> None:
    model = method(net={"depths": (0, 0, 0, 0)}, perturbations=("none", "none", "none"))
    for decoder in model.auxiliary:
        decoder.load_state_dict(model.net.decoder.state_dict())
    assert model.losses(batch(), CLOCK)["consistency"] == 0


@pytest.mark.parametrize("stop", [False, True])
def test_consistency_moves_main_and_auxiliary_heads_unless_stopped(stop: bool) -> None:
    model = method(stop_gradient=stop)
    model.losses(batch(), CLOCK)["consistency"].backward()
    main, *others = (decoder.get_parameter("last.weight").grad for decoder in (model.net.decoder, *model.auxiliary))
    assert (main is None) if stop else (main is not None and main.abs().sum() > 0)
    assert len(others) == 3 and all(grad is not None and grad.abs().sum() > 0 for grad in others)


@pytest.mark.parametrize(("perturb", "levels"), [("all", 5), ("bottleneck", 1)])
def test_which_maps_are_perturbed(perturb: str, levels: int) -> None:
    model = method(perturb=perturb)
    seen: list[list[Tensor]] = [[] for _ in model.perturbations]
    for calls, module in zip(seen, model.perturbations, strict=True):
        module.register_forward_hook(lambda _module, inputs, _output, calls=calls: calls.append(inputs[0]))
    model.branches(torch.rand(2, 3, 32, 32))
    assert [len(calls) for calls in seen] == [levels] * 3
    assert all(calls[-1].shape[1] == 128 for calls in seen), "the bottleneck always is"


def test_feature_noise_of_the_third_branch_is_shared_by_the_batch() -> None:
    noise = method().perturbations[2]
    maps = torch.rand(1, 4, 6, 6).expand(3, -1, -1, -1) + 0.5
    factor = noise(maps) / maps
    assert factor.min() >= 0.7 - 1e-6 and factor.max() <= 1.3 + 1e-6 and factor.std() > 0.05
    torch.testing.assert_close(factor[0], factor[1])
    assert torch.equal(noise.eval()(maps), maps)


def test_padding_counts_in_no_term() -> None:
    model = method(perturbations=("none", "none", "none"))
    given = batch()
    changed = batch()
    for one in (given, changed):
        one["labeled"].target[:, :, 16:] = IGNORE
        one["unlabeled"].valid[:, :, 16:] = False
    outputs = model.branches(torch.cat([s.image for s in given.values()]))
    main, label = outputs[0], given["labeled"].target
    cropped = [(z[2:, 1, :, :16].sigmoid() - main[2:, 1, :, :16].sigmoid()).square().mean() for z in outputs[1:]]
    losses = model.losses(changed, CLOCK)
    torch.testing.assert_close(losses["consistency"], torch.stack(cropped).mean())
    sup = torch.stack([bce_dice(z[:2, ..., :16], label[..., :16]) for z in outputs]).mean()
    torch.testing.assert_close(losses["sup"], sup)


def test_no_foreground_stays_finite_and_smooth_tames_it() -> None:
    given = batch()
    given["labeled"].target.zero_()
    strict, tame = method().losses(given, CLOCK), method(smooth=1.0).losses(given, CLOCK)
    assert strict["sup"].isfinite() and tame["sup"] < strict["sup"]
    empty, confident = torch.zeros(1, 8, 8, dtype=torch.long), torch.zeros(1, 2, 8, 8)
    confident[:, 1] = -10
    assert bce_dice(confident, empty).item() == pytest.approx(0.99659, abs=1e-4)
    assert bce_dice(confident, empty, smooth=1.0).item() < 0.01


def test_unlabeled_images_leave_no_trace_of_labels_and_options_are_checked() -> None:
    with pytest.raises(UsageError, match="one perturbation"):
        method(net={"depths": (0, 3)})
    assert MGCC.unsupported(Task(3, 1, ("a", "b"), (32, 32, 32), ("x",), {}), MGCC.Options()) is not None
    assert MGCC.unsupported(Task(2, 1, ("a", "b"), (32, 32), ("x",), {}), MGCC.Options()) is None
    short = method(net={"depths": (2, 4)}, perturbations=("dropout",))
    assert len(short.net.chain) == 4 and len(short.auxiliary) == 1  # type: ignore[arg-type]


def test_a_backbone_without_taps_is_unsupported() -> None:
    class Plain(nn.Module):
        pass

    with pytest.raises(UnsupportedError, match="taps"):
        MGCC(
            Task(2, 3, ("a", "b"), (32, 32), ("x",), {}),
            lambda *args, **more: Plain(),  # type: ignore[arg-type]
            MGCC.Options(),
        )


@pytest.mark.slow
def test_a_few_steps_reduce_the_supervised_loss_and_state_survives() -> None:
    model = method(net={"depths": (0, 1, 2, 3)})
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(4, 3, 32, 32, generator=draw)
    given = {"labeled": samples(images[:2], (images[:2, 0] > 0.5).long()), "unlabeled": samples(images[2:])}
    course = []
    for step in range(12):
        losses = model.losses(given, Clock("train", step, 12, {}))
        optimiser.zero_grad()
        (losses["sup"] + 0.1 * losses["consistency"]).backward()
        optimiser.step()
        course.append(losses["sup"].item())
    assert course[-1] < 0.9 * course[0]
    other = method(net={"depths": (0, 1, 2, 3)})
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(images), model.eval()(images))
