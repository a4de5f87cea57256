"""Plain torch networks as backbones: the adapter computes what the network computes, and says what it can't do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import bench, in_one_line
from torch import Tensor, nn

from semibench.conformance import checks_of
from semibench.contracts.errors import UnknownNameError, UnsupportedError, UsageError
from semibench.discovery import on_demand
from semibench.discovery.adapted.backbone import adapted
from semibench.discovery.registry import registry
from semibench.run.assembly import load_weights
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench.run.resolve import resolve

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, in_channels, num_classes, width: int = 6, kernel: int = 3):
        super().__init__()
        first = nn.Conv2d(in_channels, width, kernel, padding=kernel // 2)
        self.body = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), nn.Upsample(scale_factor=2))
        self.out = nn.Conv2d(width, num_classes, 1)

    def forward(self, images):
        return self.out(self.body(images))
"""


class Plain(nn.Module):
    """Halves the image, so that its sides must be even."""

    def __init__(self, in_channels: int, out_channels: int, features: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, features, 3, padding=1)
        self.norm = nn.BatchNorm2d(features)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(features, out_channels, 1))

    def forward(self, images: Tensor) -> Tensor:
        half = nn.functional.max_pool2d(self.norm(self.stem(images)), 2)
        result: Tensor = self.head(nn.functional.interpolate(half, scale_factor=2))
        return result


