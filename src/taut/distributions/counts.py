"""Probabilities of counts, exact where sums of log-gammas cancel: large counts, and near the limits.

A gamma-distributed rate makes a Poisson count negative binomial, a beta-distributed chance makes a binomial one
beta-binomial. Each is its limit with a correction, and all corrections are of one function,

    R(a, k) = Σ_{j<k} log(1 + j/a) = log Γ(a + k) − log Γ(a) − k log a        k = 0, 1, 2, …

    log NB(k; μ, θ)      = k log μ − log k! − (θ + k) log(1 + μ/θ) + R(θ, k)                        → Poisson, θ → ∞
    log BB(k; n, p, ν)   = log C(n, k) p^k q^{n−k} + R(νp, k) + R(νq, n − k) − R(ν, n),   q = 1 − p   → binomial, ν → ∞

Differences of large numbers are taken in float64 (float32 on a device that has none) and come out in the type of the
parameters: in float32 log C(65 535, k) alone would be wrong by 0.03 nats.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, lgamma
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid, softplus

from taut.distributions.precision import wide

__all__ = ["BetaBinomial", "Binomial", "NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial", "log_rise"]

LIMIT = 60.0  # log a beyond which R(a, k) is below any rounding, for every k that float32 can tell from k + 1
STIRLING = 16.0  # a from which four terms of Stirling's series are exact to 1e-14


def log_rise(log_a: Tensor, k: Tensor) -> Tensor:
    """R(a, k) = Σ_{j<k} log(1 + j/a), stable from a → 0 to a → ∞, where it is 0.

    For a < 16 it is log Γ(a + k) − log Γ(1 + a) + (1 − k) log a, in which nothing is infinite at a = 0. Above, by
    Stirling's series s(a) = 1/12a − 1/360a³ + …, it is (a + k − ½) log(1 + k/a) − k + s(a + k) − s(a), in which nothing
    large is left.

    Args:
        log_a: log a, any shape.
        k: whole numbers ≥ 0, broadcasts against it.

    >>> log_rise(torch.tensor(2.0).double().log(), torch.tensor(3.0)).exp()  # (1 + 0/2)(1 + 1/2)(1 + 2/2)
    tensor(3.0000, dtype=torch.float64)
    """
    log_a = log_a.clamp(max=LIMIT)
    a = log_a.exp()
    near, far, at_least_one = a.clamp(max=STIRLING), a.clamp_min(STIRLING), k.clamp_min(1.0)
    direct = lgamma(near + at_least_one) - lgamma(1 + near) + (1 - at_least_one) * log_a.clamp(max=math.log(STIRLING))
    series = (far + k - 0.5) * torch.log1p(k / far) - k + _stirling(far + k) - _stirling(far)
    return torch.where(a < STIRLING, direct, series)


def _stirling(a: Tensor) -> Tensor:
    """log Γ(a) − (a − ½) log a + a − ½ log 2π."""
    inverse = 1 / a
    square = inverse.square()
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))


@lru_cache(maxsize=8)
def _log_choose(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """log( n! / k! (n − k)! ) for k = 0 … n, (n + 1,): a table is five times as fast as its log-gammas."""
    with torch.inference_mode(False):
        k = torch.arange(n + 1, dtype=torch.float64)
        return (math.lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)).to(device, dtype)


def _log_ways(log_theta: Tensor, k: Tensor) -> Tensor:
    """log Γ(θ + k)/( Γ(θ) k! ), which is 0 where k is and is found elsewhere alone: most counts of most genes are 0."""
    log_theta, k = torch.broadcast_tensors(log_theta, k)
    some = k != 0
    counted = k[some]
    return torch.zeros_like(log_theta).masked_scatter(some, log_rise(log_theta[some], counted) - lgamma(counted + 1))


def _draw_log_gamma(log_a: Tensor) -> Tensor:
    """log g for g ~ Gamma(a, 1): the logarithm of Gamma(a + 1) times U^{1/a}, which does not underflow for small a."""
    a = log_a.clamp(-80, LIMIT).exp()
    uniform = torch.rand_like(a).clamp_min(torch.finfo(a.dtype).tiny)
    return torch._standard_gamma(a + 1).log() + uniform.log() / a


def _draw_poisson(rate: Tensor) -> Tensor:
    """torch's, and from 2²⁴ on, where torch counts in integers that may overflow, its normal limit."""
    normal = (rate + rate.sqrt() * torch.randn_like(rate)).round()
    return torch.where(rate < 2**24, torch.poisson(rate.clamp(max=2**24)), normal)


