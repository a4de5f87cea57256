"""Where training runs: device, threads, allocator, determinism and peak memory."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from pathlib import Path

import psutil
import torch

from semibench.contracts.errors import UsageError

MEGABYTE = 1e6
"""Peak memory is given in megabytes of 10^6 bytes."""

# Parameter numbers of glibc's mallopt(3), from <malloc.h>.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = 2147483647


def available() -> tuple[str, ...]:
    """Device types that work here, the preferred first: "cuda", "mps", "cpu"."""
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def choose(name: str = "auto") -> torch.device:
    """The device called `name`: "auto" (cuda, else mps, else cpu), "cpu", "mps", "cuda" or "cuda:1".

    Raises UsageError for a name that is none, or a device that this machine or this build of torch hasn't.
    """
    kinds = available()
    if name == "auto":
        return torch.device(kinds[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "mps", "cpu"):
        raise UsageError(f"device {name!r} is not known; use 'auto', 'cpu', 'mps', 'cuda' or 'cuda:<number>'")
    if device.type not in kinds:
        raise UsageError(
            f"device {name!r} was asked for, but torch {torch.__version__} finds only {', '.join(kinds)} here; "
            "use --device auto, or install a build of torch for this device"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} was asked for, but there are {torch.cuda.device_count()} CUDA devices here")
    return device


def describe(device: torch.device) -> str:
    """The name of the hardware, for the record of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"


WORTH_THREADS = 2**17
"""Voxels of a batch from which several threads pay on a CPU. Seen on two cores, forward and backward: mgcc at an eighth of
its width, 8 images of 64 x 64: one thread 1.3 times as fast as two; mean teacher on 8 of 256 x 256: two 1.5 times as fast."""


def set_threads(threads: int | None = None, *, voxels: int | None = None) -> int:
    """Sets how many threads torch uses on the CPU and returns the number. The number is part of "same machine kind":
    digits may differ between two numbers of threads.

    threads: as given; None: OMP_NUM_THREADS where it is set, else one for batches of fewer than WORTH_THREADS voxels
    (`voxels`), which threads only slow down, else all cores.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"the number of threads must be at least 1, got {threads}")
    if threads is None and "OMP_NUM_THREADS" not in os.environ and voxels is not None:
        threads = 1 if voxels < WORTH_THREADS else (os.cpu_count() or 1)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def tune_allocator() -> bool:
    """Keeps freed memory in the process instead of giving it back to the system at every step; returns whether it did.

    glibc maps and unmaps big tensors each time, which costs up to half of the time of training on a CPU; the price is a
    resident memory that is up to a third larger. Same effect as MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647
    in the environment, which win where they are set. Call it before the first tensor; elsewhere than on glibc: nothing.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    done = True
    for variable, parameter, value in (
        ("MALLOC_MMAP_MAX_", M_MMAP_MAX, 0),
        ("MALLOC_TRIM_THRESHOLD_", M_TRIM_THRESHOLD, NEVER),
    ):
        if variable not in os.environ:
            done &= libc.mallopt(ctypes.c_int(parameter), ctypes.c_int(value)) == 1
    return done


def set_deterministic(device: torch.device) -> None:
    """Makes equal runs give equal digits, as far as the device can.

    CPU: deterministic algorithms everywhere (without filling fresh memory, which costs time and changes nothing here).
    CUDA: deterministic cuDNN convolutions without autotuning; torch's general switch stays off, since several 3D and
    resizing operations have no deterministic form there, so the last digits may differ between two runs.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # the public switch that, unlike use_deterministic_algorithms, doesn't import the compiler (2.7 s)
    torch.set_deterministic_debug_mode("warn" if device.type == "cpu" else "default")
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - a property torch doesn't type


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given, so that a clock reading means something."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _high_water() -> float:
    """Greatest resident memory of this process so far, in bytes.

    Linux: from /proc, since getrusage there starts with the mark of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024.0
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024.0


class PeakMemory:
    """Greatest memory in use since it was made, in MB (10^6 bytes).

    CUDA: the allocator's own peak. CPU: resident memory of the process; its high-water mark where that rose since the
    start, else the greatest of the values sampled (the mark may stem from earlier work of the process).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.process = psutil.Process()
        self.start = _high_water()
        self.seen = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def sample(self) -> None:
        """Looks at the memory in use now (microseconds)."""
        if self.device.type != "cuda":
            self.seen = max(self.seen, float(self.process.memory_info().rss))

    @property
    def megabytes(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / MEGABYTE
        self.sample()
        mark = _high_water()
        return (max(mark, self.seen) if mark > self.start else self.seen) / MEGABYTE
