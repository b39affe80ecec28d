"""What an example is conditioned on: labels or covariates as numbers, a category as a one among zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from taut.data.known import texts_of
from taut.data.source import Source
from taut.errors import InputError, nearest

__all__ = ["Condition", "conditions_of", "given", "numbers_of"]

FEW = 100  # whole numbers of one name, up to which they are kinds and no quantity, in arrays


@dataclass(frozen=True)
class Condition:
    """One thing that is known of each example.

    Args:
        name: what it is called.
        categories: its values, where it is a kind.
        mean, std: of a quantity, by which it is standardised.
    """

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

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
        if not self.categories:
            try:
                found = values.astype(np.float64)
            except ValueError:
                raise InputError(
                    "condition", f"{self.name} is a number, and {values[0]!r} is none", "give one"
                ) from None
            if not np.isfinite(found).all():
                raise InputError("condition", f"{self.name} is not known of every example", "give it for all")
            return torch.from_numpy((found - self.mean) / self.std).float()[:, None]
        places = {name: i for i, name in enumerate(self.categories)}
        found = texts_of(values)
        if unknown := [text for text in found if text not in places]:
            problem = f"{self.name} is {unknown[0]!r}, which the model never saw"
            raise InputError("condition", problem, nearest(unknown[0], self.categories))
        return torch.nn.functional.one_hot(torch.tensor([places[text] for text in found]), self.width).float()

    def values(self, numbers: torch.Tensor) -> list[str] | list[float]:
        """What numbers (N, width), as :meth:`numbers` gives them, stand for."""
        if self.categories:
            return [self.categories[place] for place in numbers.argmax(1).tolist()]
        return (numbers[:, 0].double() * self.std + self.mean).tolist()


def conditions_of(source: Source) -> tuple[Condition, ...]:
    """What each condition of a source is: a kind, or a quantity."""
    names = list(next(iter(source.given.values()), {}))
    return tuple(_condition(name, np.concatenate([part[name] for part in source.given.values()])) for name in names)


def _condition(name: str, values: np.ndarray) -> Condition:
    if values.ndim != 1:
        raise InputError("data.condition", f"{name} has shape {values.shape}", "give one value for each example")
    few = values.dtype.kind in "iub" and len(np.unique(values)) <= FEW
    if values.dtype.kind not in "fiub" or few:
        return Condition(name, tuple(sorted(set(texts_of(values)), key=_order)))
    if not np.isfinite(values).all():
        raise InputError("data.condition", f"{name} is not known of every example", "fill it, or take out those rows")
    return Condition(name, (), float(values.mean()), float(values.std()) or 1.0)


def _order(text: str) -> tuple[bool, float, str]:
    return (not text.isdecimal(), float(text) if text.isdecimal() else 0.0, text)


def numbers_of(conditions: Sequence[Condition], found: Mapping[str, np.ndarray] | None) -> torch.Tensor | None:
    """The conditions of examples, (N, width of all), or none where they are not all there."""
    if not conditions or found is None or any(condition.name not in found for condition in conditions):
        return None
    return torch.cat([condition.numbers(found[condition.name]) for condition in conditions], 1)


def given(conditions: Sequence[Condition], value: Any, n: int) -> torch.Tensor:
    """A condition as a person says it, (n, width): a value, where there is one condition, ``sex=Male,age=40``, a dictionary; of
    each a single value or n of them."""
    names = [condition.name for condition in conditions]
    if isinstance(value, str) and "=" in value:
        value = dict(item.partition("=")[::2] for item in value.split(","))
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
