"""Densities that torch and zuko lack, and the one divergence between any two."""

from taut.distributions.autoregressive import AR1, Autoregressive
from taut.distributions.bent import Bent
from taut.distributions.bernoulli import Bernoulli
from taut.distributions.chain import Chain
from taut.distributions.columns import Columnwise, LogScaled, Rounded
from taut.distributions.correlated import FullNormal, LowRankNormal
from taut.distributions.counts import BetaBinomial, Binomial, NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from taut.distributions.course import Choose, Conditional, Continuum, Course, Position, draw_levels
from taut.distributions.diffusion import Diffusion, Levels, NoiseCourse, Reals, Sampling
from taut.distributions.discrete import AutoregressiveOneHot, Bits, OneHot, one_hot
from taut.distributions.divergence import Divergence, divergence, register_divergence, sampled
from taut.distributions.draws import central, drawn, fold, moments, same_noise, taken
from taut.distributions.exactness import Exactness, worst
from taut.distributions.factorised import Affine, Factorised
from taut.distributions.flow import Coupling, Flow, import_zuko
from taut.distributions.inverse import InverseAutoregressive
from taut.distributions.locationscale import Cauchy, Laplace, Logistic
from taut.distributions.logistic import DiscretisedLogistic, DiscretisedLogisticMixture
from taut.distributions.mixture import Mixture
from taut.distributions.noise import NonCentred
from taut.distributions.normal import Delta, DiagonalNormal
from taut.distributions.once import once
from taut.distributions.quantised import Embedded, Quantised, nearest_code
from taut.distributions.relaxed import RelaxedBits, RelaxedOneHot, StraightThrough
from taut.distributions.soft import soft
from taut.distributions.sphere import UniformSphere, VonMisesFisher, unit
from taut.distributions.tempered import tempered
from taut.distributions.truncated import TruncatedNormal

__all__ = [
    "AR1",
    "Affine",
    "Autoregressive",
    "AutoregressiveOneHot",
    "Bent",
    "Bernoulli",
    "BetaBinomial",
    "Binomial",
    "Bits",
    "Cauchy",
    "Chain",
    "Choose",
    "Columnwise",
    "Conditional",
    "Continuum",
    "Coupling",
    "Course",
    "Delta",
    "DiagonalNormal",
    "Diffusion",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
    "Divergence",
    "Embedded",
    "Exactness",
    "Factorised",
    "Flow",
    "FullNormal",
    "InverseAutoregressive",
    "Laplace",
    "Levels",
    "LogScaled",
    "Logistic",
    "LowRankNormal",
    "Mixture",
    "NegativeBinomial",
    "NoiseCourse",
    "NonCentred",
    "OneHot",
    "Poisson",
    "Position",
    "Quantised",
    "Reals",
    "RelaxedBits",
    "RelaxedOneHot",
    "Rounded",
    "Sampling",
    "StraightThrough",
    "TruncatedNormal",
    "UniformSphere",
    "VonMisesFisher",
    "ZeroInflatedNegativeBinomial",
    "central",
    "divergence",
    "draw_levels",
    "drawn",
    "fold",
    "import_zuko",
    "moments",
    "nearest_code",
    "once",
    "one_hot",
    "register_divergence",
    "same_noise",
    "sampled",
    "soft",
    "taken",
    "tempered",
    "unit",
    "worst",
]
