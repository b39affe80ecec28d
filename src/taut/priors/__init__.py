"""Priors p(z): what the code is expected to look like before an example is seen."""

from taut.priors.base import Prior
from taut.priors.normal import ConditionalNormal, StandardNormal

__all__ = ["ConditionalNormal", "Prior", "StandardNormal"]
