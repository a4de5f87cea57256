"""The loop: stages, clocks, seeds, figures, validation, divergence, recipe fields."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import training_toys as toys
from torch import Tensor, nn

from semibench.blocks.seeds import derive_seed
from semibench.contracts.backbone import Backbone, Decoder
from semibench.contracts.errors import DivergedError, PluginError
from semibench.contracts.method import Batch, Losses, Optimise, Task
from semibench.contracts.schedule import Clock, Stage, Term
from semibench.training import checkpoints, seeding
from semibench.training.precision import batch_channels_last, compiled, weights_channels_last


class Watching(toys.Supervised):
    """Writes down what the harness calls, in order."""

    def __init__(self, task: Task, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.calls: list[tuple[Any, ...]] = []

    def stages(self) -> Sequence[Stage]:
        return Stage("first", 0.25), Stage("second", 0.75)

    def begin(self, stage: str, pools: Any) -> None:
        self.calls.append(("begin", stage, torch.rand(()).item()))

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        assert self.training
        draws = torch.rand(()).item(), float(np.random.rand())  # noqa: NPY002
        self.calls.append(("step", clock.stage, clock.step, clock.steps, clock.passes["labeled"], *draws))
        super().step(batch, clock, optimise)

    def after_step(self, clock: Clock) -> None:
        assert not torch.is_grad_enabled()
        self.calls.append(("after", clock.step))


def test_what_is_called_when(tmp_path: Path) -> None:
    method, reporter = toys.build(Watching), toys.Collecting()
    result = toys.run(method, tmp_path, iterations=8, reporter=reporter)
    kinds = [call[0] for call in method.calls]
    assert kinds == ["begin", *["step", "after"] * 2, "begin", *["step", "after"] * 6]
    steps = [call for call in method.calls if call[0] == "step"]
    assert [(call[1], call[2], call[3]) for call in steps] == [
        *(("first", k, 2) for k in range(2)),
        *(("second", k, 6) for k in range(6)),
    ]
    assert [call[4] for call in steps] == pytest.approx([k / 3 for k in range(8)])
    assert reporter.phases == [("train", 8)]
    assert reporter.ended == 1
    assert reporter.progress[-1][0] == 8
    assert {"loss/sup", "lr/main", "it/s", "seconds left"} <= reporter.progress[-1][1].keys()
    assert result.iterations == 8
    assert result.throughput > 0
    assert result.peak_memory > 50
    assert result.seconds > 0


def test_draws_depend_on_seed_stage_and_step_only(tmp_path: Path) -> None:
    """Not on how much was drawn before: neither validation nor the budget of another stage moves them."""
    first, second, third = (toys.build(Watching) for _ in range(3))
    toys.run(first, tmp_path / "a", iterations=8)
    toys.run(second, tmp_path / "b", iterations=8, validate=lambda method: torch.rand(1000).mean().item())
    toys.run(third, tmp_path / "c", iterations=8, seed=4)

    def draws(method: Watching) -> list[tuple[float, ...]]:
        return [call[5:] for call in method.calls if call[0] == "step"]

    assert draws(first) == draws(second)
    assert len(set(draws(first))) == 8
    assert not set(draws(first)) & set(draws(third))


def test_seeding_is_pinned_and_reaches_all_generators() -> None:
    """sha256("3/step/train/5"), first 8 bytes, without the lowest bit."""
    import hashlib
    import random

    expected = int(hashlib.sha256(b"3/step/train/5").hexdigest()[:16], 16) >> 1
    assert derive_seed(3, "step", "train", 5) == expected
    seen = []
    for _ in range(2):
        seeding.seed_step(3, "train", 5)
        seen.append((torch.rand(()).item(), float(np.random.rand()), random.random()))  # noqa: NPY002
    assert seen[0] == seen[1]
    moments = [
        lambda: seeding.seed_construction(3), lambda: seeding.seed_begin(3, "train"),
        lambda: seeding.seed_step(3, "train", 0), lambda: seeding.seed_step(3, "train", 1),
        lambda: seeding.seed_step(3, "other", 1), lambda: seeding.seed_validation(3, "train", 1),
    ]  # fmt: skip
    values = set()
    for moment in moments:
        moment()
        values.add(torch.rand(()).item())
    assert len(values) == len(moments)


@pytest.mark.slow
def test_two_trainings_with_one_seed_are_equal_bit_for_bit(tmp_path: Path) -> None:
    for kind in toys.METHODS.values():
        first, second = toys.build(kind), toys.build(kind)
        toys.run(first, tmp_path / "a")
        toys.run(second, tmp_path / "b", evaluate_every=0, checkpoint_every=0, validate=None)
        if kind is not toys.Staged:  # which starts its second stage from the best weights
            toys.assert_same(toys.state_of(first), toys.state_of(second))
        other = toys.build(kind)
        toys.run(other, tmp_path / "c", seed=5)
        assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)) or (
            kind is toys.Meta
        )


@pytest.mark.slow
def test_methods_learn(tmp_path: Path) -> None:
    for name, kind in toys.METHODS.items():
        method, data = toys.build(kind), toys.ToyData()
        before = toys.dice(data)(method.eval())
        rate = {"meta": 1.0}.get(name, 0.1)
        result = toys.run(method, tmp_path / name, data, iterations=60, lr=rate, evaluate_every=20)
        if name != "meta":
            assert result.best is not None
            assert result.best[0] > max(before, 0.5), name


def test_the_table_of_figures(tmp_path: Path) -> None:
    toys.run(toys.build(toys.Staged), tmp_path)
    table = pd.read_parquet(tmp_path / "steps.parquet")
    assert list(table.columns) == ["step", "stage", "name", "value"]
    assert not table.duplicated(["step", "name"]).any()
    assert table.step.is_monotonic_increasing
    wide = table.pivot(index="step", columns="name", values="value")
    assert list(wide.index) == list(range(12))
    assert wide["loss/sup"].notna().all()
    assert list(wide["loss/consistency"].notna()) == [False] * 5 + [True] * 7
    assert list(wide["note/mean"].notna()) == [True] * 12
    assert list(np.flatnonzero(wide["validation/dice"].notna())) == [2, 4, 5, 8, 11]
    rates = [0.05 * (1 - k / 5) ** 0.9 for k in range(5)] + [0.05 * (1 - k / 7) ** 0.9 for k in range(7)]
    assert wide["lr/main"].tolist() == pytest.approx(rates)
    weights = [0.5 * np.exp(-5 * (1 - k / 7) ** 2) for k in range(7)]
    assert wide["weight/consistency"].tolist()[5:] == pytest.approx(weights)
    assert table[table.step < 5].stage.unique().tolist() == ["pretrain"]


class Shift(toys.Supervised):
    """Two stages; weights of the validation are told apart by a counter."""

    start = "best"

    def __init__(self, task: Task, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seen: list[int] = []

    def stages(self) -> Sequence[Stage]:
        return Stage("first", 0.5), Stage("second", 0.5, start=self.start)  # type: ignore[arg-type]

    def begin(self, stage: str, pools: Any) -> None:
        self.seen.append(int(self.steps))

    def after_step(self, clock: Clock) -> None:
        self.steps += 1


class Later(Shift):
    start = "last"


@pytest.mark.parametrize(("kind", "expected"), [(Shift, 2), (Later, 6)])
def test_a_stage_takes_over_the_best_or_the_last_weights(tmp_path: Path, kind: type[Shift], expected: int) -> None:
    values = {2: 0.9, 4: 0.4, 6: 0.9, 8: 0.1, 10: 0.2, 12: 0.2}
    done = iter(values)
    method = toys.build(kind)
    result = toys.run(method, tmp_path, validate=lambda m: values[next(done)], evaluate_every=2)
    assert method.seen == [0, expected]
    assert result.best == (0.2, 10), "the best of the last stage, though the first was better"
    assert (tmp_path / "checkpoints" / "best-first.pt").is_file()


def test_without_validation_a_stage_starts_from_the_last_weights(tmp_path: Path) -> None:
    method, reporter = toys.build(Shift), toys.Collecting()
    result = toys.run(method, tmp_path, validate=None, reporter=reporter)
    assert method.seen == [0, 6]
    assert result.best is None
    assert reporter.warnings == []
    assert not (tmp_path / "checkpoints" / "best.pt").exists()


def test_a_validation_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    method, reporter = toys.build(Shift), toys.Collecting()
    result = toys.run(method, tmp_path, validate=lambda m: float("nan"), reporter=reporter)
    assert result.best is None
    assert method.seen == [0, 6]
    assert "starts from the last weights" in reporter.warnings[0]


@pytest.mark.parametrize("changes", [{"evaluate_every": 0}, {"keep_best": False}])
def test_validation_can_be_switched_off(tmp_path: Path, changes: dict[str, Any]) -> None:
    def never(method: Any) -> float:
        raise AssertionError("validated")

    assert toys.run(toys.build(toys.Supervised), tmp_path, validate=never, **changes).best is None


def test_a_short_run_is_validated_at_its_end(tmp_path: Path) -> None:
    result = toys.run(toys.build(toys.Supervised), tmp_path, iterations=4, evaluate_every=200, checkpoint_every=0)
    assert result.best is not None
    assert result.best[1] == 4
    assert (tmp_path / "checkpoints" / "last.pt").is_file()


def test_a_nan_stops_the_run_with_term_step_and_cases(tmp_path: Path) -> None:
    class Named(toys.ToyData):
        def names(self, pool: str, index: Tensor) -> list[str]:
            return [f"toys/{pool}-{int(i)}" for i in index]

    data = Named(broken=8)
    with pytest.raises(DivergedError) as error:
        toys.run(toys.build(toys.Staged), tmp_path, data)
    text = str(error.value)
    index = data.batch(8)["labeled"].index
    assert "the term 'sup' became nan" in text
    assert "step 3 of stage 'train' (iteration 8 of the run)" in text
    assert f"labeled: toys/labeled-{int(index[0])}, toys/labeled-{int(index[1])}; unlabeled: toys/unlabeled-" in text
    assert pd.read_parquet(tmp_path / "steps.parquet").step.max() == 8
    saved = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert saved["iteration"] == 8
    assert all(value.isfinite().all() for value in saved["method"].values())


def test_broken_weights_are_never_saved(tmp_path: Path) -> None:
    """sqrt at 0: the loss is a number, its gradient isn't."""

    class Root(toys.Supervised):
        def losses(self, batch: Batch, clock: Clock) -> Losses:
            weight = self.net[4].bias
            return {"sup": (weight - weight.detach()).abs().sum().sqrt()}

    with pytest.raises(DivergedError, match=r"net\.4\.bias contain NaN or infinity"):
        toys.run(toys.build(Root), tmp_path, iterations=1)
    assert not (tmp_path / "checkpoints" / "last.pt").exists()


