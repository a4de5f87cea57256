"""nnU-Net's loss, levels and changes of intensity."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import case_of, clock, samples
from torch.nn import functional as F

from semibench import IGNORE, Ramp
from semibench.run.settings import build
from semibench_plugins.backbones.deeplabv3plus import DeepLabV3Plus
from semibench_plugins.backbones.unet import UNet
from semibench_plugins.backbones.vnet import VNet
from semibench_plugins.methods.generalisation.nnunet import intensities, turns
from semibench_plugins.methods.generalisation.nnunet.intensities import augmented, changed, curved, lower_resolution
from semibench_plugins.methods.generalisation.nnunet.method import NETWORKS, RECIPE, NNUNet, level_weights
from semibench_plugins.methods.generalisation.nnunet.turns import rotations, turned


def test_weights_of_the_levels() -> None:
    assert level_weights(5) == pytest.approx([0.53333, 0.26667, 0.13333, 0.06667, 0.0], abs=1e-5)
    assert level_weights(4) == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0.0])
    assert level_weights(1) == [1.0] and level_weights(2) == [1.0, 0.0]


def test_a_perfect_prediction_has_no_loss() -> None:
    """The published Dice is then -1; here it counts from 1 down to 0."""
    method = case_of(NNUNet, classes=3, backbone=UNet).build()
    label = torch.randint(0, 3, (2, 8, 8))
    assert method.level(200.0 * F.one_hot(label, 3).movedim(-1, 1).float(), label).item() == pytest.approx(
        0.0, abs=1e-4
    )


@pytest.mark.parametrize("batch_dice", [True, False])
def test_loss_of_a_level_against_loops(batch_dice: bool) -> None:
    torch.manual_seed(0)
    method = case_of(NNUNet, classes=3, options={"batch_dice": batch_dice}).build()
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 8, 8))
    label[0, :, :2] = IGNORE
    nearest = label[:, 1::2, 1::2]  # of two voxels as near as each other the later one
    p, losses = logits.softmax(1), []
    for rows in [[0, 1]] if batch_dice else [[0], [1]]:
        for kind in (1, 2):
            counted, truth = (nearest[rows] != IGNORE), (nearest[rows] == kind)
            mine = p[rows, kind]
            common = float((mine * truth).sum())
            losses.append(1 - (2 * common + 1e-5) / (float((mine * counted).sum()) + int(truth.sum()) + 1e-5))
    picked = p.gather(1, nearest.clamp(max=2).unsqueeze(1)).squeeze(1)
    ce = -picked[nearest != IGNORE].log().mean()
    assert method.level(logits, label).item() == pytest.approx(float(ce) + sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize(("dims", "backbone", "levels"), [(2, UNet, 3), (3, VNet, 3), (2, DeepLabV3Plus, 1)])
def test_every_map_but_the_coarsest_predicts(dims: int, backbone: type, levels: int) -> None:
    options = {"width": 1 / 16, "encoder": "resnet18"} if backbone is DeepLabV3Plus else {"width": 0.125}
    case = case_of(NNUNet, dims, backbone=backbone, backbone_options=options, options={"intensities": False})
    method = case.build().eval()
    image = torch.rand(2, 1, *case.task.patch)
    label = torch.randint(0, 2, (2, *case.task.patch))
    outputs = method.outputs(image)
    assert len(outputs) == len(method.weights) == levels and sum(method.weights) == pytest.approx(1.0)
    assert [tuple(z.shape[2:]) for z in outputs] == [tuple(s // 2**i for s in case.task.patch) for i in range(levels)]
    assert torch.equal(outputs[0], method(image)), "the finest is what is scored"
    total = sum(w * method.level(z, label) for w, z in zip(method.weights, outputs, strict=True))
    found = method.losses({"labeled": samples(image, label)}, clock())["sup"]
    assert found.item() == pytest.approx(total.item(), rel=1e-6)


def test_dice_is_over_the_batch_in_2d() -> None:
    assert not case_of(NNUNet).build().per_sample and case_of(NNUNet, 3).build().per_sample
    shallow = case_of(NNUNet, options={"deep": False}).build()
    assert len(shallow.heads) == 0 and shallow.weights == [1.0]
    assert dict(case_of(NNUNet, options={"nesterov": True}).build().optimisers()["main"].settings) == {"nesterov": True}


def test_crops_with_foreground() -> None:
    """nnU-Net leaves round(.67 n) of n crops as they are; a stream forces its share, rounded up."""
    assert set(NNUNet.streams) == {"labeled"}
    share = NNUNet.streams["labeled"].foreground
    for batch, forced in {2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 2}.items():
        assert batch - round(0.67 * batch) == forced == math.ceil(share * batch)


def test_rotations_about_the_three_axes_in_turn() -> None:
    """Quarter turns: the first takes the second axis to the third, and so on; all three against plain products."""
    quarter = math.pi / 2
    first, second, third = rotations(quarter * torch.eye(3, dtype=torch.float64))
    e = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(first @ e[1], e[2])
    torch.testing.assert_close(second @ e[0], e[2])
    torch.testing.assert_close(third @ e[0], e[1])
    (together,) = rotations(torch.tensor([[quarter, quarter, quarter]], dtype=torch.float64))
    torch.testing.assert_close(together, third @ second @ first)
    drawn = rotations(torch.rand(5, 3, dtype=torch.float64))
    torch.testing.assert_close(drawn @ drawn.mT, e.expand(5, 3, 3))
    torch.testing.assert_close(torch.linalg.det(drawn), torch.ones(5, dtype=torch.float64))


def test_a_fifth_of_the_volumes_turns_with_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    label = torch.randint(0, 3, (500, 4, 4, 4))
    volumes = samples(label.unsqueeze(1).float() + 1.0, label)
    image, target, valid = turned(volumes, 30.0)
    moved = (image != volumes.image).flatten(1).any(1)
    assert moved.float().mean().item() == pytest.approx(0.2, abs=0.05)
    assert torch.equal(image[~moved], volumes.image[~moved]) and torch.equal(volumes.target, label)
    assert torch.equal(valid, target != IGNORE) and not valid[moved].all() and valid[~moved].all()
    assert image.movedim(1, -1)[~valid].abs().max() == 0.0
    # quarter turns move voxels onto voxels: image and label stay together, and nothing is lost
    monkeypatch.setattr(turns, "CHANCE", 1.0)
    monkeypatch.setattr(turns, "rotations", lambda angles: rotations(math.pi / 2 * torch.eye(3, dtype=torch.float64)))
    three = samples(volumes.image[:3], label[:3])
    image, target, valid = turned(three, 30.0)
    assert valid.all()
    torch.testing.assert_close(image[:, 0], target + 1.0, atol=1e-4, rtol=0)
    for row, plane in enumerate([(1, 2), (0, 2), (0, 1)]):
        assert any(torch.equal(target[row], torch.rot90(label[row], turn, plane)) for turn in (1, 3))


def test_only_volumes_turn() -> None:
    options = NNUNet.presets["published-3d"]["options"]
    assert options["turns"] == 30.0 and NNUNet.presets["published-3d"]["recipe"]["weak"]["rotate"][0] == 0.0
    flat, volumes = case_of(NNUNet), case_of(NNUNet, 3, options={"turns": 30.0})
    assert "turns" in str(NNUNet.unsupported(flat.task, NNUNet.Options(**options)))
    assert NNUNet.unsupported(volumes.task, NNUNet.Options(**options)) is None
    assert NNUNet.unsupported(flat.task, NNUNet.Options()) is None
    rehearsal = volumes.rehearse(steps=2).run()
    assert rehearsal.method.options.turns == 30.0
    for wrong in (-1.0, 181.0, float("nan")):
        with pytest.raises(ValueError, match="turns"):
            NNUNet.Options(turns=wrong)


def test_the_published_recipe() -> None:
    """Rate (1 - t)^.9, .5359 of the start at half; the networks' options exist."""
    assert (1 - 0.5) ** RECIPE["power"] == pytest.approx(0.5359, abs=1e-4) and Ramp("decline")(0.5) == 0.5
    for name, kind in (("unet", UNet), ("vnet", VNet)):
        assert build(kind.Options, name, NETWORKS[name]).norm == "instance"


