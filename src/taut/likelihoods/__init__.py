"""Likelihoods p(x|z): what an element of x is, and so what the loss is."""

from taut.likelihoods.base import Likelihood
from taut.likelihoods.continuous import ContinuousBernoulli, Gaussian, Laplace
from taut.likelihoods.discrete import Bernoulli, Binomial, Categorical, DiscretisedLogistic
from taut.likelihoods.rule import default_likelihood, require_fit

__all__ = [
    "Bernoulli",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "default_likelihood",
    "require_fit",
]
