"""Posteriors q(z|x): families that the encoder picks a member of for each example."""

from taut.posteriors.base import Annealed, Posterior, PosteriorModule
from taut.posteriors.discrete import Bernoulli, Categorical
from taut.posteriors.normal import Delta, DiagonalNormal
from taut.posteriors.relaxed import RelaxedBernoulli, RelaxedCategorical
from taut.posteriors.sphere import VonMisesFisher

__all__ = [
    "Annealed",
    "Bernoulli",
    "Categorical",
    "Delta",
    "DiagonalNormal",
    "Posterior",
    "PosteriorModule",
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "VonMisesFisher",
]
