"""Priors p(z): what the code is expected to look like before an example is seen."""

from taut.priors.autoregressive import AR1, Autoregressive
from taut.priors.base import EncoderPrior, Prior, Space, State
from taut.priors.diffusion import Diffusion
from taut.priors.discrete import AutoregressiveCategorical, Bernoulli, Categorical
from taut.priors.flows import MAF, NSF, RealNVP
from taut.priors.locationscale import Cauchy, Laplace, Logistic
from taut.priors.mixture import Mixture
from taut.priors.normal import ConditionalNormal, StandardNormal
from taut.priors.sphere import UniformSphere
from taut.priors.vamp import Vamp

__all__ = [
    "AR1",
    "MAF",
    "NSF",
    "Autoregressive",
    "AutoregressiveCategorical",
    "Bernoulli",
    "Categorical",
    "Cauchy",
    "ConditionalNormal",
    "Diffusion",
    "EncoderPrior",
    "Laplace",
    "Logistic",
    "Mixture",
    "Prior",
    "RealNVP",
    "Space",
    "StandardNormal",
    "State",
    "UniformSphere",
    "Vamp",
]
