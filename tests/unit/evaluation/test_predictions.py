"""Pieces of several cases pass through networks together: the same as piece by piece, and never more passes than needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semibench import Backbone, Case, CaseRef, Decoder, Frame, Inference
from semibench.evaluation import predictions as predictions_module
from semibench.evaluation import stream as stream_module
from semibench.evaluation.geometry import gaussian, resize, window_corners
from semibench.evaluation.inference import predict, resolve
from semibench.evaluation.network import Network
from semibench.evaluation.predictions import predictions
from semibench.evaluation.scoring import evaluating
from semibench.evaluation.shared_passes import SharedPasses
from semibench.evaluation.stream import Stream

SLICES = Network(2, (8, 8), divisor=4, slice_axis=0, batch=4)
WINDOWS = Network(3, (4, 4, 4), divisor=2, batch=2)


class Head(Decoder):
    channels = (4,)

    def __init__(self, conv: type[nn.Module]) -> None:
        super().__init__()
        self.last: Any = conv(4, 3, 3, padding=1)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [features[0].relu()]

    def head(self, decoded: Tensor) -> Tensor:
        found: Tensor = self.last(decoded)
        return found


class Small(Backbone):
    """Two convolutions that count their passes."""

    def __init__(self, dims: int) -> None:
        nn.Module.__init__(self)
        conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        self.dims, self.channels, self.strides, self.divisor = dims, (4,), (1,), 1
        self.first: Any = conv(1, 4, 3, padding=1)
        self.decoder = Head(conv)
        self.seen: list[int] = []

    def encode(self, images: Tensor) -> list[Tensor]:
        self.seen.append(len(images))
        return [self.first(images)]

    def new_decoder(self, **variant: Any) -> Decoder:
        return Head((nn.Conv2d, nn.Conv3d)[self.dims - 2])


class Two(nn.Module):
    """Two networks, scored apart and together."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.one, self.other = Small(dims), Small(dims)

    def mean(self, images: Tensor) -> Tensor:
        return 0.5 * (self.one(images) + self.other(images))

    def predictors(self) -> dict[str, Any]:
        return {"one": self.one, "other": self.other, "mean": self.mean}

    @property
    def passes(self) -> int:
        return len(self.one.seen) + len(self.other.seen)


def cases(shapes: Sequence[Sequence[int]]) -> list[tuple[Case, None]]:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, *shape, generator=generator) for shape in shapes]
    return [
        (Case(CaseRef("d", f"{n}", f"{n}", "a", False), image, None, None, Frame(tuple(image.shape[1:]))), None)
        for n, image in enumerate(images)
    ]


def predicted(
    model: nn.Module, given: Sequence[tuple[Case, None]], plans: Sequence[Inference], network: Network, **named: Any
) -> dict[tuple[str, str, int], Tensor]:
    """Returns (case, predictor, number of the inference) -> probabilities."""
    with evaluating(model):
        found = predictions(
            named or model.predictors(), iter(given), lambda case: list(plans), 3, network, model  # type: ignore[operator]
        )  # fmt: skip
        return {(case.ref.id, name, plans.index(plan)): values for case, _, name, plan, values in found}