def test_a_failure_that_a_late_nan_explains_is_reported_as_the_nan(tmp_path: Path) -> None:
    class Late(toys.Supervised):
        def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
            optimise.watch.eager = False  # type: ignore[attr-defined]
            if clock.step == 1:
                raise ValueError("cannot sort nan")
            optimise({"sup": self.losses(batch, clock)["sup"] * torch.nan})

    with pytest.raises(DivergedError, match=r"'sup' became nan .* step 0"):
        toys.run(toys.build(Late), tmp_path)


def test_other_failures_name_class_and_hook(tmp_path: Path) -> None:
    class Failing(toys.Supervised):
        def losses(self, batch: Batch, clock: Clock) -> Losses:
            raise ValueError("a bug of the method")

    with pytest.raises(PluginError, match=r"Failing: losses\(\) raised ValueError: a bug of the method"):
        toys.run(toys.build(Failing), tmp_path)


def test_gradients_left_unstepped_are_an_error(tmp_path: Path) -> None:
    class Forgetful(toys.Supervised):
        def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
            optimise(self.losses(batch, clock), step=False)

    with pytest.raises(PluginError, match="hold gradients that were never stepped"):
        toys.run(toys.build(Forgetful), tmp_path)


@pytest.mark.parametrize("detached_in", ["one", "two"])
def test_losses_without_gradient_stop_the_run_in_the_first_iteration_of_a_stage(
    detached_in: str, tmp_path: Path
) -> None:
    class Detaching(toys.Supervised):
        def stages(self) -> tuple[Stage, ...]:
            return Stage("one", 0.5), Stage("two", 0.5)

        def losses(self, batch: Batch, clock: Clock) -> Losses:
            losses = super().losses(batch, clock)
            return {name: value.detach() if clock.stage == detached_in else value for name, value in losses.items()}

    with pytest.raises(
        PluginError, match=f"in step 0 of stage '{detached_in}', no parameter of the optimiser 'main' got"
    ):
        toys.run(toys.build(Detaching), tmp_path)


