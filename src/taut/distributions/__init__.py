"""Densities that torch and zuko lack, and the one divergence between any two."""

from taut.distributions.autoregressive import AR1, Autoregressive
from taut.distributions.divergence import Divergence, divergence, register_divergence
from taut.distributions.factorised import Affine, Factorised
from taut.distributions.flow import Flow, import_zuko
from taut.distributions.logistic import DiscretisedLogistic
from taut.distributions.mixture import Mixture
from taut.distributions.normal import Delta, DiagonalNormal
from taut.distributions.tempered import tempered

__all__ = [
    "AR1",
    "Affine",
    "Autoregressive",
    "Delta",
    "DiagonalNormal",
    "DiscretisedLogistic",
    "Divergence",
    "Factorised",
    "Flow",
    "Mixture",
    "divergence",
    "import_zuko",
    "register_divergence",
    "tempered",
]