def padded(images: Tensor, divisor: int, axes: int) -> tuple[Tensor, tuple[slice, ...]]:
    sides = [((-n % divisor) // 2, -n % divisor - (-n % divisor) // 2) for n in images.shape[-axes:]]
    flat = [n for pair in reversed(sides) for n in pair]
    crop = tuple(slice(low, low + n) for (low, _), n in zip(sides, images.shape[-axes:], strict=True))
    return nn.functional.pad(images, flat, mode="replicate"), crop


def naive_slices(predictor: Any, image: Tensor, plan: Inference, network: Network) -> Tensor:
    """One slice at a time, along the first axis."""
    found = []
    for plane in image[0]:
        small = resize(plane[None, None], network.patch, plan.resize)
        given, crop = padded(small, network.divisor, 2)
        values = predictor(given).softmax(1)[(slice(None), slice(None), *crop)]
        found.append(resize(values, plane.shape, plan.resize)[0])
    return torch.stack(found, dim=1)


def naive_windows(predictor: Any, image: Tensor, plan: Inference, network: Network) -> Tensor:
    """One window at a time."""
    short = [max(p - n, 0) for p, n in zip(network.patch, image.shape[1:], strict=True)]
    flat = [n for missing in reversed(short) for n in (missing // 2, missing - missing // 2)]
    whole = nn.functional.pad(image, flat)
    weight = gaussian(network.patch) if plan.blend == "gaussian" else torch.ones(network.patch)
    total, norm = torch.zeros(3, *whole.shape[1:]), torch.zeros(whole.shape[1:])
    for corner in window_corners(tuple(whole.shape[1:]), network.patch, plan):
        box = tuple(slice(c, c + p) for c, p in zip(corner, network.patch, strict=True))
        total[(slice(None), *box)] += predictor(whole[(slice(None), *box)][None]).softmax(1)[0] * weight
        norm[box] += weight
    inner = tuple(slice(m // 2, m // 2 + n) for m, n in zip(short, image.shape[1:], strict=True))
    return (total / norm)[(slice(None), *inner)]


@pytest.mark.parametrize("held", [2**30, 1])
@pytest.mark.parametrize("together", [2**22, 1])
@pytest.mark.parametrize("dims", [2, 3])
def test_batches_over_cases_are_the_naive_way(dims, together, held, monkeypatch) -> None:
    """Cases of several sizes, two inferences, three predictors; also where memory forbids to hold them together."""
    monkeypatch.setattr(stream_module, "TOGETHER", together)
    monkeypatch.setattr(predictions_module, "HELD", held)
    model, given = Two(dims), cases([(5, 8, 8), (3, 9, 6), (6, 8, 8), (3, 3, 9)])
    network = (SLICES, WINDOWS)[dims - 2]
    wanted = (
        (Inference(), Inference(mode="slices", resize="nearest")),
        (Inference(), Inference(mode="window", stride=(2, 3, 4), blend="constant")),
    )[dims - 2]
    plans = [resolve(one, dims=dims, case_dims=3) for one in wanted]
    found = predicted(model, given, plans, network)
    assert list(found) == [
        (case.ref.id, name, number) for case, _ in given for name in model.predictors() for number in range(2)
    ]
    naive = (naive_slices, naive_windows)[dims - 2]
    with torch.no_grad():
        for (case, name, number), values in found.items():
            expected = naive(model.predictors()[name], given[int(case)][0].image, plans[number], network)
            torch.testing.assert_close(values, expected, atol=1e-6, rtol=1e-5)
            again = predict(model.predictors()[name], given[int(case)][0].image, plans[number], network)
            torch.testing.assert_close(values, again, atol=1e-6, rtol=1e-5)


def test_equal_cases_give_equal_digits() -> None:
    plans = [resolve(Inference(), dims=3, case_dims=3)]
    one, other = (predicted(Two(3), cases([(7, 5, 6), (4, 4, 9)]), plans, WINDOWS) for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_each_network_sees_each_slice_once() -> None:
    """Three predictors of two networks and two ways to resize, which change nothing where slices have the size of the patch."""
    model, given = Two(2), cases([(5, 8, 8), (3, 8, 8), (4, 8, 8)])
    plans = [resolve(Inference(mode="slices", resize=how), dims=2, case_dims=3) for how in ("linear", "nearest")]
    found = predicted(model, given, plans, SLICES)
    # 12 slices are 3 batches; the first passes once more for the mean, then a slice is tried without and with sharing
    assert model.one.seen == model.other.seen == [4, 4, 1, 1, 1, 4, 4]
    assert all(torch.equal(found[case, name, 0], found[case, name, 1]) for case, name, _ in found)


def test_nothing_is_tried_where_there_is_nothing_to_share() -> None:
    model, given = Two(2), cases([(8, 8, 8)])
    predicted(model, given, [resolve(Inference(), dims=2, case_dims=3)], SLICES, one=model.one, other=model.other)
    assert model.one.seen == model.other.seen == [4, 4]


def test_windows_of_two_inferences_pass_once() -> None:
    model = Two(3)
    plans = [resolve(Inference(mode="window", stride=(n, 4, 4)), dims=3, case_dims=3) for n in (2, 1)]
    predicted(model, cases([(6, 4, 4)]), plans, WINDOWS, one=model.one)
    assert model.one.seen == [3]  # they begin at 0, 1 and 2; small windows pass in batches of up to eight


def test_a_lone_window_is_repeated() -> None:
    """One thread takes much longer for a single volume than for two."""
    model = Two(3)
    predicted(model, cases([(4, 4, 4)]), [resolve(Inference(), dims=3, case_dims=3)], WINDOWS, one=model.one)
    assert model.one.seen == [2]


# --- sharing ---


class Hooked(Two):
    """One of its predictors changes a map by a hook inside the network."""

    def doubled(self, images: Tensor) -> Tensor:
        handle = self.one.first.register_forward_hook(lambda *call: call[2] * 2)
        try:
            return self.one(images)
        finally:
            handle.remove()

    def predictors(self) -> dict[str, Any]:
        return {"plain": self.one, "doubled": self.doubled}


def test_passes_are_shared_only_where_that_changes_nothing() -> None:
    model, images = Two(2).eval(), torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        apart = {name: call(images) for name, call in model.predictors().items()}
        before = model.passes
        with SharedPasses(model):
            together = {name: call(images) for name, call in model.predictors().items()}
            assert model.passes - before == 2
            model.one(images.clone())
            assert model.passes - before == 3  # other tensors
            with torch.no_grad():
                model.one.first.weight.mul_(2)
            changed = model.one(images)
            assert model.passes - before == 4  # other weights
            images.add_(1)
            model.other(images)
            assert model.passes - before == 5  # other values
        assert all(torch.equal(apart[name], together[name]) for name in apart)
        assert not torch.equal(changed, apart["one"])
    assert "forward" not in model.one.__dict__ and "encode" not in model.one.__dict__


def test_a_hook_on_a_network_sees_every_pass() -> None:
    model, images = Hooked(2).eval(), torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        apart = [call(images) for call in model.predictors().values()]
        with SharedPasses(model):
            together = [call(images) for call in model.predictors().values()]
    assert all(map(torch.equal, apart, together)) and not torch.equal(*apart)


class Hidden(Small):
    """A network with a state that is neither weight nor hook."""

    factor = 1.0

    def encode(self, images: Tensor) -> list[Tensor]:
        return [self.factor * found for found in super().encode(images)]


class Modes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Hidden(2)

    def negative(self, images: Tensor) -> Tensor:
        self.net.factor = -1.0
        try:
            return self.net(images)
        finally:
            self.net.factor = 1.0

    def predictors(self) -> dict[str, Any]:
        return {"positive": self.net, "negative": self.negative}


def test_predictors_that_change_a_network_are_found_out() -> None:
    model, given = Modes(), cases([(6, 8, 8), (6, 8, 8)])
    plan = resolve(Inference(), dims=2, case_dims=3)
    found = predicted(model, given, [plan], SLICES)
    with torch.no_grad():
        for (case, name, _), values in found.items():
            expected = naive_slices(model.predictors()[name], given[int(case)][0].image, plan, SLICES)
            torch.testing.assert_close(values, expected, atol=1e-6, rtol=1e-5)


# --- random numbers ---


class Noisy(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images, images + torch.randn_like(images), -images], dim=1)


@pytest.mark.parametrize("held", [2**30, 1])
@pytest.mark.parametrize("dims", [2, 3])
def test_predictors_that_draw_random_numbers_pass_case_by_case(dims, held, monkeypatch) -> None:
    """They draw what they would if each case were predicted by itself, one predictor and inference after the other."""
    monkeypatch.setattr(predictions_module, "HELD", held)
    network = (SLICES, WINDOWS)[dims - 2]
    plans = [resolve(Inference(flips=flips), dims=dims, case_dims=3) for flips in (False, True)]
    model, noisy, given = Two(dims), Noisy(), cases([(5, 4, 6), (3, 9, 8), (6, 8, 8)])
    found = predicted(model, given, plans, network, one=model.one, noisy=noisy)
    expected = {}
    with evaluating(model):
        for (case, _), (name, call) in itertools.product(given, (("one", model.one), ("noisy", noisy))):
            for number, plan in enumerate(plans):
                expected[case.ref.id, name, number] = predict(call, case.image, plan, network)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[key], expected[key], atol=1e-6) for key in found)
    assert all(torch.equal(found[key], expected[key]) for key in found if key[1] == "noisy")


# --- memory ---


def test_open_cases_are_few_however_many_there_are(monkeypatch) -> None:
    """Cases are read while the stream runs, and at most `TOGETHER` voxels of them are unfinished at any time."""
    monkeypatch.setattr(stream_module, "TOGETHER", 3 * 64)
    given, unfinished, most = cases([(1, 8, 8)] * 40), 0, 0

    def reading() -> Iterator[tuple[Case, None]]:
        nonlocal unfinished, most
        for pair in given:
            unfinished += 1
            most = max(most, unfinished)
            yield pair

    model = Two(2)
    network = Network(2, (8, 8), slice_axis=0, batch=16)
    plan = resolve(Inference(), dims=2, case_dims=3)
    with evaluating(model):
        for _ in predictions({"one": model.one}, reading(), lambda case: [plan], 3, network, model):
            unfinished -= 1
    assert unfinished == 0 and most <= 4


def test_a_stream_gives_cases_back_in_their_order() -> None:
    """A small image that waits for a full batch isn't overtaken by one of another size."""
    plan = resolve(Inference(), dims=2, case_dims=2)
    network = Network(2, (8, 8), batch=2)
    images = [torch.full((1, n, n), float(n)) for n in (4, 6, 6, 4, 8)]
    stream = Stream([lambda x: torch.cat([x, 0 * x], 1)], [plan], network)
    found = []
    for image in images:
        stream.add(image)
        found += [results[0][0] for results in stream.finished()]
    stream.flush()
    found += [results[0][0] for results in stream.finished()]
    assert [values.shape[1] for values in found] == [4, 6, 6, 4, 8]
