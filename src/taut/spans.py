"""Names for stretches of work, so that a profile can say where the time of a step goes; nothing where none is taken."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["span", "watched"]

Timer = Callable[[str], contextlib.AbstractContextManager[None]]

_NOTHING = contextlib.nullcontext()
_timer: Timer | None = None


def span(name: str) -> contextlib.AbstractContextManager[None]:
    """What is done inside has this name; costs one look where nobody watches."""
    return _NOTHING if _timer is None else _timer(name)


@contextlib.contextmanager
def watched(timer: Timer) -> Iterator[None]:
    """Inside, each span is handed to a timer."""
    global _timer
    before, _timer = _timer, timer
    try:
        yield
    finally:
        _timer = before
