"""Temperature: a sharper or flatter version of a density, to sample from."""

from __future__ import annotations

import math
from functools import singledispatch

from torch.distributions import Distribution

from taut.distributions.normal import DiagonalNormal
from taut.errors import InputError

__all__ = ["log_temperature", "tempered"]


@singledispatch
def tempered(p: Distribution, temperature: float) -> Distribution:
    """The density at a temperature T > 0, its spread scaled by T; T = 1 is p itself.

    Raises:
        InputError: where the density knows no temperature.
    """
    if temperature == 1:
        return p
    raise InputError("temperature", f"is {temperature:g}, but {type(p).__name__} knows no temperature", "give 1")


def log_temperature(temperature: float) -> float:
    """log T, refused where T is none."""
    if not 0 < temperature < math.inf:
        raise InputError("temperature", f"is {temperature:g}", "give a number above 0")
    return math.log(temperature)


@tempered.register
def _(p: DiagonalNormal, temperature: float) -> Distribution:
    log_t = log_temperature(temperature)
    return p if temperature == 1 else DiagonalNormal(p.mu, p.log_scale + log_t)