def test_each_change_against_its_formula() -> None:
    torch.manual_seed(0)
    image, strength = torch.rand(2, 1, 12, 12) - 0.3, torch.tensor([0.2, 0.9], dtype=torch.float64)
    factor = (0.75 + 0.5 * strength).float().view(2, 1, 1, 1)
    torch.testing.assert_close(changed("brightness", image, strength), image * factor)
    mean = image.mean((1, 2, 3), keepdim=True)
    contrast = changed("contrast", image, strength)
    inside = (contrast > image.amin((1, 2, 3), keepdim=True)) & (contrast < image.amax((1, 2, 3), keepdim=True))
    torch.testing.assert_close(contrast[inside], (mean + factor * (image - mean))[inside])
    assert contrast[1].max() == image[1].max(), "clipped to the range"
    noise = changed("noise", torch.cat([image, image]).repeat(1, 1, 20, 20), strength.repeat(2))
    deviation = (noise - torch.cat([image, image]).repeat(1, 1, 20, 20)).std((1, 2, 3))
    torch.testing.assert_close(deviation[:2], 0.1 * strength.float() * image.std((1, 2, 3)), rtol=0.05, atol=0)
    assert changed("blur", image, strength).var() < image.var()
    exponents = torch.tensor([0.82, 1.4])  # .7 + .3 * .4 and 1 + .5 * .8: both sides of 1 are as likely
    for name, sign in (("gamma", 1.0), ("inverted", -1.0)):
        for one, g, found in zip(sign * image, exponents, sign * changed(name, image, strength), strict=True):
            bent = ((one - one.min()) / (one.max() - one.min())) ** g
            bent = (bent - bent.mean()) / bent.std(correction=0) * one.std(correction=0) + one.mean()
            torch.testing.assert_close(found, bent, atol=1e-5, rtol=0)