def test_notes_must_be_numbers_and_dont_linger(tmp_path: Path) -> None:
    class Noting(toys.Supervised):
        note: Any = 0.5

        def losses(self, batch: Batch, clock: Clock) -> Losses:
            if clock.step < 2:
                self.notes |= {"plain": self.note, "kept": torch.tensor(clock.step)}
            return super().losses(batch, clock)

    toys.run(toys.build(Noting), tmp_path)
    table = pd.read_parquet(tmp_path / "steps.parquet")
    assert table[table.name == "note/kept"].value.tolist() == [0.0, 1.0]
    assert table[table.name == "note/plain"].value.tolist() == [0.5, 0.5]
    method = toys.build(Noting)
    method.note = torch.zeros(3)
    with pytest.raises(PluginError, match="must be one number, got shape"):
        toys.run(method, tmp_path)


def test_training_off_the_main_thread(tmp_path: Path) -> None:
    """Signals can't be listened to there; everything else works."""
    method, done = toys.build(toys.Supervised), []
    thread = threading.Thread(target=lambda: done.append(toys.run(method, tmp_path)))
    thread.start()
    thread.join()
    assert done[0].iterations == 12


def test_a_teacher_gets_no_gradient(tmp_path: Path) -> None:
    method = toys.build(toys.Staged)
    toys.run(method, tmp_path)
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())


