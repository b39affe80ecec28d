"""What is asked of the processor and of the memory, once for a process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache

__all__ = ["cores", "flushed", "free_memory", "hold_memory", "memory"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """How many bytes of memory this machine has for us: all of its own, or what its control group grants."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**33
    with (
        contextlib.suppress(OSError, ValueError),
        open("/sys/fs/cgroup/memory.max") as file,
    ):  # "max" where there is no limit
        size = min(size, int(file.read()))
    return size


def free_memory() -> int:
    """How many of them nobody uses now."""
    size = memory()
    with contextlib.suppress(OSError, ValueError, StopIteration), open("/proc/meminfo") as file:
        size = min(size, 1024 * next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")))
    return size


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """Inside, numbers below 1e-38 are taken for 0: they would cost a hundred times what others do, and say nothing.

    To be asked for before any thread of torch's is there, as each has a setting of its own.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@cache
def hold_memory() -> None:
    """From here on the process keeps up to 256 MiB of what it frees, for the tensors of its next step.

    glibc would hand each tensor of some megabytes back to the system, and get it anew, page by page, a step later: a tenth to
    a fifth of the time of convolutions and of importance-weighted bounds. Where somebody has set its allocator (``MALLOC_…``,
    ``GLIBC_TUNABLES``), or there is another, nothing is changed.
    """
    if not sys.platform.startswith("linux") or any(name.startswith(("MALLOC_", "GLIBC_TUN")) for name in os.environ):
        return
    with contextlib.suppress(OSError, AttributeError):  # of another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 64 << 20)
        mallopt(M_TRIM_THRESHOLD, 256 << 20)
