"""SAML against the numbers of its sheet."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage
from support.methods_support import Collected, case_of, clock, samples
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Samples
from semibench.blocks import soft_dice
from semibench.contracts.errors import UsageError
from semibench_plugins.backbones.deeplabv3plus import DeepLabOptions, DeepLabV3Plus
from semibench_plugins.backbones.unet import UNet
from semibench_plugins.methods.generalisation.saml import (
    SAML,
    WithFeatures,
    compactness,
    contour_embeddings,
    metric_network,
    rings,
    triplet_semi_hard,
)


def disc(radius: float, side: int = 96, dims: int = 2) -> Tensor:
    axes = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * dims, indexing="ij")
    return ((radius - sum(axis**2 for axis in axes).sqrt()) / 2).sigmoid()[None]  # type: ignore[union-attr]


def test_compactness_of_disc_ball_and_square() -> None:
    assert compactness(disc(32.0)).item() == pytest.approx(1.0, abs=0.02)
    variance, r = math.pi**2 / 3 * 4, 18.0  # of the logistic edge; the mean of r^2 and r^3 over it
    expected = (r**2 + variance) ** 3 / (r**3 + 3 * r * variance) ** 2
    assert compactness(disc(r, 56, 3)).item() == pytest.approx(expected, rel=0.03)
    square = torch.zeros(1, 200, 200)
    square[:, 20:180, 20:180] = 1
    assert compactness(square).item() == pytest.approx(16 / (4 * math.pi), abs=0.02)
    bar = torch.zeros(1, 200, 200)
    bar[:, 90:100, 20:180] = 1
    assert compactness(bar).item() > 4.0
    both = torch.cat([disc(32.0), disc(20.0)])
    torch.testing.assert_close(compactness(both), (compactness(both[:1]) + compactness(both[1:])) / 2)


def test_compactness_of_nothing_is_zero_and_smooth() -> None:
    p = torch.zeros(1, 16, 16, requires_grad=True)
    value = compactness(p)
    (gradient,) = torch.autograd.grad(value, p)
    assert value.item() == pytest.approx(0.0, abs=1e-12) and gradient.isfinite().all()
    flat = torch.full((2, 16, 16), 0.5)
    assert compactness(flat).item() == pytest.approx(0.0, abs=1e-9)


def naive_compactness(image: list[list[float]], factor: float) -> float:
    """The code's formula for one image, by loops: (factor x length)^2 / (4 pi area)."""
    height, width = len(image), len(image[0])
    length = sum(
        math.hypot(image[y][x] - image[y - 1][x], image[y][x] - image[y][x - 1])
        for y in range(1, height)
        for x in range(1, width)
    )
    return (factor * length) ** 2 / (4 * math.pi * sum(map(sum, image)))


@pytest.mark.parametrize("factor", [0.01, 1.0])
def test_compactness_is_the_codes_with_the_factor_on_the_perimeter(factor: float) -> None:
    torch.manual_seed(0)
    images = F.interpolate(torch.rand(5, 1, 8, 8), (64, 64), mode="bilinear").squeeze(1)
    sum_over_slices = sum(naive_compactness(image, factor) for image in images.tolist())
    assert 5 * compactness(images, factor).item() == pytest.approx(sum_over_slices, rel=5e-3)
    square = torch.zeros(1, 200, 200)
    square[:, 20:180, 20:180] = 1
    # P = 4 x 160 but for a corner, where the two differences meet; A = 160^2, and one voxel.
    perimeter = 4 * 160 - 2 + math.sqrt(2)
    worked = (factor * perimeter) ** 2 / (4 * math.pi * (160**2 + 1))
    assert compactness(square, factor).item() == pytest.approx(worked, rel=1e-3)


def test_default_counts_the_perimeter_as_the_code_and_the_printed_preset_2000_times_as_much() -> None:
    by_default = SAML.terms["compact"].weight * SAML.Options().perimeter ** 2
    assert by_default == pytest.approx(5 * 0.01**2), "weight 1 on the sum of 5 slices"
    printed = SAML.presets["printed"]
    as_printed = printed["terms"]["compact"] * SAML.Options(**printed["options"]).perimeter ** 2
    assert as_printed == 1.0 and as_printed / by_default == pytest.approx(2000)
    assert "compact" not in SAML.presets["code"].get("terms", {})
    ball = disc(18.0, 56, 3)
    assert compactness(ball, 0.01).item() == pytest.approx(1e-4 * compactness(ball).item())


def test_compact_loss_has_the_option() -> None:
    case = case_of(SAML, backbone_options={"width": 0.25, "dropout": (0.0,) * 5})
    found = []
    for perimeter in (0.01, 1.0):
        seen = Collected()
        torch.manual_seed(3)
        case.variant(options={"perimeter": perimeter}).build().step(case.data().batch(0), clock(), seen)
        found.append(seen.losses["compact"].item())
    assert found[1] == pytest.approx(1e4 * found[0], rel=1e-4)


