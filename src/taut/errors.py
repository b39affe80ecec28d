"""What a user's mistake looks like: the field, the value that was given, and the mend, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "nearest"]


class InputError(ValueError):
    """A mistake in what the user gave: never shown as a traceback, exit status 2 from the command line.

    Args:
        field: what was given, as the user knows it: ``"objective.beta"``, ``"data"``, a path, a column.
        problem: the value and what is wrong with it.
        mend: what to do about it.

    >>> print(InputError("objective.beta", "is -1, below zero", "give 0 or more"))
    objective.beta: is -1, below zero; give 0 or more
    """

    def __init__(self, field: str, problem: str, mend: str = "") -> None:
        self.field, self.problem, self.mend = field, problem, mend
        super().__init__(f"{field}: {problem}" + (f"; {mend}" if mend else ""))

    def under(self, path: str) -> InputError:
        """The same mistake, seen from the outside: its field below ``path``."""
        if not path or self.field.startswith(f"{path}."):
            return self
        return InputError(f"{path}.{self.field}", self.problem, self.mend)


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
