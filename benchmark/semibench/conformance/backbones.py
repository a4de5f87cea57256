"""Checks of backbones, one fact each. A check raises AssertionError with a message that says what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from semibench.conformance.subject import PATCH, BackboneSubject, reseed
from semibench.contracts.backbone import Backbone
from semibench.contracts.errors import UsageError

Check = Callable[[BackboneSubject], None]


def _forward(net: nn.Module, images: Tensor) -> Tensor:
    reseed()
    with torch.no_grad():
        return net(images)


def check_maps_are_as_declared(subject: BackboneSubject) -> None:
    """`encode` returns maps, finest first, with the declared channels and strides."""
    net, images = subject.build(), subject.images()
    maps = net.encode(images)
    assert len(maps) == len(net.channels) == len(net.strides), (
        f"{len(maps)} maps, declared {net.channels}, {net.strides}"
    )
    for level, (features, channels, stride) in enumerate(zip(maps, net.channels, net.strides, strict=True)):
        expected = (len(images), channels, *(side // stride for side in images.shape[2:]))
        assert tuple(features.shape) == expected, f"map {level}: {tuple(features.shape)}, expected {expected}"
    assert list(net.strides) == sorted(net.strides), f"maps must go from fine to coarse, got strides {net.strides}"
    assert net.dims == subject.dims


def check_decoder_maps_are_as_declared(subject: BackboneSubject) -> None:
    """The decoder's maps have the declared channels, finest first, and its head returns the declared number of outputs."""
    net, images = subject.build(), subject.images()
    decoded = net.decoder(net.encode(images))
    assert [m.shape[1] for m in decoded] == list(net.decoder.channels), f"declared {net.decoder.channels}"
    sizes = [m.shape[2:].numel() for m in decoded]
    assert sizes == sorted(sizes, reverse=True), "the decoder's maps must go from fine to coarse"
    logits = net.decoder.head(decoded[0])
    assert logits.shape[:2] == (len(images), subject.outputs) and logits.shape[2:] == decoded[0].shape[2:]


def check_forward_keeps_the_size(subject: BackboneSubject) -> None:
    """Logits have the size of the image, for the patch and for another multiple of the divisor; `forward` is `decode(encode)`."""
    net = subject.build().eval()
    for size in (PATCH[subject.dims], (2 * max(net.divisor, 16),) * subject.dims):
        images = subject.images(size=size)
        logits = _forward(net, images)
        assert tuple(logits.shape) == (len(images), subject.outputs, *size), f"{size}: got {tuple(logits.shape)}"
        with torch.no_grad():
            assert torch.equal(logits, net.decode(net.encode(images), size)), "forward differs from decode(encode(x))"


def check_channels_and_outputs(subject: BackboneSubject) -> None:
    """The network takes one or three channels and returns one, two or four outputs."""
    for channels, outputs in ((1, 1), (3, 2), (3, 4)):
        net = subject.build(channels=channels, outputs=outputs).eval()
        logits = _forward(net, subject.images(channels=channels))
        assert logits.shape[1] == outputs, f"{outputs} outputs asked for, got {logits.shape[1]}"


def check_wrong_size_is_refused(subject: BackboneSubject) -> None:
    """The constructor raises UsageError for a patch whose sides are not multiples of the divisor."""
    net = subject.build()
    if net.divisor == 1:
        return
    patch = tuple(side + 1 for side in PATCH[subject.dims])
    _refuses(lambda: subject.build(patch=patch), f"a patch of {patch} with divisor {net.divisor}")


def _refuses(build: Callable[[], object], what: str) -> None:
    try:
        build()
    except UsageError:
        return
    raise AssertionError(f"expected UsageError for {what}, but it was accepted")


def check_no_parameter_has_two_names(subject: BackboneSubject) -> None:
    """No parameter or buffer is registered twice (`stages` is a property, not a second registration)."""
    net = subject.build()
    for kind in (net.named_parameters, net.named_buffers):
        ids: dict[int, str] = {}
        for name, value in kind(remove_duplicate=False):
            assert id(value) not in ids, f"{name} is also {ids[id(value)]}"
            ids[id(value)] = name


