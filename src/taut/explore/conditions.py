"""What a model is told beside its latents: labels and numbers, as a page names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from taut.errors import InputError

if TYPE_CHECKING:
    import torch

    from taut.data import Split
    from taut.data.conditions import Condition
    from taut.runs import Run

__all__ = ["each", "named", "prior_normal", "told", "values_of"]


def named(conditions: Sequence[Condition], values: Sequence[Any]) -> dict[str, Any] | None:
    """Values in the order of the conditions, by their names; none of a model without conditions.

    Where no values are given, they are the first category of a kind and the mean of a quantity.

    Raises:
        InputError: where there are not as many as conditions.
    """
    if not conditions and not values:
        return None
    if not values:
        values = [condition.categories[0] if condition.categories else condition.mean for condition in conditions]
    if len(values) != len(conditions):
        names = ", ".join(condition.name for condition in conditions)
        told_of = f"give {len(conditions)}: {names}" if conditions else "leave it out: the model is told nothing"
        raise InputError("condition", f"has {len(values)} value{'s'[: len(values) != 1]}", told_of)
    return {condition.name: value for condition, value in zip(conditions, values, strict=True)}


def each(conditions: Sequence[Condition], values: Sequence[Any], which: int) -> dict[str, dict[str, Any]]:
    """The same condition with every category of one kind in turn, by that category.

    Raises:
        InputError: where that one is no kind.
    """
    kinds = [i for i, condition in enumerate(conditions) if condition.categories]
    if which not in kinds:
        raise InputError(
            "each", f"is {which}", f"give one of {', '.join(map(str, kinds))}" if kinds else "leave it out"
        )
    base = named(conditions, values)
    return {category: {**base, conditions[which].name: category} for category in conditions[which].categories}


def told(run: Run, split: Split, condition: dict[str, Any] | None) -> Split:
    """Examples that the model is told this of."""
    from taut.data.conditions import given

    if condition is None:
        return split
    return replace(split, condition=given(run.reading.conditions, condition, len(split)))


def values_of(conditions: Sequence[Condition], numbers: torch.Tensor | None) -> list[list[Any]] | None:
    """What examples were conditioned on, a list of values for each; none where nothing is."""
    if not conditions or numbers is None:
        return None
    parts = numbers.split([condition.width for condition in conditions], 1)
    columns = [condition.values(part) for condition, part in zip(conditions, parts, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def prior_normal(run: Run, condition: dict[str, Any] | None = None) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and standard deviation (D,) of the top layer's prior given a condition; none where that is no normal."""
    import torch

    from taut.data.conditions import given
    from taut.distributions import DiagonalNormal

    top = run.vae.layers[0]
    rows = None if condition is None else given(run.reading.conditions, condition, 1)
    with torch.no_grad():
        prior = top.prior(top.enter(run.vae.root(1, rows)))
    if not isinstance(prior, DiagonalNormal):
        return None
    return prior.mean[0].flatten().double().numpy(), prior.stddev[0].flatten().double().numpy()
