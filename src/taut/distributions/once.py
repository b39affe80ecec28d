"""A value that is found when it is first asked for, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["once"]

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801
    """``functools.cached_property`` without the lock that Python 3.11 puts around it: a compiler cannot look through that.

    >>> class Square:
    ...     @once
    ...     def side(self):
    ...         print("measured")
    ...         return 2.0
    >>> square = Square()
    >>> square.side + square.side
    measured
    4.0
    """

    find: Callable[[Any], T]
    name: str

    def __init__(self, find: Callable[[Any], T]) -> None:
        self.find, self.name, self.__doc__ = find, find.__name__, find.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        value = instance.__dict__[self.name] = self.find(instance)
        return value