class Softmaxed(Plain):
    """Returns probabilities."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


class Coarse(Plain):
    """Returns logits at half the resolution."""

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.head(nn.functional.max_pool2d(self.norm(self.stem(images)), 2))
        return result


def built(cls: type[nn.Module], dims: int = 2, **options: Any) -> Any:
    backbone = adapted(cls)
    patch = (32, 32) if dims == 2 else (32, 32, 16)
    torch.manual_seed(5)
    return backbone(dims=dims, channels=1, outputs=3, patch=patch, options=backbone.Options(**options))


def alone(cls: type[nn.Module], **options: Any) -> nn.Module:
    torch.manual_seed(5)
    return cls(in_channels=1, out_channels=3, **options)


@pytest.mark.parametrize("cls", [Plain, Softmaxed, Coarse])
def test_the_adapter_computes_what_the_network_computes(cls: type[nn.Module]) -> None:
    net, plain, images = built(cls).eval(), alone(cls).eval(), torch.randn(2, 1, 32, 32)
    expected = plain(images)
    if cls is Coarse:
        expected = nn.functional.interpolate(expected, (32, 32), mode="bilinear")
    torch.testing.assert_close(net(images), expected, rtol=0, atol=0)


def test_everything_but_the_last_layer_is_the_encoder() -> None:
    net, images = built(Plain, features=5).eval(), torch.randn(2, 1, 32, 32)
    (features,) = net.encode(images)
    assert features.shape == (2, 5, 32, 32) and net.channels == (5,) and net.strides == (1,)
    torch.testing.assert_close(net.decode([features], (32, 32)), net(images), rtol=0, atol=0)
    other = net.new_decoder()
    assert not torch.equal(net.decode([features], (32, 32), other), net(images))
    assert {name for name, _ in other.named_parameters()} == {"layer.weight", "layer.bias"}
    assert built(Coarse).strides == (2,)


def test_the_divisor_is_found_without_computing() -> None:
    assert built(Plain).divisor == 2
    backbone = adapted(Plain)
    with pytest.raises(UsageError, match="sides must be multiples of 2; the patch is \\(32, 33\\)"):
        backbone(dims=2, channels=1, outputs=2, patch=(32, 33), options=backbone.Options())


def test_building_draws_the_weights_of_the_plain_network_and_no_more() -> None:
    built(Plain)
    after = torch.rand(1)
    alone(Plain)
    assert torch.equal(after, torch.rand(1)), "probing must not use the random numbers of a run"


def test_what_cannot_be_taken_apart_is_said() -> None:
    net = built(Softmaxed)
    for asked in (
        lambda: net.encode(torch.zeros(1, 1, 32, 32)),
        net.new_decoder,
        lambda: net.decoder.head(torch.zeros(1)),
    ):
        with pytest.raises(
            UnsupportedError, match="Softmaxed can't be taken apart: what it returns isn't what a convolution"
        ):
            asked()
    with pytest.raises(UnsupportedError, match="gives no encoder maps, and this method asks for another"):
        net.strides[0]
    with pytest.raises(UnsupportedError, match="gives 1 encoder map, and this method asks for another"):
        built(Plain).channels[1]


def test_start_weights_have_the_names_of_the_plain_network(tmp_path: Path) -> None:
    torch.manual_seed(9)
    trained = Plain(in_channels=1, out_channels=3).eval()
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    net, images = built(Plain).eval(), torch.randn(1, 1, 32, 32)
    load_weights(net, tmp_path / "weights.pt", "plain")
    assert torch.equal(net(images), trained(images))
    twin = copy.deepcopy(net)
    assert torch.equal(twin(images), net(images))


class NoClasses(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(in_channels, 7, 1)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.out(images)
        return result


class Several(NoClasses):
    def forward(self, images: Tensor) -> Any:
        return [super().forward(images)]


class Needy(NoClasses):
    def __init__(self, in_channels: int, encoder: nn.Module) -> None:
        super().__init__(in_channels)


class Raising(NoClasses):
    def __init__(self, in_channels: int, out_channels: int, depth: int = 3) -> None:
        raise ValueError(f"no depth of {depth}")


@pytest.mark.parametrize(
    ("cls", "dims", "error", "words"),
    [
        (NoClasses, 2, UnsupportedError, r"returns the shape \(2, 7, 32, 32\); expected a tensor of logits \(B, 3, \*spatial\)"),
        (Several, 2, UnsupportedError, "returns a list; expected a tensor of logits"),
        (Needy, 2, UsageError, "needs the argument 'encoder' .* which can't be given as a setting"),
        (Raising, 2, UsageError, "can't be built for 2D with 1 channels and 3 classes and depth=3: ValueError: no depth of 3"),
        (Plain, 3, UnsupportedError, "can't take images of shape .2, 1, 32, 32, 16.: RuntimeError"),
    ],
)  # fmt: skip
def test_networks_that_cannot_serve_are_one_clear_line(
    cls: type[nn.Module], dims: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        built(cls, dims)
    assert "\n" not in str(caught.value)


# ---- MONAI ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["SegResNet", "DynUNet", "UNet"])
def test_networks_of_monai_compute_what_they_compute_alone(name: str, dims: int) -> None:
    nets = pytest.importorskip("monai.networks.nets")
    item = registry().get("backbones", f"monai:{name}")
    assert item.full_name == f"monai:{name.lower()}" == registry().label(item)
    cls = item.resolve()
    options = cls.Options()
    patch = (32, 32) if dims == 2 else (32, 32, 16)
    torch.manual_seed(2)
    net = cls(dims=dims, channels=1, outputs=2, patch=patch, options=options).eval()
    torch.manual_seed(2)
    given = {key: getattr(options, key) for key in type(options).model_fields}
    plain = getattr(nets, name)(spatial_dims=dims, in_channels=1, out_channels=2, **given).eval()
    images = torch.randn(1, 1, *patch)
    with torch.no_grad():
        torch.testing.assert_close(net(images), plain(images), rtol=0, atol=0)


def request(**fields: Any) -> Request:
    given = {"protocol": "self", "dataset": "tus", "method": "supervised", "recipe": "smoke", "phantom": "always"}
    return Request(**{**given, "settings": ("phantom.cases=20", "phantom.scale=0.25", "labeled=0.5"), **fields})


def test_options_of_monais_networks_are_validated_and_in_the_key() -> None:
    pytest.importorskip("monai")
    small = ("init_filters=8", "blocks_down=[1, 1]", "backbone.blocks_up=[1]")
    resolved = resolve(request(backbone="monai:SegResNet", settings=(*request().settings, *small)))
    part = resolved.spec.entry.backbone
    assert (
        part.name == "monai:segresnet" and part.options["init_filters"] == 8 and part.options["blocks_down"] == [1, 1]
    )
    assert part.options["norm"] == ["GROUP", {"num_groups": 8}] and "width" not in part.options
    quick = resolve(request(backbone="monai:SegResNet", recipe="quick")).spec.entry.backbone.options
    assert quick["norm"] == ["GROUP", {"num_groups": 8}], (
        "the norm that a recipe sets for the harness's networks isn't meant"
    )
    again = resolve(Request.from_spec(resolved.spec, track=False))
    assert again.spec.key == resolved.spec.key, "the stored spec alone gives the same run"
    with pytest.raises(UsageError, match="Did you mean 'init_filters'"):
        resolve(request(backbone="monai:SegResNet", settings=("initfilters=8",)))
    with pytest.raises(UsageError, match="init_filters: Input should be a valid integer"):
        resolve(request(backbone="monai:SegResNet", settings=("init_filters=many",)))
    with pytest.raises(UnknownNameError, match="Did you mean 'SegResNet'"):
        resolve(request(backbone="monai:SegRes"))


def test_a_plan_says_how_a_network_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_demand, "_found", {})
    plan = prepare(request(backbone="./net.py:Net"), estimate=False)
    assert plan.resolved.spec.entry.backbone.options == {"own_width": 6, "kernel": 3, "dims": 2}
    assert any(
        "all but its last layer 'out' is the encoder, with one map of 6 channels" in text for text in plan.warnings
    )
    refused = bench(
        "run",
        "-p",
        "self",
        "-d",
        "tus",
        "-m",
        "semsim",
        "-b",
        "./net.py:Net",
        "--recipe",
        "smoke",
        "--phantom",
        "--plan",
    )
    assert refused.exit_code == 1 and "semsim fuses three consecutive scales" in in_one_line(refused.output)


def test_a_network_in_a_file_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_demand, "_found", {})
    checks = checks_of("./net.py:Net")
    assert [check.reason() for check in checks] == [None] * len(checks)
    assert {check.dims for check in checks} == {0, 2}, "it is a 2D network"


@pytest.mark.slow
def test_the_checks_of_parts_leave_out_a_network_that_cannot_be_taken_apart() -> None:
    pytest.importorskip("monai")
    checks = [check for check in checks_of("monai:UNet") if check.dims != 3]
    facts = {check.fact: check for check in checks}
    assert "maps_are_as_declared" not in facts and "options" not in facts
    for fact in ("class_resolves", "channels_and_outputs", "wrong_size_is_refused", "copies_are_independent"):
        assert facts[fact].reason() is None
