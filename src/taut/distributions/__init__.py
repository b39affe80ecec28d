"""Densities that torch and zuko lack, and the one divergence between any two."""

from taut.distributions.divergence import Divergence, divergence, register_divergence
from taut.distributions.factorised import Affine, Factorised
from taut.distributions.logistic import DiscretisedLogistic
from taut.distributions.normal import Delta, DiagonalNormal
from taut.distributions.tempered import tempered

__all__ = [
    "Affine",
    "Delta",
    "DiagonalNormal",
    "DiscretisedLogistic",
    "Divergence",
    "Factorised",
    "divergence",
    "register_divergence",
    "tempered",
]