class _Counts(Distribution):
    """An elementwise probability of whole numbers whose parameters have one shape and type."""

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    def __init__(self, like: Tensor) -> None:
        self._dtype = like.dtype
        super().__init__(like.shape, validate_args=False)

    def _log_prob(self, k: Tensor) -> Tensor:
        """log P(x = k), in the wide type."""
        raise NotImplementedError

    def _draw(self, shape: torch.Size) -> Tensor:
        raise NotImplementedError

    def log_prob(self, value: Tensor) -> Tensor:
        return self._log_prob(wide(value)).to(self._dtype)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self._draw(torch.Size((*sample_shape, *self.batch_shape))).to(self._dtype)


class Poisson(_Counts):
    """P(x = k) = μ^k e^{−μ} / k!, elementwise; mean and variance μ.

    Args:
        log_mean: log μ, any shape; a known log-scale, such as that of a library's size, is added to it.

    >>> round(Poisson(torch.tensor(0.0)).log_prob(torch.tensor(2.0)).exp().item(), 4)  # 1/(2e)
    0.1839
    """

    def __init__(self, log_mean: Tensor) -> None:
        self.log_mean = log_mean
        super().__init__(log_mean)

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    def scaled(self, offset: Tensor) -> Poisson:
        """The same with a known log-scale added to the log-mean."""
        return Poisson(self.log_mean + offset)

    def _log_prob(self, k: Tensor) -> Tensor:
        log_mean = wide(self.log_mean)
        return k * log_mean - log_mean.exp() - lgamma(k + 1)

    def _draw(self, shape: torch.Size) -> Tensor:
        return _draw_poisson(wide(self.log_mean).exp().expand(shape))


class NegativeBinomial(_Counts):
    """A Poisson count whose rate is Gamma(θ)-distributed about μ, elementwise; mean μ, variance μ + μ²/θ.

        P(x = k) = Γ(θ + k) / ( Γ(θ) k! ) · ( θ/(θ + μ) )^θ · ( μ/(θ + μ) )^k

    Args:
        log_mean: log μ, any shape; a known log-scale is added to it.
        log_theta: log θ, the same shape. 1/θ is the dispersion: θ → ∞ is the Poisson distribution.

    >>> d = NegativeBinomial(torch.tensor(0.0), torch.tensor(0.0))  # geometric, with chance ½
    >>> d.log_prob(torch.arange(4.0)).exp()
    tensor([0.5000, 0.2500, 0.1250, 0.0625])
    """

    log_mean: Tensor
    log_theta: Tensor

    def __init__(self, log_mean: Tensor, log_theta: Tensor) -> None:
        self.log_mean, self.log_theta = log_mean, log_theta
        super().__init__(log_mean)

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    def scaled(self, offset: Tensor) -> NegativeBinomial:
        """The same with a known log-scale added to the log-mean."""
        return NegativeBinomial(self.log_mean + offset, self.log_theta)

    def _log_prob(self, k: Tensor) -> Tensor:
        log_mean, log_theta = wide(self.log_mean), wide(self.log_theta).clamp(max=LIMIT)
        ratio = softplus(log_mean - log_theta)  # log(1 + μ/θ)
        return k * log_mean - (log_theta.exp() + k) * ratio + _log_ways(log_theta, k)

    def _draw(self, shape: torch.Size) -> Tensor:
        log_theta = wide(self.log_theta).clamp(max=LIMIT).expand(shape)
        return _draw_poisson((wide(self.log_mean) - log_theta + _draw_log_gamma(log_theta)).exp())


class ZeroInflatedNegativeBinomial(_Counts):
    """Zero with chance π, else negative binomial, elementwise; mean (1 − π) μ.

        P(x = k) = π [k = 0] + (1 − π) NB(k; μ, θ)

    Args:
        log_mean: log μ of the counts that are not dropped, any shape; a known log-scale is added to it.
        log_theta: log θ, the same shape.
        logits: the log-odds of π, the same shape.

    >>> zero = torch.tensor(0.0)
    >>> ZeroInflatedNegativeBinomial(zero, zero, zero).log_prob(torch.arange(3.0)).exp()
    tensor([0.7500, 0.1250, 0.0625])
    """

    counts: NegativeBinomial
    logits: Tensor

    def __init__(self, log_mean: Tensor, log_theta: Tensor, logits: Tensor) -> None:
        self.counts, self.logits = NegativeBinomial(log_mean, log_theta), logits
        super().__init__(log_mean)

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(-self.logits) * self.counts.mean

    def scaled(self, offset: Tensor) -> ZeroInflatedNegativeBinomial:
        """The same with a known log-scale added to the log-mean."""
        return ZeroInflatedNegativeBinomial(self.counts.log_mean + offset, self.counts.log_theta, self.logits)

    def _log_prob(self, k: Tensor) -> Tensor:
        logits = wide(self.logits)
        counted = logsigmoid(-logits) + self.counts._log_prob(k)
        return torch.where(k == 0, torch.logaddexp(logsigmoid(logits), counted), counted)

    def _draw(self, shape: torch.Size) -> Tensor:
        dropped = torch.rand(shape, device=self.logits.device) < torch.sigmoid(self.logits)
        return self.counts._draw(shape).masked_fill(dropped, 0.0)


