"""Views and batches: geometry that image and label share, sampling without state, labels that are absent."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support.data_toys import LOUD, STILL, Procedural, card, recipe, refs
from torch import Tensor

from semibench import IGNORE, CaseRef, DatasetCard, Samples, Split, Stream, UnsupportedError, UsageError
from semibench.blocks import draw_geometry, gaussian_blur, resample, strong_view, weak_view
from semibench.blocks.views import cut_boxes
from semibench.contracts.recipe import StrongPolicy, WeakPolicy
from semibench.data.cache import CaseStore
from semibench.data.foreground import POINTS, Foreground
from semibench.data.pool import case_pool
from semibench.data.sampling import Shuffle, seed_of
from semibench.data.training import TrainingData

NO = {"jitter": (0.0, 0.0), "gamma": (0.0, 0.0), "blur": (0.0, 0.0), "noise": (0.0, 0.0)}


def generator(seed: int = 0) -> torch.Generator:
    made = torch.Generator()
    made.manual_seed(seed)
    return made


def blocks(dims: int, count: int = 6, side: int = 24) -> Tensor:
    """uint8 (B, *spatial): classes 0..2 in blocks of 4, no symmetry."""
    label = torch.randint(0, 3, (count, *[side // 4] * dims), generator=generator(1), dtype=torch.uint8)
    for axis in range(1, dims + 1):
        label = label.repeat_interleave(4, axis)
    return label


POLICIES = {
    "flip": WeakPolicy(flip=0.5, rotate90=0.0, rotate=(0.0, 0.0)),
    "rotate90": WeakPolicy(flip=0.0, rotate90=1.0, rotate=(0.0, 0.0)),
    "crop": WeakPolicy(flip=0.0, rotate90=0.0, rotate=(0.0, 0.0), crop=True),
    "rotate": WeakPolicy(flip=0.0, rotate90=0.0, rotate=(1.0, 30.0)),
    "scale": WeakPolicy(flip=0.0, rotate90=0.0, rotate=(0.0, 0.0), scale=(1.0, 0.7, 1.4)),
    "all": WeakPolicy(flip=0.5, rotate90=0.5, rotate=(0.5, 20.0), scale=(0.5, 0.8, 1.25)),
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_label_and_image_move_together(name: str, dims: int) -> None:
    policy, label = POLICIES[name], blocks(dims)
    patch = (16,) * dims if name in ("crop", "all") else (24,) * dims
    image = label.float()[:, None]
    seen, marks, valid = weak_view(image, label, policy=policy, generator=generator(3), patch=patch)
    assert marks is not None and seen.shape == (6, 1, *patch) and marks.shape == valid.shape == (6, *patch)
    assert seen.dtype == torch.float32 and marks.dtype == torch.uint8 and valid.dtype == torch.bool
    assert torch.equal(valid, marks != IGNORE)
    inner = valid & (seen[:, 0] == seen[:, 0].round())  # between blocks the image is a mean of two classes
    assert inner.sum() > 0.4 * valid.sum()
    exact = name in ("flip", "rotate90", "crop")
    agree = (seen[:, 0][inner] == marks[inner].float()).float().mean()
    assert agree == 1.0 if exact else agree > 0.98
    assert bool(valid.all()) or not exact
    assert float((seen[:, 0] - marks.float())[valid].abs().max()) <= 2.0
    assert any(not torch.equal(seen[n, 0].flatten()[:16], image[n, 0].flatten()[:16]) for n in range(6))


@pytest.mark.parametrize("dims", [2, 3])
def test_exact_views_are_rearrangements_of_the_image(dims: int) -> None:
    image = torch.rand((5, 2, *[12] * dims), generator=generator(2))
    policy = WeakPolicy(flip=0.5, rotate90=0.7, rotate=(0.0, 0.0))
    seen, _, _ = weak_view(image, policy=policy, generator=generator(5))
    assert torch.equal(seen.flatten(2).sort(-1).values, image.flatten(2).sort(-1).values)


def test_all_eight_variants_of_the_square_come_up_equally() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3).repeat(4000, 1, 1, 1)
    policy = WeakPolicy(flip=0.5, rotate90=0.75, rotate=(0.0, 0.0))
    seen, _, _ = weak_view(image, policy=policy, generator=generator())
    kinds, counts = seen.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 8
    assert float((counts / 4000 - 1 / 8).abs().max()) < 4 * math.sqrt(1 / 8 * 7 / 8 / 4000)


def test_one_image_in_six_stays_as_it_is_under_flips_and_turns() -> None:
    """Independent draws: neither (1/4 x 1/2), or both flips and the half turn (1/4 x 1/2 x 1/3)."""
    image = torch.arange(9.0).reshape(1, 1, 3, 3).repeat(4000, 1, 1, 1)
    policy = WeakPolicy(flip=0.5, rotate90=0.5, rotate=(0.0, 0.0))
    seen, _, _ = weak_view(image, policy=policy, generator=generator())
    share = (seen == image).flatten(1).all(1).float().mean().item()
    assert share == pytest.approx(1 / 6, abs=4 * math.sqrt(1 / 6 * 5 / 6 / 4000))


def test_each_axis_can_have_a_probability_of_its_own() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3).repeat(1000, 1, 1, 1)
    policy = WeakPolicy(flip=(0.0, 0.3), rotate90=0.0, rotate=(0.0, 0.0))
    seen, _, _ = weak_view(image, policy=policy, generator=generator())
    same, mirrored = (seen == image).flatten(1).all(1), (seen == image.flip(3)).flatten(1).all(1)
    assert bool((same | mirrored).all())
    assert mirrored.float().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 1000))


def test_right_angle_turns_need_a_square_and_keep_to_their_plane() -> None:
    policy = WeakPolicy(flip=0.0, rotate90=1.0, rotate=(0.0, 0.0))
    flat = torch.rand((4, 1, 8, 12), generator=generator())
    assert torch.equal(weak_view(flat, policy=policy, generator=generator())[0], flat)
    volume = torch.rand((6, 1, 8, 8, 5), generator=generator())
    seen = weak_view(volume, policy=policy, generator=generator(1))[0]
    for before, after in zip(volume[:, 0], seen[:, 0], strict=True):
        assert any(torch.equal(after, torch.rot90(before, k, (0, 1))) for k in (1, 2, 3))
    turned = volume.movedim(2, 4)  # (B, C, 8, 5, 8)
    seen = weak_view(turned, policy=policy, generator=generator(1), plane=(0, 2))[0]
    assert any(torch.equal(seen[0, 0], torch.rot90(turned[0, 0], k, (0, 2))) for k in (1, 2, 3))


@pytest.mark.parametrize("dims", [2, 3])
def test_resampling_agrees_with_scipy(dims: int) -> None:
    from scipy.ndimage import affine_transform

    image = torch.rand((1, 1, *[15, 12, 9][:dims]), generator=generator())
    size = (9, 10, 7)[:dims]
    angle, factor = 0.3, 1.23  # no source coordinate halfway between two voxels
    matrix = torch.eye(dims, dtype=torch.float64)
    matrix[0, 0] = matrix[1, 1] = math.cos(angle)
    matrix[0, 1], matrix[1, 0] = -math.sin(angle), math.sin(angle)
    matrix /= factor
    seen, marks, inside = resample(image, (image[:, 0] * 200).to(torch.uint8), None, matrix[None], size)
    assert marks is not None
    array = image[0, 0].double().numpy()
    centre_in, centre_out = (np.array(array.shape) - 1) / 2, (np.array(size) - 1) / 2
    offset = centre_in - matrix.numpy() @ centre_out
    expected = affine_transform(array, matrix.numpy(), offset, size, order=1, mode="nearest")
    assert bool(inside.all())
    np.testing.assert_allclose(seen[0, 0].numpy(), expected, atol=2e-5)
    nearest = affine_transform((array * 200).astype(np.uint8), matrix.numpy(), offset, size, order=0, mode="nearest")
    assert (marks[0].numpy() == nearest).mean() > 0.99


def test_a_rotated_crop_shows_the_image_in_its_corners_where_there_is_more_of_it() -> None:
    image, label = torch.ones(8, 1, 64, 64), torch.ones(8, 64, 64, dtype=torch.uint8)
    policy = WeakPolicy(flip=0.0, rotate90=0.0, rotate=(1.0, 45.0), crop=False)
    seen, _, valid = weak_view(image, label, policy=policy, generator=generator(), patch=(32, 32))
    assert bool(valid.all()) and torch.allclose(seen, torch.ones(()))
    seen, marks, valid = weak_view(image, label, policy=policy, generator=generator())
    assert marks is not None and not bool(valid.all())
    assert bool((marks[~valid] == IGNORE).all()) and bool((seen[:, 0][~valid] == 0).all())
    assert torch.allclose(seen[:, 0][valid], torch.ones(())), "no dark rim where image meets padding"


@pytest.mark.parametrize("dims", [2, 3])
def test_a_grid_smaller_than_the_patch_is_padded(dims: int) -> None:
    image = torch.ones(3, 2, *[6] * dims)
    label = torch.ones(3, *[6] * dims, dtype=torch.uint8)
    for policy in (STILL, POLICIES["all"]):
        seen, marks, valid = weak_view(image, label, policy=policy, generator=generator(), patch=(9,) * dims)
        assert marks is not None
        assert bool((marks[~valid] == IGNORE).all()) and bool((marks[valid] == 1).all())
        assert bool((seen.movedim(1, -1)[~valid] == 0).all())
        assert torch.allclose(seen.movedim(1, -1)[valid], torch.ones(()))
    seen, marks, valid = weak_view(image, label, policy=STILL, generator=generator(), patch=(9,) * dims)
    assert int(valid[0].sum()) == 6**dims
    assert bool(valid[(0, *[slice(2, 8)] * dims)].all()), "3 voxels of padding: 2 before, 1 behind"


def test_boxes_are_cut_where_they_are_asked_for() -> None:
    image = torch.arange(20.0).reshape(1, 4, 5)
    found, marks, valid = cut_boxes(
        [image, image], [image[0].to(torch.uint8)] * 2, torch.tensor([[1, 2], [-1, 3]]), (2, 3)
    )
    assert marks is not None and valid is not None
    assert found[0, 0].tolist() == [[7, 8, 9], [12, 13, 14]]
    assert found[1, 0].tolist() == [[0, 0, 0], [3, 4, 0]]
    assert marks[1].tolist() == [[255, 255, 255], [3, 4, 255]]
    assert valid[1].tolist() == [[False, False, False], [True, True, False]] and bool(valid[0].all())


def test_crops_reach_every_place() -> None:
    sizes = torch.tensor([[10, 7]]).expand(5000, -1)
    start = draw_geometry(POLICIES["crop"], sizes, (8, 7), generator()).start
    assert sorted(start[:, 0].unique().tolist()) == [0, 1, 2] and start[:, 1].unique().tolist() == [0]
    assert float((start[:, 0] == 2).float().mean()) == pytest.approx(1 / 3, abs=0.03)
    centred = draw_geometry(STILL, sizes[:1], (8, 4), generator()).start
    assert centred.tolist() == [[1, 1]]


def test_the_same_generator_gives_the_same_digits_and_the_input_stays() -> None:
    label = blocks(2)
    image = label.float()[:, None] + torch.rand((6, 1, 24, 24), generator=generator())
    kept = image.clone()
    a = weak_view(image, label, policy=POLICIES["all"], generator=generator(9))
    torch.manual_seed(123)
    b = weak_view(image, label, policy=POLICIES["all"], generator=generator(9))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None)
    assert torch.equal(
        strong_view(image, policy=LOUD, generator=generator(4)), strong_view(image, policy=LOUD, generator=generator(4))
    )
    assert torch.equal(image, kept)


# --- strong views ---


@pytest.mark.parametrize("shape", [(6, 3, 20, 24), (3, 1, 12, 10, 8)])
@pytest.mark.parametrize("name", list(NO))
def test_a_strong_view_does_what_it_says(name: str, shape: tuple[int, ...]) -> None:
    image = torch.rand(shape, generator=generator()) * 4 - 1
    policy = StrongPolicy.model_validate({**NO, name: (1.0, 1.5 if name == "blur" else 0.5)})
    seen = strong_view(image, policy=policy, generator=generator(2))
    assert seen.shape == image.shape and bool(torch.isfinite(seen).all())
    per_sample = seen.flatten(1) != image.flatten(1)
    assert bool(per_sample.any(1).all()), "every sample changed"
    low, high = image.flatten(1).amin(1), image.flatten(1).amax(1)
    flat, old = seen.flatten(1), image.flatten(1)
    order = old.argsort(1)
    if name in ("jitter", "gamma"):  # monotone, within the range
        assert bool((flat.gather(1, order).diff(dim=1) >= -1e-5).all())
        assert bool((flat.amin(1) >= low - 1e-5).all()) and bool((flat.amax(1) <= high + 1e-5).all())
    if name == "gamma":  # ends stay, and all values share one exponent
        assert torch.allclose(flat.amin(1), low, atol=1e-5) and torch.allclose(flat.amax(1), high, atol=1e-5)
        unit = ((old - low[:, None]) / (high - low)[:, None]).clamp(0.05, 0.95)
        inner = (((flat - low[:, None]) / (high - low)[:, None]).clamp(1e-6, 1).log() / unit.log())[:, :]
        middle = ((old - low[:, None]) / (high - low)[:, None] > 0.1) & (
            (old - low[:, None]) / (high - low)[:, None] < 0.9
        )
        for row, keep in zip(inner, middle, strict=True):
            assert float(row[keep].std()) < 1e-3 and 0.5 <= float(row[keep].mean()) <= 1.5
    if name == "blur":
        assert bool((flat.std(1) < old.std(1)).all())
        assert torch.allclose(flat.mean(1), old.mean(1), atol=0.05)
    if name == "noise":
        spread = (flat - old).std(1) / (high - low)
        assert bool((spread < 0.55).all()) and float(spread.max()) > 0.05
        assert float((flat - old).mean().abs()) < 0.1


def test_a_strong_view_without_any_change_is_the_image() -> None:
    image = torch.rand((2, 1, 8, 8), generator=generator())
    assert torch.equal(strong_view(image, policy=StrongPolicy.model_validate(NO), generator=generator()), image)


def test_padding_stays_zero_and_a_flat_image_stays_finite() -> None:
    image = torch.zeros(2, 1, 8, 8)
    image[:, :, 2:] = 0.7
    valid = image[:, 0] > 0
    seen = strong_view(image, policy=LOUD, generator=generator(), valid=valid)
    assert bool((seen[:, 0][~valid] == 0).all())
    flat = strong_view(torch.full((2, 1, 8, 8), 0.3), policy=LOUD, generator=generator())
    assert bool(torch.isfinite(flat).all())


def test_blur_agrees_with_scipy() -> None:
    from scipy.ndimage import gaussian_filter

    image = torch.rand((2, 2, 16, 12, 10), generator=generator(), dtype=torch.float64)
    sigma = torch.tensor([0.7, 1.4])
    seen = gaussian_blur(image, sigma, radius=5)
    for row in range(2):
        for channel in range(2):
            expected = gaussian_filter(image[row, channel].numpy(), float(sigma[row]), mode="nearest", radius=5)
            np.testing.assert_allclose(seen[row, channel].numpy(), expected, atol=1e-9)


# --- sampling ---


def test_each_member_appears_once_per_pass_and_passes_differ() -> None:
    shuffle = Shuffle([3, 5, 7, 11, 13], 0, "labeled")
    passes = [shuffle.take(5 * n, 5).tolist() for n in range(6)]
    assert all(sorted(one) == [3, 5, 7, 11, 13] for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    whole = [member for one in passes for member in one]
    assert whole == Shuffle([3, 5, 7, 11, 13], 0, "labeled").take(0, 30).tolist()
    assert shuffle.take(8, 4).tolist() == whole[8:12]


def test_permutations_follow_their_definition_and_are_even() -> None:
    """Members in the order of raw Philox output (Salmon et al., SC 2011), seeded by the head of a sha256."""
    seed = int(hashlib.sha256(b'[7,"labeled",2]').hexdigest()[:16], 16) // 2
    assert seed == seed_of(7, "labeled", 2)
    raw = np.random.Philox(seed).random_raw(5).tolist()
    assert Shuffle(range(5), 7, "labeled").take(10, 5).tolist() == sorted(range(5), key=raw.__getitem__)
    counts = np.zeros((4, 4))
    for seed in range(600):
        counts[np.arange(4), Shuffle([0, 1, 2, 3], seed, "labeled").take(0, 4)] += 1
    assert np.abs(counts / 600 - 0.25).max() < 4 * math.sqrt(0.25 * 0.75 / 600)


# --- training data ---


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))


def training(
    shapes: list[tuple[int, ...]],
    patch: tuple[int, ...],
    *,
    streams: dict[str, Stream] | None = None,
    labeled: int = 3,
    named: DatasetCard | None = None,
    seed: int = 0,
    budget: int | None = None,
    **more: object,
) -> TrainingData:
    dataset = Procedural(shapes, named=named)
    cases = dataset.index()
    store = CaseStore.build({dataset.card.name: dataset}, cases)
    split = Split(tuple(cases[:labeled]), tuple(cases[labeled:]), (), ())
    chosen = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled")} if streams is None else streams
    made = recipe(patch, **more)
    return TrainingData(
        split, store, card=dataset.card, recipe=made, dims=len(patch), streams=chosen, seed=seed, budget=budget
    )


def same(a: dict[str, Samples], b: dict[str, Samples]) -> bool:
    def tensors(batch: dict[str, Samples]) -> list[Tensor | None]:
        return [t for s in batch.values() for t in (s.image, *s.strong, s.label, s.valid, s.domain, s.index)]

    return all(
        (x is None and y is None) or (x is not None and y is not None and torch.equal(x, y))
        for x, y in zip(tensors(a), tensors(b), strict=True)
    )


STREAMS = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled", strong=2), "mixed": Stream("all", strong=1)}


@pytest.mark.parametrize(
    ("shapes", "patch"),
    [([(16, 16)] * 7, (16, 16)), ([(20, 18)] * 7, (16, 16)), ([(12, 14, 6 + n) for n in range(7)], (8, 8, 8)),
     ([(12, 14, 6 + n) for n in range(7)], (16, 16))],
)  # fmt: skip
def test_batches_have_the_promised_shapes_and_are_a_function_of_seed_and_iteration(
    shapes: list[tuple[int, ...]], patch: tuple[int, ...]
) -> None:
    data = training(shapes, patch, streams=STREAMS)
    batch = data.batch(17)
    for name, stream in STREAMS.items():
        samples, count = batch[name], {"labeled": 4, "unlabeled": 6, "all": 10}[stream.pool]
        assert samples.image.shape == (count, 1, *patch) and samples.image.dtype == torch.float32
        assert len(samples.strong) == stream.strong and all(s.shape == samples.image.shape for s in samples.strong)
        assert samples.valid.shape == (count, *patch) and samples.valid.dtype == torch.bool
        assert samples.domain.shape == samples.index.shape == (count,) and samples.index.dtype == torch.int64
        assert int(samples.index.max()) < data.task.cases[stream.pool]
        if stream.pool == "labeled":
            assert samples.target.dtype == torch.int64 and samples.target.shape == (count, *patch)
            assert torch.equal(samples.valid, samples.target != IGNORE)
        else:
            assert samples.label is None
    fresh = training(shapes, patch, streams=STREAMS)
    for iteration in range(16):
        fresh.batch(iteration)
        torch.rand(7), np.random.rand(3)  # noqa: NPY002 (a method may draw from the global streams)
    assert same(batch, fresh.batch(17)), "17 alone, and after 16 others and draws of the method"
    assert not same(batch, data.batch(18)) and not same(
        batch, training(shapes, patch, streams=STREAMS, seed=1).batch(17)
    )


def test_batches_leave_global_random_states_alone() -> None:
    data = training([(16, 16)] * 5, (16, 16), streams=STREAMS)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    data.batch(3)
    assert torch.equal(torch.rand(3), expected)


def test_each_sample_appears_once_per_pass() -> None:
    data = training([(8, 8)] * 10, (8, 8), labeled=3)
    seen: dict[str, list[int]] = {"labeled": [], "unlabeled": []}
    for iteration in range(21):
        assert data.passes(iteration)["labeled"] == pytest.approx(4 * iteration / 3)
        assert data.passes(iteration)["unlabeled"] == pytest.approx(6 * iteration / 7)
        assert data.passes(iteration)["all"] == 0.0
        for name, samples in data.batch(iteration).items():
            seen[name] += samples.index.tolist()
    for size, order in ((3, seen["labeled"]), (7, seen["unlabeled"])):
        whole = [sorted(order[n : n + size]) for n in range(0, len(order) - size + 1, size)]
        assert whole == [list(range(size))] * len(whole)


def test_the_index_names_the_sample() -> None:
    data = training([(8, 8)] * 6, (8, 8), streams=STREAMS, weak=STILL)
    batch = data.batch(0)
    for name, stream in STREAMS.items():
        numbers = (batch[name].image.flatten(1).amin(1) / 10).floor().long().tolist()
        assert data.names(stream.pool, batch[name].index) == [f"toy/{n:03}" for n in numbers]
        assert batch[name].domain.tolist() == [n % 2 for n in numbers]
    assert data.task.cases == {"labeled": 3, "unlabeled": 3, "all": 6} and data.task.domains == ("a", "b")
    assert data.task.budget == 100 and data.task.channels == 1


def test_labels_of_unlabeled_cases_are_absent_and_change_nothing(tmp_path: Path) -> None:
    cases = refs(6)
    split = Split(tuple(cases[:2]), tuple(cases[2:]), (), ())

    class Lying(Procedural):
        lies = False

        def label(self, ref: CaseRef) -> Tensor:
            honest = super().label(ref)
            return 2 - honest if self.lies and int(ref.id) >= 2 else honest

        def read(self, ref: CaseRef):  # type: ignore[no-untyped-def]
            case = super().read(ref)
            case.image = super().label(ref).float()[None] + 10 * int(ref.id)
            if self.lies and int(ref.id) >= 2:
                case.image = (2 - case.label).float()[None] + 10 * int(ref.id)  # type: ignore[operator]
            return case

    made = []
    for lies in (False, True):
        dataset = Lying([(8, 8)] * 6)
        dataset.lies, dataset.fingerprint = lies, f"lies {lies}"
        store = CaseStore.build({"toy": dataset}, cases)
        assert torch.equal(store.label(cases[4]), Procedural.label(dataset, cases[4])) != lies  # type: ignore[arg-type]
        made.append(
            TrainingData(split, store, card=dataset.card, recipe=recipe((8, 8)), dims=2, streams=STREAMS, seed=0)
        )
    assert all(same(made[0].batch(n), made[1].batch(n)) for n in range(5))
    assert made[0].batch(0)["unlabeled"].label is None and made[0].batch(0)["mixed"].label is None
    with pytest.raises(LookupError, match="hides the label"):
        made[0]._store.label(cases[4])
    assert all(samples.label is None for samples in made[0].pools.batches("unlabeled"))
    with pytest.raises(LookupError):
        made[0].batch(0)["unlabeled"].target


def test_a_stream_takes_so_many_from_every_domain_in_order() -> None:
    streams = {
        "labeled": Stream("labeled", per_domain=True, size=0.5),
        "unlabeled": Stream("unlabeled", per_domain=True),
    }
    data = training([(8, 8)] * 11, (8, 8), streams=streams, labeled=5, weak=STILL)
    seen: list[int] = []
    for iteration in range(6):
        batch = data.batch(iteration)
        assert batch["labeled"].domain.tolist() == [0, 0, 1, 1]
        assert batch["unlabeled"].domain.tolist() == [0] * 6 + [1] * 6
        numbers = (batch["labeled"].image.flatten(1).amin(1) / 10).floor().long()
        assert (numbers % 2).tolist() == [0, 0, 1, 1], "the domain is the case's own"
        seen += batch["labeled"].index[:2].tolist()
    whole = [sorted(seen[n : n + 3]) for n in range(0, 12, 3)]
    assert whole == [[0, 2, 4]] * 4, "each domain has permutations of its own"
    assert data.passes(5)["labeled"] == pytest.approx(5 * 4 / 5)


@pytest.mark.parametrize(("size", "count"), [(1.0, 4), (0.5, 2), (0.1, 1), (0.625, 3), (2.0, 8)])
def test_the_size_of_a_stream_is_rounded_half_up(size: float, count: int) -> None:
    data = training([(8, 8)] * 5, (8, 8), streams={"labeled": Stream("labeled", size=size)})
    assert len(data.batch(0)["labeled"].image) == count


def test_two_streams_of_one_pool_see_different_samples() -> None:
    streams = {"one": Stream("unlabeled"), "two": Stream("unlabeled")}
    data = training([(8, 8)] * 20, (8, 8), streams=streams)
    orders = [data.batch(n)[name].index.tolist() for name in streams for n in range(2)]
    assert orders[0] != orders[2]
    assert training([(8, 8)] * 20, (8, 8)).batch(1)["unlabeled"].index.tolist() == orders[1]


class Sparse(Procedural):
    """Foreground in one voxel of every second case (2D), or in a corner (3D)."""

    def label(self, ref: CaseRef) -> Tensor:
        label = torch.zeros(self.shapes[int(ref.id)], dtype=torch.uint8)
        if int(ref.id) % 2 or label.ndim == 3:
            label[(3,) * label.ndim] = 1
        return label


@pytest.mark.parametrize(("shape", "patch"), [((20, 20), (8, 8)), ((20, 20, 20), (8, 8, 8))])
def test_foreground_is_held_by_the_asked_share_of_crops(shape: tuple[int, ...], patch: tuple[int, ...]) -> None:
    dataset = Sparse([shape] * 6)
    cases = dataset.index()
    split = Split(tuple(cases), (), (), ())
    store = CaseStore.build({"toy": dataset}, cases)
    policy = WeakPolicy(flip=0.5, rotate90=0.5, rotate=(0.0, 0.0))
    for share, least in ((0.5, 2), (1.0, 4), (0.3, 2)):
        data = TrainingData(
            split,
            store,
            card=dataset.card,
            recipe=recipe(patch, weak=policy),
            dims=len(patch),
            streams={"labeled": Stream("labeled", foreground=share)},
            seed=0,
        )
        for iteration in range(12):
            holds = (data.batch(iteration)["labeled"].target == 1).flatten(1).any(1)
            assert bool(holds[:least].all())


@pytest.mark.parametrize("shape", [(70, 60), (16, 18, 20)])
def test_foreground_is_found_as_a_plain_search_finds_it(shape: tuple[int, ...]) -> None:
    """Every POINTS-th voxel of a class in raster order, and the voxel that the draws name."""
    generator = torch.Generator().manual_seed(3)
    labels = [torch.randint(0, 3, shape, generator=generator, dtype=torch.uint8) for _ in range(2)]
    labels += [torch.zeros(shape, dtype=torch.uint8), torch.full(shape, IGNORE, dtype=torch.uint8)]
    found = Foreground(case_pool([label[None].float() for label in labels], labels, "cpu", 2**30))
    assert [found.has(row) for row in range(4)] == [True, True, False, False]
    expected = {}
    for row, label in enumerate(labels):
        voxels = {value: [at for at in np.ndindex(*shape) if label[at] == value] for value in (1, 2)}
        expected[row] = [v[:: -(-len(v) // POINTS)] for v in voxels.values() if v]
        assert [points.tolist() for points in found.points(row)] == [[list(at) for at in v] for v in expected[row]]
    rows, needed = torch.tensor([1, 0, 2, 1]), torch.tensor([True, False, True, True])
    chosen = found.voxels(rows, needed, torch.Generator().manual_seed(5)).tolist()
    draws = torch.rand((4, 2), generator=torch.Generator().manual_seed(5), dtype=torch.float64).tolist()
    nowhere = [-1] * len(shape)
    for position, (row, (which, point)) in enumerate(zip(rows.tolist(), draws, strict=True)):
        classes = expected[row] if bool(needed[position]) else []
        voxels_of = classes[int(which * len(classes))] if classes else []
        assert chosen[position] == (list(voxels_of[int(point * len(voxels_of))]) if voxels_of else nowhere)


def test_slices_of_volumes_come_resized_with_their_neighbours() -> None:
    shapes = [(8, 8, 3), (4, 8, 5), (8, 8, 2)]
    data = training(shapes, (16, 16), labeled=2, weak=STILL, slab=3)
    assert data.task.cases == {"labeled": 8, "unlabeled": 2, "all": 10} and data.task.channels == 3
    assert data.task.dims == 2
    dataset = Procedural(shapes)
    batches = list(data.pools.batches("labeled"))
    image, label = torch.cat([s.image for s in batches]), torch.cat([s.target for s in batches])
    assert image.shape == (8, 3, 16, 16)
    first = dataset.label(refs(3)[0])
    for place in range(3):
        assert torch.equal(label[place], first[..., place].repeat_interleave(2, 0).repeat_interleave(2, 1).long())
    assert torch.equal(image[0, 0], image[0, 1]) and torch.equal(image[0, 2], image[1, 1])
    assert torch.equal(image[2, 2], image[2, 1]), "the last slice of a case is repeated, not the next case's first"
    assert torch.equal(image[3, 0], image[3, 1])
    small = training(shapes, (16, 16), labeled=2, weak=STILL, slab=3, budget=0)
    for a, b in zip(batches, small.pools.batches("labeled"), strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.target, b.target)
    assert data.names("labeled", torch.tensor([0, 4])) == ["toy/000#0", "toy/001#1"]


@pytest.mark.parametrize(
    ("shapes", "patch"), [([(16, 16)] * 6, (16, 16)), ([(9, 9, 9)] * 6, (8, 8, 8)), ([(9, 9, 9)] * 6, (9, 9))]
)
def test_pools_beyond_the_budget_give_the_same_batches(shapes: list[tuple[int, ...]], patch: tuple[int, ...]) -> None:
    held, read = (training(shapes, patch, streams=STREAMS, budget=budget) for budget in (None, 0))
    assert type(held._pool) is not type(read._pool)
    assert all(same(held.batch(n), read.batch(n)) for n in range(4))


def test_tiles_of_a_pool_show_every_voxel_once() -> None:
    shapes = [(10, 12, 5), (8, 8, 8), (17, 4, 9)]
    data = training(shapes, (8, 8, 8), labeled=3, streams={"labeled": Stream("labeled")})
    total = torch.zeros(3)
    voxels = 0
    for samples in data.pools.batches("labeled"):
        assert len(samples.image) <= 4
        total += torch.bincount(samples.target[samples.valid], minlength=3)
        voxels += int(samples.valid.sum())
        assert torch.equal(samples.valid, samples.target != IGNORE)
    assert voxels == sum(math.prod(shape) for shape in shapes)
    counts = data.pools.class_voxels()
    assert counts.dtype == torch.float64 and counts.tolist() == total.tolist()
    labels = torch.cat([Procedural(shapes).label(ref).flatten() for ref in refs(3)])
    assert counts.tolist() == torch.bincount(labels.long(), minlength=3).tolist()
    with pytest.raises(UsageError, match="labeled, unlabeled, all"):
        next(iter(data.pools.batches("test")))


def test_what_cannot_be_trained_is_said() -> None:
    with pytest.raises(UnsupportedError, match="'unlabeled' needs unlabeled cases"):
        training([(8, 8)] * 3, (8, 8), labeled=3)
    with pytest.raises(UnsupportedError, match="slice axis"):
        training([(8, 8, 8)] * 4, (8, 8), named=card(3, slice_axis=None))
    with pytest.raises(UsageError, match="3D network on 2D"):
        training([(8, 8)] * 4, (8, 8, 8))
    with pytest.raises(UsageError, match="channels"):
        training([(8, 8)] * 4, (8, 8), named=card(2, channels=3))
    with pytest.raises(UsageError, match="foreground"):
        training([(8, 8)] * 4, (8, 8), streams={"u": Stream("unlabeled", foreground=0.5)})


def test_cases_of_another_data_set_have_domains_of_their_own() -> None:
    main, other = Procedural([(8, 8)] * 4), Procedural([(8, 8)] * 3, named=card(name="other"))
    store = CaseStore.build({"toy": main, "other": other}, [*main.index(), *other.index()])
    split = Split(tuple(main.index()), tuple(other.index()), (), ())
    streams = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled")}
    data = TrainingData(split, store, card=main.card, recipe=recipe((8, 8)), dims=2, streams=streams, seed=0)
    assert data.task.domains == ("a", "b", "other/a", "other/b")
    assert set(data.batch(0)["unlabeled"].domain.tolist()) == {2, 3}
