"""Densities of data that know no deep latents: elements apart, linear factors, mixtures. Any model should be above them.

    independent elements    Π_d p_d(x_d)                          each value's share, counted from one
    Bernoulli mixture       Σ_k π_k Π_d Bernoulli(x_d; μ_kd)      expectation and maximisation in turn
    PCA                     N(b, W Wᵀ + σ² I)                     in closed form (Tipping and Bishop 1999)
    factor analysis         N(b, W Wᵀ + diag ψ)                   expectation and maximisation in turn
    Gaussian mixture        Σ_k π_k N(m_k, Σ_k)                   likewise
    variational mixture     the same, its parameters with a       coordinate ascent on a bound of log p(X) (Attias 2000)
                            prior and a posterior

The last four are scikit-learn's. Of the variational mixture the density of x is shown with its parameters at their posterior
means. Sizes and priors are chosen by the likelihood of validation examples.

The four are densities of real numbers. Of whole numbers x they see y = x + u with u uniform on [0, 1)^D, and

    E_u[ log p(x + u) ] ≤ log ∫ p(x + u) du = log P(x)

so that what they reach is a lower bound of log P(x) in the same nats (Theis, van den Oord and Bethge 2016). They are fitted in
standardised units, and the Jacobian is in what they say.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from taut.data import Support
from taut.evaluation.baselines.bernoulli import BernoulliMixture

__all__ = ["BINARY", "CONTINUOUS", "DISCRETE", "Density", "Fit", "boundless"]

FULL = 100  # elements, above which covariances of mixtures are diagonal
FACTORS = (0, 1, 2, 5, 10, 20, 50, 100)
COMPONENTS = (1, 10, 30, 100)
PRIORS = ((1, 0.3), (1, 0.8), (10, 0.8))
"""Of covariances in the variational mixture: how many examples they count for, a multiple of D, and the share of the data's
covariance that they have for a mean."""

FLAT = 1e-10  # variance in standardised units that is none

_WORDS = {"diag": "diagonal covariances", "full": "full covariances"}

Score = Callable[[np.ndarray], np.ndarray]


class Density(NamedTuple):
    """A fitted density.

    Attributes:
        log_prob: x (N, D) → log p(x), (N,) nats.
        note: what was chosen.
    """

    log_prob: Callable[[Tensor], Tensor]
    note: str = ""


Fit = Callable[[Tensor, Tensor, Support], Density]
"""Training and validation examples, (N, D) in float64, and what values they can have."""


def independent(train: Tensor, valid: Tensor, support: Support) -> Density:
    """Each element apart, every value counted once more than it was seen."""
    levels = support.levels
    counts = torch.stack([(train == level).sum(0) + 1.0 for level in range(levels)]).double()
    log_share = (counts / (len(train) + levels)).log()
    return Density(lambda x: log_share.gather(0, x.long()).sum(1))


def bernoulli_mixture(train: Tensor, valid: Tensor, support: Support) -> Density:
    """A mixture of independent bits."""
    x = train.float()

    def one(components: int) -> Callable[[Tensor], Tensor]:
        mixture = BernoulliMixture.fit(x, components)
        return lambda x: mixture.log_prob(x.float()).double()

    sizes = [size for size in (*COMPONENTS, 300) if size < len(train)]
    return _best(((one(size), f"{size} components") for size in sizes), valid)


def principal(train: Tensor, valid: Tensor, support: Support) -> Density:
    """Probabilistic principal components."""
    from sklearn.decomposition import PCA

    return _factors(lambda q: PCA(q, svd_solver="covariance_eigh"), train, valid)


def factors(train: Tensor, valid: Tensor, support: Support) -> Density:
    """Factor analysis."""
    from sklearn.decomposition import FactorAnalysis

    return _factors(lambda q: FactorAnalysis(q, max_iter=200, random_state=0), train, valid)


def gaussian_mixture(train: Tensor, valid: Tensor, support: Support) -> Density:
    """A mixture of normals, of full covariance where elements are few."""
    from sklearn.mixture import GaussianMixture

    kinds = [("diag", size) for size in COMPONENTS]
    if train.shape[1] <= FULL:
        kinds += [("full", size) for size in (1, 3, 10)]

    def all_of_them(y: np.ndarray) -> Iterator[tuple[Score, str]]:
        for kind, size in kinds:
            if size < len(y):
                mixture = GaussianMixture(size, covariance_type=kind, max_iter=100, random_state=0).fit(y)
                yield mixture.score_samples, f"{size} components, {_WORDS[kind]}"

    return _standardised(all_of_them, train, valid)


def variational_mixture(train: Tensor, valid: Tensor, support: Support) -> Density:
    """The same by coordinate ascent, at the posterior means of its parameters."""
    from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

    kind = "full" if train.shape[1] <= FULL else "diag"

    def all_of_them(y: np.ndarray) -> Iterator[tuple[Score, str]]:
        size = min(30, len(y) - 1)
        spread = np.cov(y.T).reshape(y.shape[1], -1) if kind == "full" else y.var(0)
        for strength, share in PRIORS:
            freedom = strength * y.shape[1]
            fitted = BayesianGaussianMixture(
                n_components=size, covariance_type=kind, max_iter=100, random_state=0,
                degrees_of_freedom_prior=freedom, covariance_prior=freedom * share * spread,
            ).fit(y)  # fmt: skip
            mixture = GaussianMixture(size, covariance_type=kind)
            for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
                setattr(mixture, name, getattr(fitted, name))
            used = int((fitted.weights_ * len(y) > 1).sum())
            yield mixture.score_samples, f"{used} of {size} components used, {_WORDS[kind]}"

    return _standardised(all_of_them, train, valid)


def _factors(model: Callable[[int], Any], train: Tensor, valid: Tensor) -> Density:
    def all_of_them(y: np.ndarray) -> Iterator[tuple[Score, str]]:
        for size in FACTORS:
            if size < min(y.shape):
                yield model(size).fit(y).score_samples, f"{size} factor{'s'[: size != 1]}"

    return _standardised(all_of_them, train, valid)


def _standardised(
    candidates: Callable[[np.ndarray], Iterator[tuple[Score, str]]], train: Tensor, valid: Tensor
) -> Density:
    """The best of what is fitted to standardised examples, as a density of x."""
    from sklearn.exceptions import ConvergenceWarning

    mean, scale = train.mean(0), train.std(0)
    scale = torch.where(scale > 0, scale, 1.0)
    log_volume = scale.log().sum()

    def of_x(score: Score) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.as_tensor(score(((x - mean) / scale).numpy())) - log_volume

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is not at its end is a density all the same
        return _best(((of_x(score), note) for score, note in candidates(((train - mean) / scale).numpy())), valid)


def _best(candidates: Iterable[tuple[Callable[[Tensor], Tensor], str]], valid: Tensor) -> Density:
    """That of the greatest mean over the validation examples."""
    return Density(*max(candidates, key=lambda candidate: float(candidate[0](valid).mean().nan_to_num(-math.inf))))


def boundless(train: Tensor) -> bool:
    """Whether examples (N, D) lie in a plane of fewer dimensions, where a density of real numbers has no limit."""
    mean, scale = train.mean(0), train.std(0)
    if (scale == 0).any():
        return True
    y = (train - mean) / scale
    return len(y) > y.shape[1] and float(torch.linalg.eigvalsh(y.T @ y / len(y))[0]) < FLAT


DISCRETE: dict[str, Fit] = {"independent elements": independent}
BINARY: dict[str, Fit] = {"Bernoulli mixture, EM": bernoulli_mixture}
CONTINUOUS: dict[str, Fit] = {
    "PCA": principal,
    "factor analysis": factors,
    "Gaussian mixture, EM": gaussian_mixture,
    "variational Gaussian mixture": variational_mixture,
}
