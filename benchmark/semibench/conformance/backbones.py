"""What every backbone must do, one fact for each check. A check raises AssertionError with what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from semibench.conformance.case import PATCH, BackboneCase, reseed
from semibench.contracts.backbone import Backbone
from semibench.contracts.errors import UsageError

Check = Callable[[BackboneCase], None]


def _forward(net: nn.Module, images: Tensor) -> Tensor:
    reseed()
    with torch.no_grad():
        return net(images)


def check_maps_are_as_declared(case: BackboneCase) -> None:
    """encode returns maps, finest first, with the declared channels and strides."""
    net, images = case.build(), case.images()
    maps = net.encode(images)
    assert len(maps) == len(net.channels) == len(net.strides), (
        f"{len(maps)} maps, declared {net.channels}, {net.strides}"
    )
    for level, (found, channels, stride) in enumerate(zip(maps, net.channels, net.strides, strict=True)):
        expected = (len(images), channels, *(side // stride for side in images.shape[2:]))
        assert tuple(found.shape) == expected, f"map {level}: {tuple(found.shape)}, expected {expected}"
    assert list(net.strides) == sorted(net.strides), f"maps go from fine to coarse, got strides {net.strides}"
    assert net.dims == case.dims


def check_decoder_maps_are_as_declared(case: BackboneCase) -> None:
    """The decoder's maps have the declared channels, finest first, and its head gives the outputs."""
    net, images = case.build(), case.images()
    decoded = net.decoder(net.encode(images))
    assert [m.shape[1] for m in decoded] == list(net.decoder.channels), f"declared {net.decoder.channels}"
    sizes = [m.shape[2:].numel() for m in decoded]
    assert sizes == sorted(sizes, reverse=True), "the decoder's maps must go from fine to coarse"
    logits = net.decoder.head(decoded[0])
    assert logits.shape[:2] == (len(images), case.outputs) and logits.shape[2:] == decoded[0].shape[2:]


def check_forward_keeps_the_size(case: BackboneCase) -> None:
    """Logits have the size of the image, for the patch and for other multiples of the divisor; forward is decode(encode)."""
    net = case.build().eval()
    for size in (PATCH[case.dims], (2 * max(net.divisor, 16),) * case.dims):
        images = case.images(size=size)
        logits = _forward(net, images)
        assert tuple(logits.shape) == (len(images), case.outputs, *size), f"{size}: got {tuple(logits.shape)}"
        with torch.no_grad():
            assert torch.equal(logits, net.decode(net.encode(images), size)), "forward differs from decode(encode(x))"


def check_channels_and_outputs(case: BackboneCase) -> None:
    """It takes one and three channels and gives one, two and four outputs."""
    for channels, outputs in ((1, 1), (3, 2), (3, 4)):
        net = case.build(channels=channels, outputs=outputs).eval()
        logits = _forward(net, case.images(channels=channels))
        assert logits.shape[1] == outputs, f"{outputs} outputs asked for, got {logits.shape[1]}"


def check_wrong_size_is_refused(case: BackboneCase) -> None:
    """A patch whose side is no multiple of the divisor raises UsageError at construction."""
    net = case.build()
    if net.divisor == 1:
        return
    patch = tuple(side + 1 for side in PATCH[case.dims])
    _refuses(lambda: case.build(patch=patch), f"a patch of {patch} with divisor {net.divisor}")


def _refuses(build: Callable[[], object], what: str) -> None:
    try:
        build()
    except UsageError:
        return
    raise AssertionError(f"expected UsageError for {what}; it was accepted")


def check_no_parameter_has_two_names(case: BackboneCase) -> None:
    """No parameter or buffer is registered twice (`stages` is a property, not a second registration)."""
    net = case.build()
    for kind in (net.named_parameters, net.named_buffers):
        ids: dict[int, str] = {}
        for name, value in kind(remove_duplicate=False):
            assert id(value) not in ids, f"{name} is also {ids[id(value)]}"
            ids[id(value)] = name


def check_stages_give_the_maps(case: BackboneCase) -> None:
    """Where "stages" is provided, the outputs of these modules are the maps of encode, in order."""
    if "stages" not in case.backbone.provides:
        return
    net = case.build().eval()
    seen: list[Tensor] = []
    stages: Sequence[nn.Module] = net.stages  # type: ignore[assignment]
    handles = [stage.register_forward_hook(lambda _m, _i, output: seen.append(output)) for stage in stages]
    maps = net.encode(case.images())
    for handle in handles:
        handle.remove()
    assert len(seen) == len(maps), f"{len(seen)} stages ran for {len(maps)} maps"
    assert all(torch.equal(a, b) for a, b in zip(seen, maps, strict=True)), (
        "a stage's output isn't the map of its level"
    )


def check_new_decoder_is_fresh(case: BackboneCase) -> None:
    """new_decoder() has weights of its own, the same channels, and decodes the same maps."""
    net, images = case.build().eval(), case.images()
    other = net.new_decoder().eval()
    assert other.channels == net.decoder.channels
    mine = {id(p) for p in net.parameters()}
    assert not mine & {id(p) for p in other.parameters()}, "the new decoder shares parameters"
    with torch.no_grad():
        maps, size = net.encode(images), tuple(images.shape[2:])
        first, second = net.decode(maps, size), net.decode(maps, size, other)
    assert first.shape == second.shape and not torch.equal(first, second), "the new decoder has the same weights"


