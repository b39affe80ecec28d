"""Posteriors q(z|x): families that the encoder picks a member of for each example."""

from taut.posteriors.base import Annealed, Posterior, PosteriorModule
from taut.posteriors.committed import CommittedNormal
from taut.posteriors.correlated import FullNormal
from taut.posteriors.discrete import Bernoulli, Categorical
from taut.posteriors.flow import IAF
from taut.posteriors.locationscale import Cauchy, Laplace, Logistic, TruncatedNormal
from taut.posteriors.normal import Delta, DiagonalNormal
from taut.posteriors.quantised import VectorQuantised
from taut.posteriors.relative import PrecisionNormal, RelativeNormal
from taut.posteriors.relaxed import RelaxedBernoulli, RelaxedCategorical
from taut.posteriors.sphere import VonMisesFisher

__all__ = [
    "IAF",
    "Annealed",
    "Bernoulli",
    "Categorical",
    "Cauchy",
    "CommittedNormal",
    "Delta",
    "DiagonalNormal",
    "FullNormal",
    "Laplace",
    "Logistic",
    "Posterior",
    "PosteriorModule",
    "PrecisionNormal",
    "RelativeNormal",
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "TruncatedNormal",
    "VectorQuantised",
    "VonMisesFisher",
]