class Binomial(_Counts):
    """P(x = k) = C(n, k) p^k (1 − p)^{n−k}, elementwise; mean np.

    Args:
        trials: n ≥ 1.
        logits: the log-odds of p, any shape.

    >>> Binomial(3, torch.tensor(0.0)).log_prob(torch.arange(4.0)).exp()
    tensor([0.1250, 0.3750, 0.3750, 0.1250])
    """

    trials: int
    logits: Tensor

    def __init__(self, trials: int, logits: Tensor) -> None:
        self.trials, self.logits = trials, logits
        super().__init__(logits)

    @property
    def mean(self) -> Tensor:
        return self.trials * torch.sigmoid(self.logits)

    def _log_prob(self, k: Tensor) -> Tensor:
        logits, n = wide(self.logits), self.trials
        choose = _log_choose(n, k.dtype, k.device)[k.long()]
        return choose + k * logsigmoid(logits) + (n - k) * logsigmoid(-logits)

    def level_log_probs(self) -> Tensor:
        """log P(x = k) of k = 0 … n, (..., n + 1)."""
        levels = torch.arange(self.trials + 1.0, device=self.logits.device)
        return Binomial(self.trials, self.logits.unsqueeze(-1)).log_prob(levels)

    def _draw(self, shape: torch.Size) -> Tensor:
        chance = torch.sigmoid(self.logits).expand(shape)
        return torch.binomial(torch.full_like(chance, self.trials), chance)


class BetaBinomial(_Counts):
    """A binomial count whose chance is Beta(νp, ν(1 − p))-distributed about p, elementwise; mean np.

        P(x = k) = C(n, k) · B(νp + k, ν(1 − p) + n − k) / B(νp, ν(1 − p))

    Its variance is np(1 − p)(1 + (n − 1)/(1 + ν)): ν → ∞ is the binomial distribution, ν → 0 has only 0 and n.

    Args:
        trials: n ≥ 1.
        logits: the log-odds of p, any shape.
        log_concentration: log ν, the same shape.

    >>> d = BetaBinomial(3, torch.tensor(0.0), torch.tensor(2.0).log())  # Beta(1, 1): all equally likely
    >>> d.log_prob(torch.arange(4.0)).exp()
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    binomial: Binomial
    log_concentration: Tensor

    def __init__(self, trials: int, logits: Tensor, log_concentration: Tensor) -> None:
        self.binomial, self.log_concentration = Binomial(trials, logits), log_concentration
        super().__init__(logits)

    @property
    def mean(self) -> Tensor:
        return self.binomial.mean

    def _beta(self) -> tuple[Tensor, Tensor, Tensor]:
        """log νp, log ν(1 − p), log ν."""
        logits, log_nu = wide(self.binomial.logits), wide(self.log_concentration)
        return logsigmoid(logits) + log_nu, logsigmoid(-logits) + log_nu, log_nu

    def _log_prob(self, k: Tensor) -> Tensor:
        up, down, both = self._beta()
        n = self.binomial.trials
        rises = log_rise(up, k) + log_rise(down, n - k) - log_rise(both, torch.full_like(k, n))
        return self.binomial._log_prob(k) + rises

    def level_log_probs(self) -> Tensor:
        """log P(x = k) of k = 0 … n, (..., n + 1), by the ratio of neighbours, which has no gamma functions:

        P(k + 1)/P(k) = (n − k)/(k + 1) · (νp + k)/(ν(1 − p) + n − 1 − k)
        """
        up, down, _ = (part.unsqueeze(-1) for part in self._beta())
        n = self.binomial.trials
        k = torch.arange(1, n, device=up.device, dtype=up.dtype)
        # log(a + k) for k = 0 … n − 1, exact where a underflows
        rise, fall = (torch.cat([a, (a.clamp(max=LIMIT).exp() + k).log()], -1) for a in (up, down))
        choose = _log_choose(n, up.dtype, up.device)
        ratios = choose.diff() + rise - fall.flip(-1)
        steps = torch.cat([torch.zeros_like(up), ratios.cumsum(-1)], -1)
        return steps.log_softmax(-1).to(self._dtype)

    def _draw(self, shape: torch.Size) -> Tensor:
        up, down, _ = self._beta()
        logits = _draw_log_gamma(up.expand(shape)) - _draw_log_gamma(down.expand(shape))
        return Binomial(self.binomial.trials, logits)._draw(shape)
