"""All families of parts, for help texts and for saying in words what was chosen."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from taut.layers import Layer
from taut.likelihoods import Likelihood
from taut.networks import Network
from taut.objectives import Objective, Penalty, Schedule
from taut.posteriors import Posterior
from taut.priors import Prior
from taut.training import Optimiser

__all__ = ["FAMILIES", "describe_parts", "in_words"]

FAMILIES = (Prior, Posterior, Likelihood, Network, Layer, Objective, Penalty, Schedule, Optimiser)


def describe_parts() -> Iterator[str]:
    """Lines that name every part with its options and its one-line description."""
    for family in FAMILIES:
        yield f"{family.__name__.lower()} parts:"
        for name, member in sorted(family.members.items()):
            options = ", ".join(field.name for field in fields(member))
            first = inspect.cleandoc(member.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
            yield f"  {name}{f' ({options})' if options else ''}"
            yield f"      {first}"
        yield ""


def in_words(likelihood: Any, data: Any) -> str:
    """A likelihood as the data's line says it: its name, and that values are dequantised for it where they are."""
    name = type(likelihood).__name__
    support = data.reading.support
    if name == "DiscretisedLogistic":
        return f"{support.levels}-level discretised logistic"
    if name == "Binomial":
        return f"Binomial({support.levels - 1})"
    if likelihood.continuous:
        how = ", standardised" if name in ("Gaussian", "Laplace") else ""
        return f"{name}{how}{' (values dequantised by uniform noise)' if support.discrete else ''}"
    return name