def test_dice_is_linear() -> None:
    """1 - mean of 2 |p y| / (|p| + |y|). Where p is .5 everywhere and a quarter of the pixels is foreground, the background
    has 3 / 5 and the object 1 / 3, so the loss is 8 / 15; with squares of p it would be .375."""
    case = case_of(SAML, backbone_options={"width": 0.25, "dropout": (0.0,) * 5})
    method, batch, seen = case.build(), case.data().batch(0)["labeled"], Collected()
    with torch.no_grad():
        for parameter in method.net.net.decoder.last.parameters():
            parameter.zero_()
    label = batch.target.clone()
    label[:] = 0
    label[:, ::2, ::2] = 1  # a quarter of the pixels
    method.options = SAML.Options(inner_rate=0.0)
    method.step({"labeled": samples(batch.image, label, batch.domain)}, clock(), seen)
    worked = 1 - (2 * 0.375 / (0.5 + 0.75) + 2 * 0.125 / (0.5 + 0.25)) / 2
    assert seen.losses["inner"].item() == pytest.approx(worked, abs=1e-5)
    assert seen.losses["outer"].item() == pytest.approx(worked, abs=1e-5)


def test_embeddings_come_from_the_two_last_maps_by_a_network_of_48_24_16() -> None:
    net = WithFeatures(UNet(dims=2, channels=1, outputs=2, patch=(32, 32), options=UNet.Options()))
    net.eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        logits, features = net(images)
        finest, second = net.net.decoder(net.net.encode(images))[:2]
        assert torch.allclose(logits, net.net(images), atol=1e-6)
    assert finest.shape[1:] == (16, 32, 32) and second.shape[1:] == (32, 16, 16)
    assert features.shape == (2, 48, 32, 32) and net.channels == 48
    assert torch.equal(features[:, :16], finest)
    assert torch.equal(features[:, 16:], F.interpolate(second, (32, 32), mode="bilinear"))
    metric = metric_network(net.channels)
    with torch.no_grad():
        for layer in (metric[0], metric[2]):
            torch.nn.init.constant_(layer.weight, -1.0 / layer.in_features)
            torch.nn.init.zeros_(layer.bias)
        # A mean of 1 becomes -1, of which a leaky ReLU leaves -.2; the second layer turns it to .2. From -1: 1, then -1 -> -.2.
        torch.testing.assert_close(metric(torch.ones(1, 48)), torch.full((1, 16), 0.2))
        torch.testing.assert_close(metric(-torch.ones(1, 48)), torch.full((1, 16), -0.2))
    assert [layer.out_features for layer in metric if isinstance(layer, torch.nn.Linear)] == [24, 16]


def test_a_decoder_with_one_map_gives_that_one() -> None:
    options = DeepLabOptions(width=1 / 16, encoder="resnet18", dropout=0.0)
    net = WithFeatures(DeepLabV3Plus(dims=2, channels=1, outputs=2, patch=(33, 33), options=options)).eval()
    with torch.no_grad():
        assert net(torch.rand(2, 1, 33, 33))[1].shape[1] == net.channels == net.net.decoder.channels[0]


def test_rings() -> None:
    """Against scipy's erosion once and dilation five times, as in the code."""
    torch.manual_seed(0)
    blocks = torch.rand(1, 1, 4, 4) > 0.6
    label = F.interpolate(blocks.float(), (24, 24))[0].long()
    label = 2 * F.pad(label, (8, 8, 8, 8))
    mask = label[0].numpy() > 0
    contour, around = rings(label)
    expected = mask & ~ndimage.binary_erosion(mask), ndimage.binary_dilation(mask, iterations=5) & ~mask
    assert [part[0].bool().tolist() for part in (contour, around)] == [part.tolist() for part in expected]
    label[0, :, 15:] = IGNORE
    contour, around = rings(label)
    assert contour[..., 15:].sum() == 0 and around[..., 15:].sum() == 0
    square = torch.zeros(1, 15, 15, dtype=torch.int64)
    square[0, 6:9, 6:9] = 1
    assert [int(part.sum()) for part in rings(square)] == [8, 100]
    cube = torch.zeros(1, 8, 8, 8, dtype=torch.int64)
    cube[0, 3:6, 3:6, 3:6] = 1
    assert rings(cube)[0].sum() == 26


def test_contour_embeddings_are_means() -> None:
    label = torch.zeros(3, 9, 9, dtype=torch.int64)
    label[0, 3:6, 3:6], label[1, 2:5, 2:5] = 1, 1
    features = torch.randn(3, 4, 9, 9)
    embeddings, kinds = contour_embeddings(features, label)
    assert embeddings.shape == (4, 4) and kinds.tolist() == [1, 1, 0, 0], "the sample without object is left out"
    contour, around = rings(label)
    torch.testing.assert_close(embeddings[0], features[0][:, contour[0].bool()].mean(1))
    torch.testing.assert_close(embeddings[3], features[1][:, around[1].bool()].mean(1))
    coarse, _ = contour_embeddings(torch.ones(3, 4, 4, 4), label)
    torch.testing.assert_close(coarse, torch.ones(4, 4))
    assert contour_embeddings(features[2:], label[2:])[0].shape == (0, 4)