def test_lower_resolution() -> None:
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    assert torch.equal(lower_resolution(ramp, 1.0), ramp)
    coarse = lower_resolution(ramp, 0.5)
    # the later of two voxels stands for both
    torch.testing.assert_close(coarse[..., 2:-2], ramp[..., 2:-2] + 0.5)
    assert lower_resolution(torch.rand(2, 1, 8, 9, 10), 0.6).shape == (2, 1, 8, 9, 10)
    slices = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(1, 1, 8, 32, 32)
    assert torch.equal(lower_resolution(slices, 0.5), slices), "32 is more than three times 8"
    assert not torch.equal(lower_resolution(slices[..., :16, :16], 0.5), slices[..., :16, :16])
    last = slices.movedim(2, -1)
    assert torch.equal(lower_resolution(last, 0.5), last), "whichever axis is the short one"
    assert torch.equal(curved(torch.ones(1, 1, 4, 4), torch.tensor(0.8)), torch.ones(1, 1, 4, 4))


def test_changes_happen_with_their_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    image, valid = torch.rand(2000, 1, 16, 16) + 0.1, torch.ones(2000, 16, 16, dtype=torch.bool)
    valid[:, 0] = False
    expected = {
        "noise": 0.1, "blur": 0.1, "brightness": 0.15, "contrast": 0.15, "low-resolution": 0.125, "inverted": 0.1, "gamma": 0.3,
    }  # fmt: skip
    chances = dict(intensities.CHANCES)
    assert chances.keys() == expected.keys()
    for name, probability in expected.items():
        monkeypatch.setattr(intensities, "CHANCES", {name: chances[name]})
        result = augmented(image, valid)
        assert result[:, :, 0].abs().max() == 0.0, "padding"
        share = (result != image)[:, :, 1:].flatten(1).any(1).float().mean().item()
        assert share == pytest.approx(probability, abs=0.03), name
