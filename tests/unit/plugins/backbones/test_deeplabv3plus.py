"""DeepLabv3+ and its ResNets: counts and sizes of the sheet, torchvision's names, weight files that fit and that don't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from semibench import IdentityError, UsageError
from semibench.run.assembly import load_weights
from semibench_plugins.backbones.deeplabv3plus import DeepLabOptions, DeepLabV3Plus, classifier
from semibench_plugins.backbones.resnet import ResNet, dilations

torch.set_num_threads(1)
SMALL = {"width": 1 / 16, "encoder": "resnet18"}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def network(outputs: int = 2, channels: int = 3, patch: tuple[int, int] = (33, 33), **options: Any) -> DeepLabV3Plus:
    return DeepLabV3Plus(
        dims=2, channels=channels, outputs=outputs, patch=patch, options=DeepLabOptions(**options)
    )  # fmt: skip


def file_of(path: Path, resnet: ResNet, **more: Tensor) -> Path:
    """A weight file as torchvision writes it: a ResNet's entries and a classifier."""
    state = {name: value.clone() for name, value in resnet.state_dict().items()}
    state |= {"fc.weight": torch.zeros(10, resnet.channels[-1]), "fc.bias": torch.zeros(10), **more}
    if path.suffix == ".safetensors":
        save_file(state, str(path))
    else:
        torch.save(state, path)
    return path


# --- size and shape ---


@pytest.mark.parametrize("stride", [8, 16])
def test_parameter_counts_are_the_sheets(stride: int) -> None:
    with torch.device("meta"):
        net = network(output_stride=stride)
        plain = network(deep_stem=False, output_stride=stride)
        other = net.new_decoder(lineage="unimatch")
        assert count(classifier(512, 256, 256, 0.1)) == 1_836_800, "representation head"
    assert count(net.encoder) == 23_631_808 and count(plain.encoder) == 23_508_032
    assert count(net.decoder) == 19_994_370 and count(other) == 16_839_266
    assert net.decoder.channels == (512,) and other.channels == (256,)


def test_small_resnets_are_torchvisions() -> None:
    """Counts without classifier: 11,689,512 - 513,000, 21,797,672 - 513,000 and 44,549,160 - 2,049,000."""
    with torch.device("meta"):
        assert [count(ResNet(depth)) for depth in (18, 34, 101)] == [11_176_512, 21_284_672, 42_500_160]
        names = list(ResNet(50).state_dict())
    assert len(names) == 320 - 2
    for name in ("conv1.weight", "bn1.running_mean", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias"):
        assert name in names


def test_dilations_are_the_sheets() -> None:
    blocks = (3, 4, 6, 3)
    assert dilations(blocks, 8, True) == ([1, 2, 1, 1], [[1] * 3, [1] * 4, [1, 2, 2, 2, 2, 2], [4, 8, 16]])
    assert dilations(blocks, 8, False)[1][3] == [2, 4, 4]
    assert dilations(blocks, 16, True) == ([1, 2, 2, 1], [[1] * 3, [1] * 4, [1] * 6, [2, 4, 8]])
    assert dilations(blocks, 16, False)[1][3] == [1, 2, 2]
    assert dilations(blocks, 32, False) == ([1, 2, 2, 2], [[1] * n for n in blocks])


def test_dilated_convolutions_are_those() -> None:
    with torch.device("meta"):
        encoder = network().encoder
    assert [block.conv2.dilation[0] for block in encoder.layer4] == [4, 8, 16]
    assert [block.conv2.dilation[0] for block in encoder.layer3] == [1, 2, 2, 2, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "stride", "sides"),
    [
        (513, 8, (129, 65, 65, 65)),
        (513, 16, (129, 65, 33, 33)),
        (321, 8, (81, 41, 41, 41)),
        (321, 16, (81, 41, 21, 21)),
    ],
)
@pytest.mark.parametrize("deep", [True, False])
def test_sizes_of_the_maps(side: int, stride: int, sides: tuple[int, ...], deep: bool) -> None:
    with torch.device("meta"):
        net = network(patch=(side, side), output_stride=stride, deep_stem=deep, ceil_pool=True).eval()
        maps = net.encode(torch.empty(1, 3, side, side))
        decoded = net.decoder(maps)[0]
        floor = network(patch=(side, side), output_stride=stride, deep_stem=deep).eval()
        assert [m.shape for m in floor.encode(torch.empty(1, 3, side, side))] == [m.shape for m in maps]
    assert [tuple(m.shape) for m in maps] == [(1, c, n, n) for c, n in zip((256, 512, 1024, 2048), sides, strict=True)]
    assert tuple(decoded.shape) == (1, 512, sides[0], sides[0])


def test_output_stride_changes_no_parameter_shape() -> None:
    with torch.device("meta"):
        shapes = [{k: v.shape for k, v in network(output_stride=s).state_dict().items()} for s in (8, 16)]
    assert shapes[0] == shapes[1]


def test_any_size_and_logits_at_the_images_size() -> None:
    net = network(**SMALL).eval()
    with torch.no_grad():
        for size in ((33, 50), (64, 64), (47, 31)):
            image = torch.randn(1, 3, *size)
            coarse = net.decoder.head(net.decoder(net.encode(image))[0])
            assert tuple(net(image).shape) == (1, 2, *size)
            assert torch.equal(net(image), net.enlarge(coarse, size))
            assert torch.allclose(net(image)[..., 0, 0], coarse[..., 0, 0], atol=1e-6), "corners are aligned"