def naive_triplet(e: list[list[float]], kinds: list[int], margin: float) -> float:
    def d(i: int, j: int) -> float:
        return sum((a - b) ** 2 for a, b in zip(e[i], e[j], strict=True))

    losses = []
    for a in range(len(e)):
        for p in range(len(e)):
            if a == p or kinds[a] != kinds[p]:
                continue
            others = [d(a, n) for n in range(len(e)) if kinds[n] != kinds[a]]
            beyond = [x for x in others if x > d(a, p)]
            losses.append(max(0.0, margin + d(a, p) - (min(beyond) if beyond else max(others))))
    return sum(losses) / len(losses)


def test_triplet_against_loops() -> None:
    torch.manual_seed(0)
    for scale in (0.3, 1.0, 3.0):
        e, kinds = scale * torch.randn(9, 5), torch.randint(0, 2, (9,))
        assert triplet_semi_hard(e, kinds).item() == pytest.approx(
            naive_triplet(e.tolist(), kinds.tolist(), 10.0), rel=1e-5
        )
    assert triplet_semi_hard(torch.randn(3, 5), torch.ones(3)).item() == 0.0
    assert triplet_semi_hard(torch.zeros(0, 5), torch.zeros(0)).item() == 0.0


def test_inner_rate_zero_gives_the_plain_loss() -> None:
    case = case_of(SAML, backbone_options={"width": 0.25, "dropout": (0.0,) * 5})
    batch = case.data().batch(0)
    torch.manual_seed(3)
    order = torch.randperm(3)
    results = []
    for rate in (0.0, 10.0):
        method = case.variant(options={"inner_rate": rate}).build()
        seen = Collected()
        torch.manual_seed(3)
        method.step(batch, clock(), seen)
        results.append(seen.losses["outer"].item())
    labeled = batch["labeled"]
    method = case.build().train()
    test = labeled.domain == order[-1]
    logits = method.net(labeled.image)[0]
    assert results[0] == pytest.approx(soft_dice(logits[test], labeled.target[test], squared=False).item(), abs=1e-6)
    assert abs(results[1] - results[0]) > 1e-4
    assert [on for _, on in seen.calls] == [("inner",), ("outer", "metric")]


def test_inner_loss_is_the_mean_over_two_domains() -> None:
    case = case_of(SAML, domains=4, backbone_options={"width": 0.25, "dropout": (0.0,) * 5})
    method, seen, batch = case.build(), Collected(), case.data().batch(0)
    torch.manual_seed(1)
    first, second = torch.randperm(4)[:2]
    torch.manual_seed(1)
    method.step(batch, clock(), seen)
    labeled = batch["labeled"]
    used = (labeled.domain == first) | (labeled.domain == second)
    logits = case.build().train().net(labeled.image[used])[0]
    parts = [
        soft_dice(logits[labeled.domain[used] == d], labeled.target[labeled.domain == d], squared=False)
        for d in (first, second)
    ]
    assert seen.losses["inner"].item() == pytest.approx((sum(parts) / 2).item(), abs=1e-6)


def test_outer_gradient_reaches_the_weights_as_the_identity() -> None:
    case = case_of(SAML, backbone_options={"width": 0.25, "dropout": (0.0,) * 5})
    method, seen = case.build(), Collected()
    method.step(case.data().batch(0), clock(), seen)
    gradients = torch.autograd.grad(seen.losses["outer"], list(method.net.parameters()), retain_graph=True)
    assert all(g.isfinite().all() for g in gradients) and sum(float(g.abs().sum()) for g in gradients) > 0
    smooth = torch.autograd.grad(seen.losses["smooth"], list(method.metric.parameters()))
    assert any(g.abs().max() > 0 for g in smooth)


def test_saml_says_what_it_needs() -> None:
    few = case_of(SAML, domains=2)
    assert "three training domains" in str(SAML.unsupported(few.task, SAML.Options()))
    task = case_of(SAML).task
    assert SAML.unsupported(task, SAML.Options()) is None
    assert "shape_groups" in str(SAML.unsupported(task, SAML.Options(shape_groups=((2,),))))
    assert "shape_groups" in str(SAML.unsupported(task, SAML.Options(shape_groups=((),))))
    wide = case_of(SAML, classes=4, options={"shape_groups": ((1, 2), (3,))})
    assert wide.build().groups == ((1, 2), (3,))


def test_saml_takes_padded_samples() -> None:
    case = case_of(SAML)
    batch = case.data().batch(0)["labeled"]
    label = batch.target.clone()
    label[..., 16:] = IGNORE
    seen = Collected()
    case.build().step({"labeled": samples(batch.image, label, batch.domain)}, clock(), seen)
    assert all(value.isfinite() for value in seen.losses.values())


def test_a_batch_of_two_domains_is_refused() -> None:
    case = case_of(SAML)
    labeled = case.data().batch(0)["labeled"]
    two = Samples(labeled.image, (), labeled.label, labeled.valid, labeled.domain.clamp(max=1), labeled.index)
    with pytest.raises(UsageError, match="three training domains in each batch, and found 2"):
        case.build().step({"labeled": two}, clock(), Collected())
