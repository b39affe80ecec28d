"""Posteriors q(z|x): families that the encoder picks a member of for each example."""

from taut.posteriors.base import Posterior
from taut.posteriors.normal import Delta, DiagonalNormal

__all__ = ["Delta", "DiagonalNormal", "Posterior"]
