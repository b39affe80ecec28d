"""All families of parts, for help texts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields

from taut.layers import Layer
from taut.likelihoods import Likelihood
from taut.networks import Cell, Denoiser, Network
from taut.objectives import Estimator, Objective, Penalty, Schedule
from taut.posteriors import Posterior
from taut.priors import Prior
from taut.training import Optimiser

__all__ = ["FAMILIES", "describe_parts"]

FAMILIES = (
    Prior, Posterior, Likelihood, Network, Cell, Denoiser, Layer, Objective, Estimator, Penalty, Schedule, Optimiser
)  # fmt: skip


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