class ToyDecoder(Decoder):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.channels = (4,)
        self.last = nn.Conv2d(4, outputs, 1)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [features[0].relu()]

    def head(self, decoded: Tensor) -> Tensor:
        return self.last(decoded)


class ToyBackbone(Backbone):
    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: Any) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        self.dims, self.channels, self.strides, self.divisor = dims, (4,), (1,), 1
        self.first = nn.Conv2d(channels, 4, 3, padding=1)
        self.decoder = ToyDecoder(outputs)

    def encode(self, images: Tensor) -> list[Tensor]:
        return [self.first(images)]

    def new_decoder(self, **variant: Any) -> Decoder:
        return ToyDecoder(2)


class WithBackbone(toys.Supervised):
    def __init__(self, task: Task, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.net = ToyBackbone(dims=2, channels=1, outputs=2, patch=(12, 12), options=None)  # type: ignore[assignment]


def test_channels_last_keeps_the_values_and_the_resume(tmp_path: Path) -> None:
    plain, other = toys.build(WithBackbone), toys.build(WithBackbone)
    toys.run(plain, tmp_path / "a")
    toys.run(other, tmp_path / "b", channels_last=True)
    assert other.net.first.weight.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    batch = batch_channels_last(toys.ToyData().batch(0))
    assert torch.equal(batch["labeled"].image, toys.ToyData().batch(0)["labeled"].image)
    assert batch["labeled"].image.stride()[1] == 1, "one channel, too"
    volume = nn.Conv3d(2, 2, 3)
    before = volume.weight.detach().clone()
    weights_channels_last(volume)
    assert volume.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(before, volume.weight)


def test_compilation_is_of_backbones_and_decoders_and_ends_with_training(monkeypatch: pytest.MonkeyPatch) -> None:
    method, names = toys.build(WithBackbone), list(toys.build(WithBackbone).state_dict())
    seen: list[tuple[str, str | None]] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: seen.append((type(self).__name__, mode)))
    with compiled(method, True):
        assert list(method.state_dict()) == names
    with compiled(method, False):
        pass
    assert seen == [("ToyBackbone", None), ("ToyDecoder", None)]
    seen.clear()
    with compiled(method, "cuda-graphs"):
        pass
    assert seen == [("ToyBackbone", "reduce-overhead"), ("ToyDecoder", "reduce-overhead")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_training_follows_the_plain_one(tmp_path: Path) -> None:
    plain, other = toys.build(WithBackbone), toys.build(WithBackbone)
    toys.run(plain, tmp_path / "a", iterations=3)
    toys.run(other, tmp_path / "b", iterations=3, compile=True)
    assert list(plain.state_dict()) == list(other.state_dict())
    for a, b in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert checkpoints.load_method(tmp_path / "b" / "checkpoints" / "last.pt", plain) is not None
    again = toys.build(WithBackbone)
    toys.run(again, tmp_path / "c", iterations=3, compile=True)
    toys.assert_same(toys.state_of(other), toys.state_of(again))


def test_terms_on_the_instance_are_what_counts(tmp_path: Path) -> None:
    method = toys.build(toys.Supervised)
    method.terms = {"sup": Term(0.0)}
    before = toys.state_of(method)
    toys.run(method, tmp_path)
    for name, p in method.named_parameters():
        assert torch.equal(before[name], p)


class Counting(toys.Supervised):
    """Learns in `begin` alone: how many labeled voxels there are."""

    def __init__(self, task: Task, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        del self.net
        self.register_buffer("voxels", torch.zeros(2, dtype=torch.float64))

    def optimisers(self) -> dict[str, Any]:
        return {}

    def begin(self, stage: str, pools: Any) -> None:
        self.voxels.copy_(pools.class_voxels())

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        raise AssertionError("a method without optimisers has no iterations")


def test_without_optimisers_begin_is_all(tmp_path: Path) -> None:
    method = toys.build(Counting)
    result = toys.run(method, tmp_path, iterations=8, validate=lambda trained: 0.5)
    assert result.iterations == 0 and result.best is None and method.voxels.sum() > 0
    record = result.record()
    assert record["iterations_per_second"] is None and record["best_validation"] is None
    fresh = toys.build(Counting)
    checkpoints.load_method(tmp_path / "checkpoints" / "last.pt", fresh)
    assert torch.equal(fresh.voxels, method.voxels)
    assert len(pd.read_parquet(tmp_path / "steps.parquet")) == 0
    again = toys.build(Counting)
    assert toys.run(again, tmp_path, iterations=8, resume=True).iterations == 0, "a finished run is resumed"
    assert torch.equal(again.voxels, method.voxels)
