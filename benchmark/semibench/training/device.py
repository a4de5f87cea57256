"""Device, threads, allocator, determinism and peak memory of training."""

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
"""Bytes in the megabyte that peak memory is given in."""

# Parameter numbers of glibc's mallopt(3), from <malloc.h>.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = 2147483647


def available() -> tuple[str, ...]:
    """Return the device types that work here, preferred first: "cuda", "mps", "cpu"."""
    kinds = []
    if torch.cuda.is_available():
        kinds.append("cuda")
    if torch.backends.mps.is_available():
        kinds.append("mps")
    return (*kinds, "cpu")


def choose(name: str = "auto") -> torch.device:
    """Return the device of this name: "auto" (cuda, else mps, else cpu), "cpu", "mps", "cuda" or "cuda:1".

    Raise UsageError for an unknown name, or a device that this machine or this build of torch does not have.
    """
    kinds = available()
    if name == "auto":
        return torch.device(kinds[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "mps", "cpu"):
        raise UsageError(f"unknown device {name!r}; use 'auto', 'cpu', 'mps', 'cuda' or 'cuda:<number>'")
    if device.type not in kinds:
        raise UsageError(
            f"device {name!r} was requested, but torch {torch.__version__} finds only {', '.join(kinds)} here; "
            "use --device auto, or install a build of torch for this device"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} was requested, but there are {torch.cuda.device_count()} CUDA devices here")
    return device


def describe(device: torch.device) -> str:
    """Return the name of the hardware, for the record of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"


WORTH_THREADS = 2**17
"""Voxels of a batch above which several threads pay off on a CPU. Measured on two cores, forward and backward: for mgcc at an
eighth of its width on 8 images of 64 x 64, one thread is 1.3 times as fast as two; for mean teacher on 8 of 256 x 256, two are
1.5 times as fast as one."""


MOST_THREADS = 4096


def set_threads(threads: int | None = None, *, voxels: int | None = None) -> int:
    """Set how many threads torch uses on the CPU, and return the number.

    The number is part of "same machine kind": digits may differ between two numbers of threads.

    Args:
        threads: the number. None: OMP_NUM_THREADS if it is set; else one for batches of fewer than WORTH_THREADS voxels,
            which threads only slow down; else all cores.
        voxels: voxels of a batch.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"the number of threads must be 1 to {MOST_THREADS}, got {threads}")
    if threads is None and "OMP_NUM_THREADS" not in os.environ and voxels is not None:
        threads = 1 if voxels < WORTH_THREADS else (os.cpu_count() or 1)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def tune_allocator() -> bool:
    """Keep freed memory in the process instead of returning it to the system at every step; return whether that worked.

    glibc maps and unmaps big tensors each time, which costs up to half of the training time on a CPU. The price is up to a
    third more resident memory. MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647 in the environment have the same effect,
    and take precedence if set. Call this before the first tensor; without glibc it does nothing.
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
    """Make equal runs give equal digits, as far as the device can.

    CPU: deterministic algorithms everywhere (without filling fresh memory, which costs time and changes nothing here).
    CUDA: deterministic cuDNN convolutions without autotuning. Torch's general switch stays off, because several 3D and
    resizing operations have no deterministic form there; the last digits may therefore differ between two runs.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # unlike use_deterministic_algorithms, this public switch doesn't import the compiler (2.7 s)
    torch.set_deterministic_debug_mode("warn" if device.type == "cpu" else "default")
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - a property torch doesn't type


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work, so that a clock reading is meaningful."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _high_water() -> float:
    """Return the peak resident memory of this process so far, in bytes.

    On Linux it comes from /proc, because getrusage starts from the peak of the parent process there.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024.0
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024.0


class PeakMemory:
    """Peak memory since construction, in MB (10^6 bytes).

    CUDA: the allocator's own peak. CPU: resident memory of the process: its high-water mark if that rose since construction,
    else the largest sampled value (the mark may be from earlier work of the process).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.process = psutil.Process()
        self.start = _high_water()
        self.largest_sample = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def sample(self) -> None:
        """Sample the memory in use now; takes microseconds."""
        if self.device.type != "cuda":
            self.largest_sample = max(self.largest_sample, float(self.process.memory_info().rss))

    @property
    def megabytes(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / MEGABYTE
        self.sample()
        mark = _high_water()
        return (max(mark, self.largest_sample) if mark > self.start else self.largest_sample) / MEGABYTE
