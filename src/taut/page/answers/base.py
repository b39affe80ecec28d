"""A question that a page may ask: a frozen dataclass whose fields say what they take, and its answer.

A field is declared by one of the readers below, which refuse everything else in one line: what comes over the socket is
never trusted, and never reaches a model unread. A new question is a class with a ``kind`` in a file of this folder.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from taut.errors import InputError

if TYPE_CHECKING:
    from taut.page.desk import Desk

__all__ = ["Question", "Reply", "choice", "condition", "number", "numbers", "read", "text", "truth", "whole", "wholes"]


@dataclass(frozen=True)
class Reply:
    """An answer: plain values, and arrays by name."""

    meta: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Question(ABC):
    """Base of all questions; a subclass is known by its ``kind``."""

    kind: ClassVar[str] = ""
    light: ClassVar[bool] = False
    """Whether it needs only files: it is then answered beside those that wait for the model."""

    known: ClassVar[dict[str, type[Question]]] = {}

    def __init_subclass__(cls) -> None:
        if cls.kind:
            Question.known[cls.kind] = cls

    @abstractmethod
    def answer(self, desk: Desk) -> Reply:
        """The answer for the run on the desk.

        Raises:
            InputError: where the run has no such answer, with the reason.
        """


def read(kind: Any, fields: Any) -> Question:
    """The question of a message.

    Raises:
        InputError: naming the field that is wrong, and what would do.
    """
    if not isinstance(kind, str) or kind not in Question.known:
        raise InputError("kind", f"is {_short(kind)}", f"known: {', '.join(sorted(Question.known))}")
    if not isinstance(fields, dict):
        raise InputError("fields", f"is {_short(fields)}", "give an object")
    question = Question.known[kind]
    declared = {item.name: item for item in dataclasses.fields(question)}
    for name in fields:
        if name not in declared:
            raise InputError(f"{kind}.{name[:40]}", "is no field", f"known: {', '.join(declared) or 'none'}")
    given = {}
    for name, item in declared.items():
        if name in fields:
            try:
                given[name] = item.metadata["read"](fields[name])
            except (TypeError, ValueError, OverflowError) as error:
                raise InputError(f"{kind}.{name}", f"is {_short(fields[name])}", f"give {error}") from None
        elif item.default is dataclasses.MISSING:
            raise InputError(f"{kind}.{name}", "is not given", "give it")
    return question(**given)


def _declared(reader: Callable[[Any], Any], default: Any) -> Any:
    return field(default=default, metadata={"read": reader})


def whole(low: int, high: int, default: Any = dataclasses.MISSING) -> Any:
    """A whole number from ``low`` to ``high``."""

    def reader(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a whole number from {low:,} to {high:,}")
        return value

    return _declared(reader, default)


def number(low: float, high: float, default: Any = dataclasses.MISSING) -> Any:
    """A finite number from ``low`` to ``high``."""

    def reader(value: Any) -> float:
        if not _finite(value) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return _declared(reader, default)


def numbers(most: int, bound: float = 1e6, least: int = 1, default: Any = dataclasses.MISSING) -> Any:
    """A list of finite numbers, none of them further than ``bound`` from 0."""

    def reader(value: Any) -> tuple[float, ...]:
        fits = isinstance(value, list) and least <= len(value) <= most
        if not fits or not all(_finite(item) and abs(item) <= bound for item in value):
            size = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            raise ValueError(f"a list of {size} numbers from −{bound:g} to {bound:g}")
        return tuple(float(item) for item in value)

    return _declared(reader, default)


def wholes(most: int, low: int, high: int, least: int = 1, default: Any = dataclasses.MISSING) -> Any:
    """A list of whole numbers from ``low`` to ``high``."""

    def reader(value: Any) -> tuple[int, ...]:
        fits = isinstance(value, list) and least <= len(value) <= most
        if not fits or not all(type(item) is int and low <= item <= high for item in value):
            raise ValueError(f"a list of {least:,} to {most:,} whole numbers from {low:,} to {high:,}")
        return tuple(value)

    return _declared(reader, default)


def choice(*options: str, default: Any = dataclasses.MISSING) -> Any:
    """One of some words."""

    def reader(value: Any) -> str:
        if not isinstance(value, str) or value not in options:
            raise ValueError(f"one of {', '.join(options)}")
        return value

    return _declared(reader, default)


def text(most: int, default: Any = dataclasses.MISSING) -> Any:
    """Text of no more than so many characters."""

    def reader(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise ValueError(f"text of {most:,} characters or fewer")
        return value

    return _declared(reader, default)


def condition() -> Any:
    """What a model is told beside its latents: a text or a finite number for each condition, or nothing."""

    def reader(value: Any) -> tuple[str | float, ...]:
        if not isinstance(value, list) or len(value) > 100 or not all(map(_told, value)):
            raise ValueError("a list of up to 100 texts of 200 characters or fewer and numbers from −1e+12 to 1e+12")
        return tuple(value)

    return _declared(reader, ())


def truth(default: Any = dataclasses.MISSING) -> Any:
    """True or false."""

    def reader(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value

    return _declared(reader, default)


def _finite(value: Any) -> bool:
    # a whole number may be beyond what a float can be: comparing it is exact, and bounds come after
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    )


def _told(value: Any) -> bool:
    return len(value) <= 200 if isinstance(value, str) else _finite(value) and abs(value) <= 1e12


def _short(value: Any) -> str:
    """A value as it is quoted in a refusal: what is large or deep is only named."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:39] + "…")
    if value is None or isinstance(value, (bool, float)):
        return {None: "null", True: "true", False: "false"}.get(value, str(value))
    if isinstance(value, int):
        return str(value) if abs(value) < 10**12 else "a very large number"
    return f"a list of {len(value):,}" if isinstance(value, list) else "an object"
