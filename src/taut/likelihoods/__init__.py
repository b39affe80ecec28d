"""Likelihoods p(x|z): what an element of x is, and so what the loss is."""

from taut.likelihoods.base import Likelihood
from taut.likelihoods.columns import Columns, LogNormal, Rounded
from taut.likelihoods.continuous import ContinuousBernoulli, Gaussian, Laplace, Student
from taut.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from taut.likelihoods.diffusion import Diffusion
from taut.likelihoods.discrete import (
    Bernoulli,
    BetaBinomial,
    Binomial,
    Categorical,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
)
from taut.likelihoods.pixelcnn import PixelCNN
from taut.likelihoods.rule import default_likelihood, require_fit

__all__ = [
    "Bernoulli",
    "BetaBinomial",
    "Binomial",
    "Categorical",
    "Columns",
    "ContinuousBernoulli",
    "Diffusion",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "LogNormal",
    "NegativeBinomial",
    "PixelCNN",
    "Poisson",
    "Rounded",
    "Student",
    "ZeroInflatedNegativeBinomial",
    "default_likelihood",
    "require_fit",
]