def check_stages_give_the_maps(subject: BackboneSubject) -> None:
    """If "stages" is provided, the outputs of these modules are the maps of `encode`, in order."""
    if "stages" not in subject.backbone.provides:
        return
    net = subject.build().eval()
    outputs: list[Tensor] = []
    stages: Sequence[nn.Module] = net.stages  # type: ignore[assignment]
    handles = [stage.register_forward_hook(lambda _m, _i, output: outputs.append(output)) for stage in stages]
    maps = net.encode(subject.images())
    for handle in handles:
        handle.remove()
    assert len(outputs) == len(maps), f"{len(outputs)} stages ran for {len(maps)} maps"
    assert all(torch.equal(a, b) for a, b in zip(outputs, maps, strict=True)), (
        "a stage's output isn't the map of its level"
    )


def check_new_decoder_is_fresh(subject: BackboneSubject) -> None:
    """`new_decoder()` returns a decoder with its own weights and the same channels that decodes the same maps."""
    net, images = subject.build().eval(), subject.images()
    other = net.new_decoder().eval()
    assert other.channels == net.decoder.channels
    mine = {id(p) for p in net.parameters()}
    assert not mine & {id(p) for p in other.parameters()}, "the new decoder shares parameters"
    with torch.no_grad():
        maps, size = net.encode(images), tuple(images.shape[2:])
        first, second = net.decode(maps, size), net.decode(maps, size, other)
    assert first.shape == second.shape and not torch.equal(first, second), "the new decoder has the same weights"


def check_unknown_variant_is_refused(subject: BackboneSubject) -> None:
    """`new_decoder` raises UsageError for an unknown variant."""
    net = subject.build()
    _refuses(lambda: net.new_decoder(no_such_variant=1), "an unknown variant of the decoder")


def check_two_networks_differ(subject: BackboneSubject) -> None:
    """Two consecutive builds draw different weights; the same seed draws the same weights."""
    first, again = subject.build(), subject.build()
    second = subject.backbone(
        dims=subject.dims, channels=subject.channels, outputs=subject.outputs, patch=PATCH[subject.dims],
        options=subject.backbone.Options(**subject.options),
    )  # fmt: skip
    images = subject.images()
    assert torch.equal(_forward(first.eval(), images), _forward(again.eval(), images)), (
        "the same seed gave two different networks"
    )
    assert not torch.equal(_forward(first, images), _forward(second.eval(), images)), (
        "two networks have the same weights"
    )


def check_copies_are_independent(subject: BackboneSubject) -> None:
    """A deep copy returns the same output and shares no parameters (teachers are copies)."""
    net = subject.build().eval()
    twin = copy.deepcopy(net)
    assert torch.equal(_forward(net, subject.images()), _forward(twin, subject.images()))
    assert not {id(p) for p in net.parameters()} & {id(p) for p in twin.parameters()}


def check_every_parameter_gets_a_gradient(subject: BackboneSubject) -> None:
    """Every parameter gets a gradient from the logits, including those of the noisy path if "time" is provided, and of prompts
    if "prompts" is."""
    net = subject.build().train()
    reseed()
    images = subject.images()
    logits = net(images)
    if "time" in subject.backbone.provides:
        logits = logits + net.decode(_noisy_maps(subject, net, images), images.shape[2:])
    if "prompts" in subject.backbone.provides:
        logits = logits + _prompted(net, images, subject.outputs, place=3)
    logits.square().mean().backward()
    dead = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert not dead, f"no gradient reaches {dead[:5]}"


def _noisy_maps(subject: BackboneSubject, net: Backbone, images: Tensor, time: int = 7, seed: int = 3) -> list[Tensor]:
    """Returns the maps of the noisy path for a random label map of `outputs` channels, with all samples at the same step."""
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randn((len(images), subject.outputs, *images.shape[2:]), generator=generator)
    steps = torch.full((len(images),), time, dtype=torch.int64)
    return net.encode(images, noisy=noisy, time=steps)  # type: ignore[call-arg]


