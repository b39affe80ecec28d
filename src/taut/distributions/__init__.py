"""Densities that torch and zuko lack, and the one divergence between any two."""

from taut.distributions.autoregressive import AR1, Autoregressive
from taut.distributions.counts import BetaBinomial, Binomial, NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from taut.distributions.discrete import AutoregressiveOneHot, Bits, OneHot, one_hot
from taut.distributions.divergence import Divergence, divergence, register_divergence, sampled
from taut.distributions.draws import central, drawn, same_noise
from taut.distributions.factorised import Affine, Factorised
from taut.distributions.flow import Flow, import_zuko
from taut.distributions.logistic import DiscretisedLogistic, DiscretisedLogisticMixture
from taut.distributions.mixture import Mixture
from taut.distributions.normal import Delta, DiagonalNormal
from taut.distributions.relaxed import RelaxedBits, RelaxedOneHot, StraightThrough
from taut.distributions.tempered import tempered

__all__ = [
    "AR1",
    "Affine",
    "Autoregressive",
    "AutoregressiveOneHot",
    "BetaBinomial",
    "Binomial",
    "Bits",
    "Delta",
    "DiagonalNormal",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
    "Divergence",
    "Factorised",
    "Flow",
    "Mixture",
    "NegativeBinomial",
    "OneHot",
    "Poisson",
    "RelaxedBits",
    "RelaxedOneHot",
    "StraightThrough",
    "ZeroInflatedNegativeBinomial",
    "central",
    "divergence",
    "drawn",
    "import_zuko",
    "one_hot",
    "register_divergence",
    "same_noise",
    "sampled",
    "tempered",
]
