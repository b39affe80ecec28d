"""Densities of real numbers, in the data's own units: the Jacobian of standardising is part of each."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch import distributions as td

from taut.data import Statistics, Support
from taut.distributions import Affine, Factorised, fold
from taut.errors import InputError
from taut.likelihoods.base import LARGEST, Head, Likelihood, bounded

__all__ = ["ContinuousBernoulli", "Gaussian", "Laplace", "Student"]


@dataclass(frozen=True)
class _LocationScale(Likelihood):
    continuous: ClassVar[bool] = True
    order: ClassVar[int]
    """The best shared scale is s* = ( mean |x − μ|^order )^{1/order}."""

    spread: Literal["learned", "shared", "optimal", "constant"] = "learned"
    scale: float = 1.0
    floor: float = 0.01

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("floor", self.floor)):
            if not 0 < value < math.inf:
                raise InputError(name, f"is {value:g}", "give a number above 0")

    @property
    def shared(self) -> int:
        return int(self.spread == "shared")

    def in_words(self, support: Support) -> str:
        return f"{super().in_words(support)}, standardised"

    def fits(self, support: Support) -> bool:
        return True

    def outputs(self, support: Support) -> int:
        return 2 if self.spread == "learned" else 1

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return torch.zeros(self.outputs(support), *statistics.mean.shape)

    def units(self, support: Support, statistics: Statistics) -> tuple[Tensor, Tensor]:
        return statistics.mean, statistics.std

    def build(self, shape: tuple[int, ...], support: Support, statistics: Statistics) -> nn.Module:
        kind = _CalibratedHead if self.spread == "optimal" else Head
        return kind(self, support, statistics)

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        """The scale of each element, smoothly kept above the floor; without a floor a density has no upper bound."""
        location, *raw = params.unbind(1)
        if self.spread == "constant":
            return self.about(location, torch.full_like(location, self.scale))
        raw = raw[0] if self.spread == "learned" else shared[0].expand_as(location)
        return self.about(location, bounded(raw, math.log(self.floor), LARGEST).exp())

    @abstractmethod
    def about(self, location: Tensor, scale: Tensor) -> td.Distribution:
        """The density of such a location and scale, both (N, *shape)."""


class _CalibratedHead(Head):
    """A head whose one scale is not learned by gradient but known: the maximum-likelihood one, given the means.

    For residuals r in standardised units the best scale shared by all elements is s* = (mean |r|^o)^{1/o}: the root
    mean square for the Gaussian, o = 2, the mean absolute residual for Laplace, o = 1. While training it is that of the
    batch, over all examples, samples and observed elements. As d log p/ds = 0 there, the gradient of the distortion is
    the same whether or not s* is differentiated; it is not.

    A scale that looks at x is no part of a model of x, so in evaluation it is a constant: from a running mean of |r|^o
    over the last hundred or so training batches, kept with the weights and never touched by what is evaluated.
    """

    MEMORY = 100  # batches

    spec: _LocationScale
    moment: Tensor
    batches: Tensor

    def __init__(self, spec: _LocationScale, support: Support, statistics: Statistics) -> None:
        super().__init__(spec, support, statistics)
        self.register_buffer("moment", torch.ones(()))  # mean |r|^o
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def density(self, location: Tensor, moment: Tensor) -> Affine:
        scale = moment.pow(1 / self.spec.order).clamp_min(self.spec.floor)
        return Affine(self.spec.about(location, scale.expand_as(location)), self.shift, self.scale)

    def forward(self, out: Tensor) -> Factorised:
        (location,) = self.params(out).unbind(1)
        density = self.density(location, self.moment)
        return _Calibrating(density, location, self) if self.training else Factorised(density)

    @torch.no_grad()
    def observe(self, location: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """The moment of the observed elements of a training batch, taken into the running mean."""
        error = ((value - self.shift) / self.scale - location).abs().pow(self.spec.order)
        moment = error.mean() if mask is None else torch.where(mask, error, 0.0).sum() / mask.sum().clamp_min(1)
        self.batches += 1
        self.moment.lerp_(moment.to(self.moment.dtype), 1 / self.batches.clamp(max=self.MEMORY).to(self.moment.dtype))
        return moment


class _Calibrating(Factorised):
    """A density whose scale is that which fits best the values it is asked for: only for training."""

    def __init__(self, base: Affine, location: Tensor, head: _CalibratedHead) -> None:
        super().__init__(base)
        self.location, self.head = location, head

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        samples = self.batch_shape[0] // len(value)
        value, mask = fold(value, samples), None if mask is None else fold(mask, samples)
        moment = self.head.observe(self.location, value, mask)
        return Factorised(self.head.density(self.location, moment)).log_prob(value, mask)


@dataclass(frozen=True)
class Gaussian(_LocationScale):
    """N(μ, σ²) for each element; with a constant σ the loss is the squared error over 2σ², plus its constant.

    ``spread="optimal"`` is the σ-VAE of Rybkin, Daniilidis and Levine (2021): one σ for all elements, while training
    analytically the best for the batch, σ² = mean (x − μ)², so the loss is D/2 log σ² plus a constant. In evaluation σ
    is fixed at its running mean over training batches, as a bound must not fit σ to the data that it is a bound of; so
    the training loss is a little better than the bound on the same examples.

    Args:
        spread: whether σ is learned for each element and example; one number shared by all, by gradient or, optimal, in
            closed form; or constant.
        scale: the constant σ, in units of the data's standard deviation.
        floor: the smallest σ that is not constant, in the same units.
    """

    order: ClassVar[int] = 2

    def about(self, location: Tensor, scale: Tensor) -> td.Distribution:
        return td.Normal(location, scale, validate_args=False)


@dataclass(frozen=True)
class Laplace(_LocationScale):
    """Laplace(μ, b) for each element; with a constant b the loss is the absolute error over b, plus its constant.

    Args:
        spread: whether b is learned for each element and example; one number shared by all, by gradient or, optimal, in
            closed form as for ``Gaussian``, b = mean |x − μ|; or constant.
        scale: the constant b, in units of the data's standard deviation.
        floor: the smallest b that is not constant, in the same units.
    """

    order: ClassVar[int] = 1

    def about(self, location: Tensor, scale: Tensor) -> td.Distribution:
        return td.Laplace(location, scale, validate_args=False)


@dataclass(frozen=True)
class Student(_LocationScale):
    """Student's t with ν degrees of freedom about μ, for each element: single cells far out cost log x and not x².

    Args:
        spread: whether the scale is learned for each element and example, one number shared by all, or constant.
        scale: the constant scale, in units of the data's standard deviation.
        floor: the smallest scale that is not constant, in the same units.
        freedom: ν, above 2, so that it has a variance; ∞ is the Gaussian.
    """

    order: ClassVar[int] = 2

    freedom: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 < self.freedom < math.inf:
            raise InputError("freedom", f"is {self.freedom:g}", "give a number above 2")
        if self.spread == "optimal":
            raise InputError("spread", "is optimal, and the best scale of Student's t has no closed form", "say shared")

    def about(self, location: Tensor, scale: Tensor) -> td.Distribution:
        return td.StudentT(self.freedom, location, scale, validate_args=False)


@dataclass(frozen=True)
class ContinuousBernoulli(Likelihood):
    """The density on [0, 1] proportional to λ^x (1−λ)^(1−x), with its normaliser (Loaiza-Ganem and Cunningham 2019)."""

    continuous: ClassVar[bool] = True

    def fits(self, support: Support) -> bool:
        return support.kind in ("unit", "integers", "binary")

    def outputs(self, support: Support) -> int:
        return 1

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return _ContinuousBernoulli(*params.unbind(1))

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

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

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
