"""Densities of real numbers, in the data's own units: the Jacobian of standardising is part of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch import distributions as td
from torch.nn.functional import softplus

from taut.data import Statistics, Support
from taut.errors import InputError
from taut.likelihoods.base import Likelihood

__all__ = ["ContinuousBernoulli", "Gaussian", "Laplace"]


@dataclass(frozen=True)
class _LocationScale(Likelihood):
    continuous: ClassVar[bool] = True

    spread: Literal["learned", "shared", "constant"] = "learned"
    scale: float = 1.0
    floor: float = 0.01

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("floor", self.floor)):
            if not 0 < value < math.inf:
                raise InputError(name, f"is {value:g}", "give a number above 0")

    @property
    def shared(self) -> int:
        return int(self.spread == "shared")

    def fits(self, support: Support) -> bool:
        return True

    def outputs(self, support: Support) -> int:
        return 2 if self.spread == "learned" else 1

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return torch.zeros(self.outputs(support), *statistics.mean.shape)

    def units(self, support: Support, statistics: Statistics) -> tuple[Tensor, Tensor]:
        return statistics.mean, statistics.std

    def _scale(self, params: Tensor, shared: Tensor) -> Tensor:
        """The scale of each element, smoothly kept above the floor; without a floor a density has no upper bound."""
        if self.spread == "constant":
            return torch.full_like(params[:, 0], self.scale)
        raw = params[:, 1] if self.spread == "learned" else shared[0].expand_as(params[:, 0])
        least = math.log(self.floor)
        return (least + softplus(raw - least)).exp()


@dataclass(frozen=True)
class Gaussian(_LocationScale):
    """N(μ, σ²) for each element; with a constant σ the loss is the squared error over 2σ², plus its constant.

    Args:
        spread: whether σ is learned for each element and example, one number shared by all, or constant.
        scale: the constant σ, in units of the data's standard deviation.
        floor: the smallest learned σ, in the same units.
    """

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return td.Normal(params[:, 0], self._scale(params, shared), validate_args=False)


@dataclass(frozen=True)
class Laplace(_LocationScale):
    """Laplace(μ, b) for each element; with a constant b the loss is the absolute error over b, plus its constant.

    Args:
        spread: whether b is learned for each element and example, one number shared by all, or constant.
        scale: the constant b, in units of the data's standard deviation.
        floor: the smallest learned b, in the same units.
    """

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return td.Laplace(params[:, 0], self._scale(params, shared), validate_args=False)


@dataclass(frozen=True)
class ContinuousBernoulli(Likelihood):
    """The density on [0, 1] proportional to λ^x (1−λ)^(1−x), with its normaliser (Loaiza-Ganem and Cunningham 2019)."""

    continuous: ClassVar[bool] = True

    def fits(self, support: Support) -> bool:
        return support.kind in ("unit", "integers", "binary")

    def outputs(self, support: Support) -> int:
        return 1

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return _ContinuousBernoulli(params[:, 0])

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        mean = statistics.mean + 0.5 if support.discrete else statistics.mean  # of the dequantised values
        mean = (mean / (support.levels or 1)).clamp(0.01, 0.99)
        low, high = torch.full_like(mean, -128.0), torch.full_like(mean, 128.0)
        for _ in range(40):  # the mean rises with the logit, and has no inverse in closed form
            middle = (low + high) / 2
            less = _ContinuousBernoulli(middle).mean < mean
            low, high = torch.where(less, middle, low), torch.where(less, high, middle)
        return middle.unsqueeze(0)

    def units(self, support: Support, statistics: Statistics) -> tuple[Tensor, Tensor]:
        return torch.zeros(()), torch.tensor(float(support.levels or 1))


class _ContinuousBernoulli(td.Distribution):
    """By its logit η: log p(x) = x η − log ∫ e^{tη} dt, where log ∫₀¹ e^{tη} dt = |η|/2 + log( sinh(η/2)/(η/2) )-like.

    torch's version goes through probabilities and loses float32 accuracy for |η| > 15; this one does not.
    """

    arg_constraints: ClassVar[dict] = {}  # nothing is checked here: the heads see to it

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=False)

    def _log_normaliser(self) -> Tensor:
        """log( (e^η − 1)/η ) = max(η, 0) + log( (1 − e^{−|η|}) / |η| ), and η/2 + η²/24 near zero."""
        near = self.logits.abs() < 1e-2
        safe = torch.where(near, 1.0, self.logits)
        far_value = safe.clamp_min(0) + torch.log(-torch.expm1(-safe.abs())) - safe.abs().log()
        return torch.where(near, self.logits / 2 + self.logits.square() / 24, far_value)

    def log_prob(self, value: Tensor) -> Tensor:
        return value * self.logits - self._log_normaliser()

    @property
    def mean(self) -> Tensor:
        """1/(1 − e^{−η}) − 1/η, and ½ + η/12 near zero."""
        near = self.logits.abs() < 1e-1
        safe = torch.where(near, 1.0, self.logits)
        far_value = -1 / torch.expm1(-safe) - 1 / safe
        return torch.where(near, 0.5 + self.logits / 12 - self.logits**3 / 720, far_value)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """By inversion: x = log( 1 + u (e^η − 1) ) / η."""
        shape = (*sample_shape, *self.logits.shape)
        u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        size = self.logits.abs()
        near = size < 1e-3
        safe = torch.where(near, 1.0, size)
        # for |η|, measured from the likelier end, so that no exponential overflows
        far_value = 1 + torch.log(u + (1 - u) * torch.exp(-safe)) / safe
        x = torch.where(near, u, far_value)
        return torch.where(self.logits >= 0, x, 1 - x).clamp(0, 1)
