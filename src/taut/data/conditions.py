"""What an example is conditioned on: labels or covariates as numbers, a category as a one among zeros."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from taut.data.known import texts_of
from taut.data.source import Source
from taut.errors import InputError, nearest

__all__ = ["Condition", "columns_of", "conditions_of", "given", "numbers_of"]

FEW = 20  # different whole numbers, up to which they are kinds and no quantity
CODES = 100  # the same where they are 0, 1, 2 … or 1, 2, 3 … without a gap, as the numbers of batches are


@dataclass(frozen=True)
class Condition:
    """One thing that is known of each example.

    Args:
        name: what it is called.
        categories: its values, where it is a kind.
        mean, std: of a quantity, by which it is standardised.
        dtype: of its values in the user's data: ``int``, ``float``, ``bool`` or ``str``.
    """

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    dtype: str = "str"

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        return len(self.categories) or 1

    def numbers(self, values: Any) -> torch.Tensor:
        """Values (N,) as numbers (N, width), float32.

        Raises:
            InputError: for a value that was never seen, or one that is no number.
        """
        values = np.atleast_1d(np.asarray(values))
        return self._kinds(values) if self.categories else self._quantities(values)

    def _quantities(self, values: np.ndarray) -> torch.Tensor:
        try:
            found = values.astype(np.float64)
        except ValueError:
            problem = f"{self.name} is a number, and {str(values[0])[:80]!r} is none"
            raise InputError("condition", problem, "give one") from None
        if not np.isfinite(found).all():
            raise InputError("condition", f"{self.name} is not known of every example", "give it for all")
        numbers = torch.from_numpy((found - self.mean) / self.std).float()[:, None]
        if not numbers.isfinite().all():
            problem = f"{self.name} is {found[np.abs(found).argmax()]:g}, too large a number"
            raise InputError("condition", problem, f"in training it was about {self.mean:g} ± {self.std:g}")
        return numbers

    def _kinds(self, values: np.ndarray) -> torch.Tensor:
        places = {name: i for i, name in enumerate(self.categories)}
        # True, true and TRUE are one value to whoever says them, unless the data tell them apart
        loose = {name.casefold(): i for i, name in enumerate(self.categories)}
        loose = loose if len(loose) == len(places) else {}
        found = texts_of(values)
        chosen = [places.get(text, loose.get(text.casefold())) for text in found]
        if None in chosen:
            strange = found[chosen.index(None)]
            problem = f"{self.name} is {strange[:80]!r}, which the model never saw"
            raise InputError("condition", problem, nearest(strange, self.categories))
        return torch.nn.functional.one_hot(torch.tensor(chosen), self.width).float()

    def values(self, numbers: torch.Tensor) -> list[str] | list[float]:
        """What numbers (N, width), as :meth:`numbers` gives them, stand for."""
        if self.categories:
            return [self.categories[place] for place in numbers.argmax(1).tolist()]
        return (numbers[:, 0].double() * self.std + self.mean).tolist()

    def cells(self, numbers: torch.Tensor) -> list[Any]:
        """The same as the user's data have them: whole numbers whole, true and false as such."""
        if self.dtype == "int":
            return [round(float(value)) for value in self.values(numbers)]
        if self.dtype == "float":  # float32 tells apart ten millionths of a deviation
            return [round(value, 6 - math.floor(math.log10(self.std))) for value in self.values(numbers)]
        return [value == "True" for value in self.values(numbers)] if self.dtype == "bool" else self.values(numbers)


def conditions_of(source: Source, kinds: Mapping[str, str] | None = None) -> tuple[Condition, ...]:
    """What each condition of a source is: a kind, or a quantity; as asked for by name, ``categories`` or ``real``."""
    names, kinds = list(next(iter(source.given.values()), {})), kinds or {}
    values = {name: np.concatenate([part[name] for part in source.given.values()]) for name in names}
    return tuple(_condition(name, values[name], kinds.get(name)) for name in names)


