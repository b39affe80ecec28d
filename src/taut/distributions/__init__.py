"""Densities that torch and zuko lack, and the one divergence between any two."""

from taut.distributions.counts import BetaBinomial, Binomial, NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from taut.distributions.divergence import Divergence, divergence, register_divergence
from taut.distributions.factorised import Affine, Factorised
from taut.distributions.logistic import DiscretisedLogistic, DiscretisedLogisticMixture
from taut.distributions.normal import Delta, DiagonalNormal
from taut.distributions.tempered import tempered

__all__ = [
    "Affine",
    "BetaBinomial",
    "Binomial",
    "Delta",
    "DiagonalNormal",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
    "Divergence",
    "Factorised",
    "NegativeBinomial",
    "Poisson",
    "ZeroInflatedNegativeBinomial",
    "divergence",
    "register_divergence",
    "tempered",
]
