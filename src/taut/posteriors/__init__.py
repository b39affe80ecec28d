"""Posteriors q(z|x): families that the encoder picks a member of for each example."""

from taut.posteriors.base import Annealed, Posterior, PosteriorModule
from taut.posteriors.flow import IAF
from taut.posteriors.normal import Delta, DiagonalNormal

__all__ = ["IAF", "Annealed", "Delta", "DiagonalNormal", "Posterior", "PosteriorModule"]