def _condition(name: str, values: np.ndarray, kind: str | None) -> Condition:
    if values.ndim != 1:
        raise InputError("data.condition", f"{name} has shape {values.shape}", "give one value for each example")
    if kind not in (None, "categories", "real"):
        raise InputError("data.kinds", f"{name} is {kind}, and a condition", "say categories or real")
    dtype = {"b": "bool", "i": "int", "u": "int", "f": "float"}.get(values.dtype.kind, "str")
    if dtype == "str" and kind == "real":
        raise InputError("data.kinds", f"{name} is real, and {str(values[0])[:80]!r} is no number", "say categories")
    if dtype in ("str", "bool") or kind == "categories" or (kind is None and dtype == "int" and _few(values)):
        return Condition(name, tuple(sorted(set(texts_of(values)), key=_order)), dtype=dtype)
    if not np.isfinite(values).all():
        raise InputError("data.condition", f"{name} is not known of every example", "fill it, or take out those rows")
    return Condition(name, (), float(values.mean()), float(values.std()) or 1.0, dtype)


def _few(values: np.ndarray) -> bool:
    """Whether whole numbers are kinds: few of them, or numbered through."""
    found = np.unique(values)
    through = len(found) <= CODES and found[0] in (0, 1) and found[-1] - found[0] == len(found) - 1
    return len(found) <= FEW or bool(through)


def _order(text: str) -> tuple[bool, float, str]:
    return (not text.isdecimal(), float(text) if text.isdecimal() else 0.0, text)


def numbers_of(conditions: Sequence[Condition], found: Mapping[str, np.ndarray] | None) -> torch.Tensor | None:
    """The conditions of examples, (N, width of all), or none where they are not all there."""
    if not conditions or found is None or any(condition.name not in found for condition in conditions):
        return None
    return torch.cat([condition.numbers(found[condition.name]) for condition in conditions], 1)


def columns_of(conditions: Sequence[Condition], numbers: torch.Tensor) -> dict[str, list[Any]]:
    """The inverse of :func:`numbers_of`: what rows (N, width of all) were given, by the conditions' names."""
    parts = numbers.split([condition.width for condition in conditions], 1)
    return {condition.name: condition.cells(part) for condition, part in zip(conditions, parts, strict=True)}


def given(conditions: Sequence[Condition], value: Any, n: int) -> torch.Tensor:
    """A condition as a person says it, (n, width): a value, where there is one condition, ``sex=Male,age=40``, a dictionary; of
    each a single value or n of them.

    A value may hold commas and equals signs: a new one begins where a comma is followed by the name of another condition.
    """
    names = [condition.name for condition in conditions]
    if isinstance(value, str) and "=" in value and not (len(names) == 1 and value in conditions[0].categories):
        items = [item.partition("=")[::2] for item in _items(value, names)]
        value = dict(items)
        if len(items) > len(value):
            raise InputError("condition", "names one thing twice", f"say {'=…,'.join(names)}=…")
    if not isinstance(value, Mapping):
        if len(names) > 1:
            raise InputError("condition", f"is {value}, and there are {len(names)}", f"say {'=…,'.join(names)}=…")
        value = {names[0]: value}
    for name in value:
        if name not in names:
            raise InputError("condition", f"{name!r} is none of the model's", nearest(name, names))
    if lacking := [name for name in names if name not in value]:
        raise InputError("condition", f"{lacking[0]} is not given", f"say {'=…,'.join(names)}=…")
    parts = [condition.numbers(value[condition.name]) for condition in conditions]
    if wrong := [len(part) for part in parts if len(part) not in (1, n)]:
        raise InputError("condition", f"has {wrong[0]} values for {n} examples", "give one, or one for each")
    return torch.cat([part.expand(n, -1) for part in parts], 1)


def _items(text: str, names: Sequence[str]) -> list[str]:
    """``sex=Male,age=40`` in its parts; without such names, at each comma."""
    known = re.split(rf",(?=(?:{'|'.join(map(re.escape, names))})=)", text)
    return known if known[0].partition("=")[0] in names else text.split(",")