def _prompted(net: Backbone, images: Tensor, outputs: int, place: int) -> Tensor:
    """Returns the logits with one point of each class, all at the same place."""
    shape = len(images), outputs
    points, labels = torch.full((*shape, 2), place), torch.arange(outputs).expand(shape)
    prompts = net.prompt(points, labels, images.shape[2:])  # type: ignore[operator]
    decoded = net.decoder(net.encode(images), prompts)
    return net.enlarge(net.decoder.head(decoded[0]), images.shape[2:])


def check_prompts_count(subject: BackboneSubject) -> None:
    """If "prompts" is provided, logits with points have the shape of those without, and depend on the points' places."""
    if "prompts" not in subject.backbone.provides:
        return
    net, images = subject.build().eval(), subject.images()
    with torch.no_grad():
        alone = net(images)
        here, there = (_prompted(net, images, subject.outputs, place) for place in (3, 20))
    assert here.shape == alone.shape, f"with prompts {tuple(here.shape)}, without {tuple(alone.shape)}"
    assert not torch.equal(here, alone), "prompts have no effect on the logits"
    assert not torch.equal(here, there), "the place of a point has no effect on the logits"


def check_time_is_fused(subject: BackboneSubject) -> None:
    """If "time" is provided, `encode` takes a noisy label map and a step: both change the maps and leave their shapes alone."""
    if "time" not in subject.backbone.provides:
        return
    net, images = subject.build().eval(), subject.images()
    with torch.no_grad():
        maps, alone = _noisy_maps(subject, net, images), net.encode(images)
        later, other = _noisy_maps(subject, net, images, time=900), _noisy_maps(subject, net, images, seed=4)
    assert [m.shape for m in maps] == [m.shape for m in alone], (
        "the maps of the noisy path differ in shape from those of the image path"
    )
    assert not torch.equal(maps[-1], later[-1]), "the step has no effect on the last map"
    assert not torch.equal(maps[-1], other[-1]), "the noisy label map has no effect on the last map"
    with torch.no_grad():
        assert torch.equal(alone[-1], net.encode(images)[-1]), "the image path depends on what was encoded before"


def check_eval_is_independent_of_the_batch(subject: BackboneSubject) -> None:
    """In eval mode, an image's logits depend neither on the rest of the batch nor on earlier calls."""
    net, images = subject.build().eval(), subject.images(3)
    together, again, alone = _forward(net, images), _forward(net, images), _forward(net, images[:1])
    assert torch.equal(together, again), "eval mode is not deterministic"
    gap = float((together[:1] - alone).abs().max())
    assert gap < 1e-4 * max(1.0, float(together.abs().max())), f"the same image alone differs by {gap:.2g}"


def check_dropout_is_as_declared(subject: BackboneSubject) -> None:
    """Training mode is stochastic if and only if "dropout" is provided."""
    net, images = subject.build().train(), subject.images()
    with torch.no_grad():
        reseed()
        first, second = net(images), net(images)
    differs = not torch.allclose(first, second, rtol=1e-4, atol=1e-5)
    assert differs == ("dropout" in subject.backbone.provides), (
        f"provides {sorted(subject.backbone.provides)}; varies: {differs}"
    )


def check_options(subject: BackboneSubject) -> None:
    """Options reject unknown keys, and a smaller `width` makes the network smaller."""
    try:
        subject.backbone.Options.model_validate({"no_such_option": 1})
    except ValidationError:
        pass
    else:
        raise AssertionError('Options accepts unknown keys: declare it with frozen=True, extra="forbid"')

    def size(width: float) -> int:
        return sum(p.numel() for p in subject.build(options={"width": width}).parameters())

    assert size(0.125) < size(0.25), "width has no effect on the number of parameters"


def check_card_agrees(subject: BackboneSubject) -> None:
    """The card's `dims` and `provides` agree with the class."""
    if subject.card is None:
        return
    assert frozenset(subject.card.provides) == subject.backbone.provides, (
        f"the card provides {sorted(subject.card.provides)}, the class {sorted(subject.backbone.provides)}"
    )
    assert issubclass(subject.backbone, Backbone)
    for dims in {2, 3} - set(subject.card.dims):
        patch = PATCH[dims]
        _refuses(lambda dims=dims, patch=patch: subject.build(dims=dims, patch=patch), f"dims={dims}, not on the card")  # type: ignore[misc]


BACKBONE_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of backbones, by name."""
