"""What a user's mistake looks like: the field, the value that was given, and the mend, in one line."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable

__all__ = ["Ended", "InputError", "Mishap", "lost_device", "lost_peer", "nearest", "out_of_memory"]


class InputError(ValueError):
    """A mistake in what the user gave: never shown as a traceback, exit status 2 from the command line.

    Args:
        field: what was given, as the user knows it: ``"objective.beta"``, ``"data"``, a path, a column.
        problem: the value and what is wrong with it.
        mend: what to do about it.

    >>> print(InputError("objective.beta", "is -1, below zero", "give 0 or more"))
    objective.beta: is -1, below zero; give 0 or more
    """

    field: str
    problem: str
    mend: str

    def __init__(self, field: str, problem: str, mend: str = "") -> None:
        self.field, self.problem, self.mend = field, problem, mend
        super().__init__(f"{field}: {problem}" + (f"; {mend}" if mend else ""))

    def under(self, path: str) -> InputError:
        """The same mistake, seen from the outside: its field below ``path``."""
        if not path or self.field.startswith(f"{path}."):
            return self
        return InputError(f"{path}.{self.field}", self.problem, self.mend)


class Mishap(InputError):
    """What the machine did, not the user: a full disk, no memory, a device that is gone. What was saved before is good."""


class Ended(KeyboardInterrupt):
    """A polite request to end, SIGTERM or the terminal's hanging up, which is met as Ctrl-C is.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.number = number
        super().__init__()


_TOO_LARGE = (
    "allocate memory", "out of memory", "size calculation overflowed", "multiplication overflow", "Overflow when unpacking",
)  # fmt: skip
"""What torch says of a size that the machine has no room for, or no number for; it has one type for it on GPUs alone."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that something has no room in memory, of the host or of a device."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _TOO_LARGE)


def lost_device(error: BaseException) -> bool:
    """Whether an error says that a GPU is gone, or will do nothing more for this process.

    >>> lost_device(RuntimeError("CUDA error: unspecified launch failure"))
    True
    """
    if not isinstance(error, RuntimeError) or out_of_memory(error):
        return False
    return type(error).__name__ == "AcceleratorError" or str(error).startswith(
        ("CUDA error", "CUDA driver error", "HIP error")
    )


def lost_peer(error: BaseException) -> bool:
    """Whether an error says that another process of the same run is gone.

    >>> lost_peer(RuntimeError("[…/gloo/transport/tcp/pair.cc:547] Connection closed by peer"))
    True
    """
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "DistBackendError" or any(word in str(error) for word in ("gloo", "NCCL"))
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt name: the nearest known one and then all of them.

    >>> nearest("Vmp", ["Vamp", "StandardNormal"])
    'did you mean Vamp? Known: StandardNormal, Vamp'
    """
    known = sorted(known, key=str.lower)
    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    guess = f"did you mean {lower[close[0]]}? " if close else ""
    return f"{guess}Known: {', '.join(known)}"