def test_a_single_image_in_training_says_why() -> None:
    with pytest.raises(UsageError, match="at least two images"):
        network(**SMALL).train()(torch.randn(1, 3, 33, 33))


def test_3d_is_refused() -> None:
    with pytest.raises(UsageError, match="2D"):
        DeepLabV3Plus(dims=3, channels=1, outputs=2, patch=(16, 16, 16), options=DeepLabOptions())


def test_last_norms_start_at_zero() -> None:
    zero, plain = network(**SMALL), network(**SMALL, zero_last=False)
    assert not zero.encoder.layer2[1].bn2.weight.any()
    assert plain.encoder.layer2[1].bn2.weight.all()


# --- weight files ---


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("deep", [True, False])
def test_a_resnets_file_fits(tmp_path: Path, ending: str, deep: bool) -> None:
    source = ResNet(18, width=1 / 16, deep_stem=deep)
    source.bn1.running_mean.fill_(0.25)
    net = network(**SMALL, deep_stem=deep)
    head = net.decoder.last[0].weight.clone()
    load_weights(net, file_of(tmp_path / f"w.{ending}", source), "deeplabv3plus")
    mine = net.encoder.state_dict()
    assert all(torch.equal(mine[name], value) for name, value in source.state_dict().items())
    assert torch.equal(net.decoder.last[0].weight, head), "the decoder stays as drawn"


def test_a_file_without_counters_of_the_norms_fits(tmp_path: Path) -> None:
    state = {k: v for k, v in ResNet(18, width=1 / 16, deep_stem=True).state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "old.pth")
    net = network(**SMALL)
    load_weights(net, tmp_path / "old.pth", "deeplabv3plus")
    mine = net.encoder.state_dict()
    assert all(torch.equal(mine[name], value) for name, value in state.items())


def test_the_other_stem_is_named_and_can_stay_fresh(tmp_path: Path) -> None:
    path = file_of(tmp_path / "plain.pth", ResNet(50, width=1 / 16))
    small = {"width": 1 / 16}
    with pytest.raises(IdentityError, match="except for the stem") as error:
        load_weights(network(**small), path, "deeplabv3plus")
    listed = str(error.value).split("): ")[1].split(". Use")[0].split(", ")
    assert {name.split(".")[0] for name in listed} == {"conv1", "bn1", "layer1"}
    assert {n for n in listed if n.startswith("layer")} == {"layer1.0.conv1.weight", "layer1.0.downsample.0.weight"}
    assert "conv1.weight" in listed and "conv1.6.weight" in listed and "deep_stem=False" in str(error.value)
    net = network(**small, fresh_stem=True)
    stem = net.encoder.conv1[0].weight.clone()
    load_weights(net, path, "deeplabv3plus")
    assert torch.equal(net.encoder.conv1[0].weight, stem)
    state = torch.load(path, weights_only=True)
    assert torch.equal(net.encoder.layer3[1].conv2.weight, state["layer3.1.conv2.weight"])


@pytest.mark.slow
def test_other_misfits_are_listed(tmp_path: Path) -> None:
    net = network(**SMALL)
    resnet = ResNet(18, width=1 / 16, deep_stem=True)
    extra = file_of(tmp_path / "extra.pth", resnet, **{"layer9.weight": torch.zeros(1)})
    with pytest.raises(IdentityError, match=r"unknown: encoder\.layer9\.weight"):
        load_weights(net, extra, "deeplabv3plus")
    wide = file_of(tmp_path / "wide.pth", ResNet(18, width=1 / 8, deep_stem=True))
    with pytest.raises(IdentityError, match=r"shapes: .*expected"):
        load_weights(net, wide, "deeplabv3plus")
    deeper = file_of(tmp_path / "deeper.pth", ResNet(34, width=1 / 16, deep_stem=True))
    with pytest.raises(IdentityError, match=r"unknown: encoder\.layer1\.2"):
        load_weights(net, deeper, "deeplabv3plus")
    with pytest.raises(IdentityError, match=r"missing: encoder\.layer1\.2"):
        load_weights(network(**{**SMALL, "encoder": "resnet34"}), file_of(tmp_path / "s.pth", resnet), "deeplabv3plus")
    one = network(**SMALL, channels=1)
    with pytest.raises(IdentityError, match="except for the stem"):
        load_weights(one, file_of(tmp_path / "rgb.pth", resnet), "deeplabv3plus")


def test_a_file_that_holds_no_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    torch.save({"conv1.weight": torch.zeros(3), 1: torch.zeros(3)}, tmp_path / "numbered.pth")
    for name in ("text.pth", "epoch.pth", "numbered.pth"):
        with pytest.raises(IdentityError, match="is not a weight file"):
            load_weights(network(**SMALL), tmp_path / name, "deeplabv3plus")


def test_its_own_file_round_trips(tmp_path: Path) -> None:
    first, second = network(**SMALL), network(**SMALL)
    torch.save(first.state_dict(), tmp_path / "own.pth")
    load_weights(second, tmp_path / "own.pth", "deeplabv3plus")
    image = torch.randn(2, 3, 33, 33)
    assert torch.equal(first.eval()(image), second.eval()(image))


def test_a_plan_says_that_the_start_is_random() -> None:
    from semibench.run.prepare import prepare
    from semibench.run.request import Request

    plan = prepare(
        Request(
            protocol="ssmis", dataset="udiat", method="supervised", backbone="deeplabv3plus", recipe="smoke",
            phantom="always", device="cpu", threads=1,
            settings=("phantom.cases=20",),
        ),
        estimate=False,
    )  # fmt: skip
    assert any("random weights" in line and "--weights" in line for line in plan.warnings)
