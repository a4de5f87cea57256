"""Choice of device, threads, allocator, memory; parameters and operations of a predictor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import training_toys as toys
from torch import Tensor, nn

from semibench.contracts.errors import UsageError
from semibench.training import cost, device


def test_cpu_can_always_be_chosen() -> None:
    assert device.choose("cpu") == torch.device("cpu")
    assert device.available()[-1] == "cpu"
    assert device.choose().type == device.available()[0]
    assert "cpu" in device.describe(torch.device("cpu"))
    device.synchronize(torch.device("cpu"))


def test_the_best_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.choose("auto") == torch.device("cuda")
    assert device.choose("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="there are 2 CUDA devices"):
        device.choose("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.choose("auto") == torch.device("mps")


@pytest.mark.parametrize("name", ["gpu", "tpu", "meta", "cuda:x", ""])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"use 'auto', 'cpu', 'mps', 'cuda' or 'cuda:<number>'"):
        device.choose(name)


def test_an_absent_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="finds only"):
        device.choose("cuda")


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert device.set_threads(1) == 1
        assert device.set_threads() == 1
        with pytest.raises(UsageError, match="must be 1 to"):
            device.set_threads(0)
    finally:
        torch.set_num_threads(before)


CHURN = """
import resource, sys, torch
from semibench.training.device import tune_allocator
torch.set_num_threads(1)
done = tune_allocator() if sys.argv[1] == "tuned" else None
for _ in range(16):  # until the heap has its final layout
    torch.empty(16_000_000).fill_(1.0)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.empty(16_000_000).fill_(1.0)
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
@pytest.mark.slow
def test_the_allocator_keeps_memory() -> None:
    """Without it every tensor of 64 MB is mapped anew: thousands of page faults; with it none. The best of three processes
    counts: how soon the heap settles depends on where the system puts it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}

    def page_faults(mode: str) -> int:
        command = [sys.executable, "-c", CHURN, mode]
        done = subprocess.run(command, capture_output=True, text=True, env=plain, check=True)
        answer, count = done.stdout.split()
        assert answer == {"plain": "None", "tuned": "True"}[mode]
        return int(count)

    without = page_faults("plain")
    assert without > 100
    assert any(page_faults("tuned") < without / 10 for _ in range(3))


def test_the_allocator_is_left_alone_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.platform, "libc_ver", lambda: ("", ""))
    assert device.tune_allocator() is False


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    class Libc:
        def __init__(self, name: Any) -> None: ...

        def mallopt(self, parameter: Any, value: Any) -> int:
            called.append(parameter.value)
            return 1

    monkeypatch.setattr(device.ctypes, "CDLL", Libc)
    monkeypatch.setattr(device.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(device.sys, "platform", "linux")
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "65536")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    assert device.tune_allocator() is True
    assert called == [device.M_TRIM_THRESHOLD]


@pytest.mark.slow
def test_peak_memory_sees_a_peak_that_is_over() -> None:
    script = (
        "import torch; from semibench.training.device import PeakMemory\n"
        "watch = PeakMemory(torch.device('cpu')); before = watch.megabytes\n"
        "x = torch.ones(50_000_000); del x\n"
        "print(before, watch.megabytes)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert 150 < after - before < 300, "a tensor of 200 MB"


@pytest.mark.slow
def test_deterministic_settings() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        device.set_deterministic(torch.device("cpu"))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cudnn.benchmark
        assert not torch.utils.deterministic.fill_uninitialized_memory
        device.set_deterministic(torch.device("cuda"))
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)


def test_cost_of_a_predictor_worked_by_hand() -> None:
    """stem: 1 x 1 convolution; student: 3 x 3 to 4 channels, BN, 1 x 1 to 2; the teacher (as many) isn't read."""
    method = toys.build(toys.Staged)
    student = 4 * 9 + 4 + 4 + 4 + 4 * 2 + 2
    found = cost.measure(method, toys.TASK)
    assert found.parameters == 2 + 2 * student
    assert found.inference_parameters == 2 + student
    assert found.gflops == pytest.approx(2 * 144 * (1 + 4 * 9 + 4 * 2) / 1e9)
    assert method.training
    assert found.record() == {"parameters": 118, "inference_parameters": 60, "gflops": found.gflops}


def test_cost_counts_shared_parameters_once_and_sees_through_no_grad(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4, bias=False)
            self.b = self.a
            self.idle = nn.Linear(4, 4)

        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    module = Tied()
    found = cost.predictor_cost(module, module, torch.zeros(1, 4))
    assert found == cost.Cost(parameters=16 + 20, inference_parameters=16, gflops=2 * 2 * 16 / 1e9)