def check_unknown_variant_is_refused(case: BackboneCase) -> None:
    """new_decoder raises UsageError for a variant it doesn't know."""
    net = case.build()
    _refuses(lambda: net.new_decoder(no_such_variant=1), "an unknown variant of the decoder")


def check_two_networks_differ(case: BackboneCase) -> None:
    """Two builds in a row draw fresh weights; the same seed draws the same."""
    first, again = case.build(), case.build()
    second = case.backbone(
        dims=case.dims, channels=case.channels, outputs=case.outputs, patch=PATCH[case.dims],
        options=case.backbone.Options(**case.options),
    )  # fmt: skip
    images = case.images()
    assert torch.equal(_forward(first.eval(), images), _forward(again.eval(), images)), "one seed, two networks"
    assert not torch.equal(_forward(first, images), _forward(second.eval(), images)), (
        "two networks have the same weights"
    )


def check_copies_are_independent(case: BackboneCase) -> None:
    """A deep copy gives the same output and shares no parameter (teachers are copies)."""
    net = case.build().eval()
    twin = copy.deepcopy(net)
    assert torch.equal(_forward(net, case.images()), _forward(twin, case.images()))
    assert not {id(p) for p in net.parameters()} & {id(p) for p in twin.parameters()}


def check_every_parameter_gets_a_gradient(case: BackboneCase) -> None:
    """Backward from the logits reaches every parameter; where "time" is provided, from those of the noisy path too."""
    net = case.build().train()
    reseed()
    images = case.images()
    logits = net(images)
    if "time" in case.backbone.provides:
        logits = logits + net.decode(_noisy_maps(case, net, images), images.shape[2:])
    logits.square().mean().backward()
    dead = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert not dead, f"no gradient reaches {dead[:5]}"


def _noisy_maps(case: BackboneCase, net: Backbone, images: Tensor, time: int = 7, seed: int = 3) -> list[Tensor]:
    """The maps of the noisy path: a label map of `outputs` channels, all samples at the same step."""
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randn((len(images), case.outputs, *images.shape[2:]), generator=generator)
    steps = torch.full((len(images),), time, dtype=torch.int64)
    return net.encode(images, noisy=noisy, time=steps)  # type: ignore[call-arg]


def check_time_is_fused(case: BackboneCase) -> None:
    """Where "time" is provided: encode takes a noisy label map and a step, both change the maps, and their shapes are those of
    the image alone."""
    if "time" not in case.backbone.provides:
        return
    net, images = case.build().eval(), case.images()
    with torch.no_grad():
        maps, alone = _noisy_maps(case, net, images), net.encode(images)
        later, other = _noisy_maps(case, net, images, time=900), _noisy_maps(case, net, images, seed=4)
    assert [m.shape for m in maps] == [m.shape for m in alone], "the noisy path has other maps than the image path"
    assert not torch.equal(maps[-1], later[-1]), "the step changes nothing in the last map"
    assert not torch.equal(maps[-1], other[-1]), "the noisy label map changes nothing in the last map"
    with torch.no_grad():
        assert torch.equal(alone[-1], net.encode(images)[-1]), "the image path depends on what was encoded before"


def check_eval_is_independent_of_the_batch(case: BackboneCase) -> None:
    """In eval mode an image's logits don't depend on the batch and don't change from call to call."""
    net, images = case.build().eval(), case.images(3)
    together, again, alone = _forward(net, images), _forward(net, images), _forward(net, images[:1])
    assert torch.equal(together, again), "eval mode is not deterministic"
    gap = float((together[:1] - alone).abs().max())
    assert gap < 1e-4 * max(1.0, float(together.abs().max())), f"the same image alone differs by {gap:.2g}"


def check_dropout_is_as_declared(case: BackboneCase) -> None:
    """Training mode is stochastic where "dropout" is provided and only there."""
    net, images = case.build().train(), case.images()
    with torch.no_grad():
        reseed()
        first, second = net(images), net(images)
    differs = not torch.allclose(first, second, rtol=1e-4, atol=1e-5)
    assert differs == ("dropout" in case.backbone.provides), (
        f"provides {sorted(case.backbone.provides)}; varies: {differs}"
    )


def check_options(case: BackboneCase) -> None:
    """Options refuse unknown keys, and `width` makes the network smaller."""
    try:
        case.backbone.Options.model_validate({"no_such_option": 1})
    except ValidationError:
        pass
    else:
        raise AssertionError('Options accepts unknown keys: declare it with frozen=True, extra="forbid"')

    def size(width: float) -> int:
        return sum(p.numel() for p in case.build(options={"width": width}).parameters())

    assert size(0.125) < size(0.25), "width doesn't change the number of parameters"


def check_card_agrees(case: BackboneCase) -> None:
    """What the card says (dims, provides) is what the class does."""
    if case.card is None:
        return
    assert frozenset(case.card.provides) == case.backbone.provides, (
        f"the card provides {sorted(case.card.provides)}, the class {sorted(case.backbone.provides)}"
    )
    assert issubclass(case.backbone, Backbone)
    for dims in {2, 3} - set(case.card.dims):
        patch = PATCH[dims]
        _refuses(lambda dims=dims, patch=patch: case.build(dims=dims, patch=patch), f"dims={dims}, not on the card")  # type: ignore[misc]


BACKBONE_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks by name."""
