"""Diffusion models: a density as the limit of infinitely many layers, each a little less noisy (Kingma, Salimans, Poole
and Ho 2021, "Variational diffusion models").

**Noise.** y is x in units in which it is about one wide. At time t from 0 to 1, with γ(t) rising, the logarithm of the
noise-to-signal ratio,

    z_t = α_t y + σ_t ε,   ε ~ N(0, I),    σ_t² = sigmoid(γ_t),   α_t² = 1 − σ_t²

The model goes the other way: z_1 ~ N(0, I), then for s < t, with c = 1 − exp(γ_s − γ_t) and ŷ what a network makes of
z_t,

    p(z_s | z_t) = q(z_s | z_t, y = ŷ) = N( e^{γ_s − γ_t} (α_s/α_t) z_t + c α_s ŷ,  c σ_s² I )          (ancestral)

and p(x | z_0) at last. The network does not give ŷ, but the velocity v̂, which is of one size at all times (Salimans
and Ho 2022):

    v = α_t ε − σ_t y,    ŷ = α_t z_t − σ_t v̂,    ε̂ = σ_t z_t + α_t v̂,    ε − ε̂ = α_t (v − v̂)

Where v̂ = 0 the model is N(0, I) itself, whatever γ is: so it starts.

**The bound.** log p(x) ≥ E[ log p(x|z_0) ] − KL( q(z_1|y) ‖ N(0, I) ) − L, in nats, with

    L_T = Σ_i ½ (exp(γ_{t_i} − γ_{s_i}) − 1) E ‖ε − ε̂‖²,   t_i = i/T,  s_i = (i − 1)/T                  T steps
    L_∞ = ½ ∫₀¹ γ'(t) E ‖ε − ε̂‖² dt  =  ½ ∫ E ‖ε − ε̂‖² dγ                                         the limit

Every term is kept. That of z_1 has a closed form; L is estimated by times and ε drawn anew at each call, so that
``log_prob`` is a random number whose mean is the bound: it says of itself that it is *noisy*. L_∞ is the same for all γ
of equal ends: in between, γ decides but how noisy the estimate is, and a learned one is moved to make its variance
small, by the gradient of ½ E[L²] in place of that of E[L].

**Times.** The i-th of N rows has t_i = u + i/N mod 1 with one u ~ U[0, 1): each by itself is uniform, together they
leave no gaps. Draws of one example come N rows apart, so theirs leave none either. Errors of a mean over rows, as they
are told, take rows to be independent, and so are a little too large.

**The end.** For real numbers p(y|z_0) = N(α_0 z_0, σ_0² I), what is exact for y ~ N(0, I); its mean over ε has a closed
form,

    E[ log p(x|z_0) ] = −½ Σ ( log 2π + log σ_0² + σ_0² y² + α_0² ) − Σ log b,     x = a + b y

For levels it is a probability, P(x|z_0) ∝ N(z_0; α_0 y(x), σ_0²), normalised over all levels, elementwise. With ρ = b
σ_0/α_0, the noise in steps between levels, and z_0 the one of x and ε,

    log P(x|z_0) = −log Σ_j exp( j ε/ρ − ½ j²/ρ² ),     j from −x to L − 1 − x

of which all but |j| ≤ 30 ρ vanish in double precision.

**Without noise.** With z_s = α_s ŷ + σ_s ε̂ in place of a draw (DDIM: Song, Meng and Ermon 2021), fewer steps do, and
equal z_1 come to equal x. It is not the model that the bound is of, but one with the same z_t at each time, where the
network is right.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from taut.distributions.draws import fold
from taut.distributions.tempered import log_temperature, tempered
from taut.errors import InputError

__all__ = ["Diffusion", "Levels", "NoiseCourse", "Reals", "Sampling"]

_LOG_2PI = math.log(2 * math.pi)
_WINDOW = 30.0  # levels further off than so many widths of the noise have no weight
_ROWS = 4096  # that go through the network together, where all steps are asked for


@dataclass(frozen=True)
class Sampling:
    """How a diffusion model is drawn from.

    Args:
        way: ``ancestral``, a draw at each step, as the bound has it; or ``ddim``, none after the first, so that fewer
            steps do.
        steps: how many.
    """

    way: Literal["ancestral", "ddim"] = "ancestral"
    steps: int = 100

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError("steps", f"is {self.steps}", "give 1 or more")


class NoiseCourse(Protocol):
    """γ(t) = γ_0 + (γ_1 − γ_0) u(t), u rising from 0 to 1."""

    @property
    def ends(self) -> Tensor:
        """γ_0 and γ_1, (2,)."""
        ...

    def between(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """u(t) and u'(t), of the shape of t."""
        ...


@dataclass(frozen=True)
class Reals:
    """The end of a diffusion model of real numbers, x = a + b y.

    Args:
        shift: a, broadcasts against x.
        scale: b > 0, likewise.
    """

    shift: Tensor
    scale: Tensor

    def spell(self, x: Tensor) -> Tensor:
        """y of x (M, *event)."""
        return (x - self.shift) / self.scale

    def expected(self, x: Tensor, gamma: Tensor, noise: Tensor) -> Tensor:
        """E[ log p(x|z_0) ] over all noise, (M,) nats, for γ_0 of shape ()."""
        terms = _LOG_2PI + logsigmoid(gamma) + gamma.sigmoid() * self.spell(x).square() + (-gamma).sigmoid()
        return -(0.5 * terms + self.scale.log().expand_as(x)).flatten(1).sum(1)

    def read(self, z: Tensor, gamma: Tensor, draw: bool) -> Tensor:
        """x of z_0 (M, *event): a draw, or the most probable."""
        y = (-gamma).sigmoid().sqrt() * z
        if draw:
            y = y + gamma.sigmoid().sqrt() * torch.randn_like(z)
        return self.shift + self.scale * y


@dataclass(frozen=True)
class Levels:
    """The end of a diffusion model of whole numbers from 0 to L − 1, x = a + b y.

    Args:
        shift: a, broadcasts against x.
        scale: b > 0, one for all elements, ().
        count: L.

    >>> end, gamma = Levels(torch.tensor(1.0), torch.tensor(1.0), 3), torch.tensor(-1.0)
    >>> end.log_probs(torch.zeros(1, 1), gamma).exp()                             # z_0 = 0 is the level in the middle
    tensor([[[0.1697, 0.6606, 0.1697]]])
    """

    shift: Tensor
    scale: Tensor
    count: int

    def spell(self, x: Tensor) -> Tensor:
        """y of x (M, *event)."""
        return (x - self.shift) / self.scale

    def expected(self, x: Tensor, gamma: Tensor, noise: Tensor) -> Tensor:
        """log P(x|z_0) for the z_0 of x and of noise ε, both (M, *event): (M,) nats."""
        width = self.scale * (gamma / 2).exp()
        jumps = self._window(width, x)
        terms = (noise.unsqueeze(-1) - 0.5 * jumps / width) * (jumps / width)
        there = x.unsqueeze(-1) + jumps
        terms = torch.where((there >= 0) & (there <= self.count - 1), terms, -math.inf)
        return -terms.logsumexp(-1).flatten(1).sum(1)

    def read(self, z: Tensor, gamma: Tensor, draw: bool) -> Tensor:
        """x of z_0 (M, *event): a draw, or the most probable."""
        place = self.shift + self.scale * z / (-gamma).sigmoid().sqrt()  # in steps between levels
        nearest = place.round().clamp(0, self.count - 1)
        if not draw:
            return nearest
        width = self.scale * (gamma / 2).exp()
        levels = nearest.unsqueeze(-1) + self._window(width, z)
        logits = -0.5 * ((place.unsqueeze(-1) - levels) / width).square()
        logits = torch.where((levels >= 0) & (levels <= self.count - 1), logits, -math.inf)
        chosen = (logits - torch.empty_like(logits).exponential_().log()).argmax(-1, keepdim=True)
        return levels.gather(-1, chosen).squeeze(-1)

    def log_probs(self, z: Tensor, gamma: Tensor) -> Tensor:
        """log P(x_d = l | z_0) of every level, (M, *event, L) nats."""
        place = self.shift + self.scale * z / (-gamma).sigmoid().sqrt()
        levels = torch.arange(self.count, dtype=z.dtype, device=z.device)
        return (-0.5 * ((place.unsqueeze(-1) - levels) / (self.scale * (gamma / 2).exp())).square()).log_softmax(-1)

    def _window(self, width: Tensor, like: Tensor) -> Tensor:
        """How far off levels are that can have any weight, (2J + 1,)."""
        reach = min(self.count - 1, math.ceil(_WINDOW * float(width.detach())))
        return torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)


class Diffusion(Distribution):
    """The density of N rows at the end of a diffusion, its ``log_prob`` a random number whose mean is a lower bound.

    Args:
        velocity: z_t (R·N, *event) and γ_t (R·N,) → v̂, of the shape of z_t; the row r·N + n is under the n-th
            condition.
        course: γ(t).
        end: what x is, given z_0.
        event: shape of one x.
        like: a tensor of N rows whose device and precision samples have.
        draws: times and noises that each row's estimate is the mean of.
        steps: T; ``None`` for the limit of infinitely many.
        sampling: how draws of x are made.

    >>> from taut.networks import Noise
    >>> seed = torch.manual_seed(0)
    >>> course, end = Noise(gamma=(-10.0, 6.0)).build(), Reals(torch.zeros(()), torch.ones(()))
    >>> nothing = lambda z, gamma: torch.zeros_like(z)                           # the network of N(0, I)
    >>> p = Diffusion(nothing, course, end, (2,), torch.zeros(4000, 1), draws=20)
    >>> p.log_prob(torch.ones(4000, 2)).mean()                                   # −log 2π − 1 = −2.8379
    tensor(-2.8157)
    """

    exactness = "noisy"

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the parts see to it

    velocity: Callable[[Tensor, Tensor], Tensor]
    course: NoiseCourse
    end: Reals | Levels
    like: Tensor
    draws: int
    steps: int | None
    sampling: Sampling
    temperature: float

    def __init__(
        self,
        velocity: Callable[[Tensor, Tensor], Tensor],
        course: NoiseCourse,
        end: Reals | Levels,
        event: tuple[int, ...],
        like: Tensor,
        draws: int = 1,
        steps: int | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        self.velocity, self.course, self.end, self.like = velocity, course, end, like
        self.draws, self.steps, self.sampling, self.temperature = draws, steps, sampling or Sampling(), 1.0
        super().__init__(like.shape[:1], torch.Size(event), validate_args=False)

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """An estimate of the bound of log p(x), (..., N) nats, another one at each call.

        Args:
            value: x, (..., N, *event), or (B, *event) where the N rows are K for each of B examples, sample-major.
            mask: must be left open: that of some elements alone would be an integral over all values of the others.
        """
        if mask is not None:
            why = "has missing cells, and in a diffusion likelihood the noise of each is told from all the others"
            raise InputError("data", why, "fill them in, or choose a likelihood of independent elements")
        if value.dim() == 1 + len(self.event_shape):
            value = fold(value, self.batch_shape[0] // len(value))
        x = value.reshape(-1, *self.event_shape)
        many = x.expand(self.draws, *x.shape).reshape(-1, *self.event_shape)
        found = self._ends(many) - self._between(many)
        return found.view(self.draws, -1).mean(0).view(value.shape[: value.dim() - len(self.event_shape)])

    def stepwise(self, value: Tensor, steps: int) -> Tensor:
        """An estimate of the bound by T steps in which every step has its part, and only noise is drawn: (N,) nats.

        Args:
            value: x, (N, *event).
            steps: T.
        """
        y, found = self.end.spell(value), self._ends(value)
        at_once = max(1, _ROWS // len(value))
        for some in torch.arange(steps, dtype=y.dtype, device=y.device).split(at_once):
            rows = y.expand(len(some), *y.shape).reshape(-1, *self.event_shape)
            i = some.repeat_interleave(len(y))
            terms = self._step(rows, (i + 1) / steps, i / steps)
            found = found - terms.view(len(some), -1).sum(0)
        return found

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        rows = math.prod((*sample_shape, *self.batch_shape))
        z = self.temperature * self._noise(self.like.new_zeros(rows, *self.event_shape))
        return self._down(z, self.sampling.way == "ancestral", True).view(
            *sample_shape, *self.batch_shape, *self.event_shape
        )

    @property
    def centre(self) -> Tensor:
        """The x that stands for p, (N, *event): where the way without noise leads from a z_1 that is the same for every
        row."""
        z = torch.randn(self.event_shape, generator=torch.Generator().manual_seed(0)).to(self.like)
        return self._down(z.expand(*self.batch_shape, *z.shape), False, False)

    def _ends(self, x: Tensor) -> Tensor:
        """What z_1 and z_0 add to the bound of x (M, *event), (M,) nats."""
        first, last = self.course.ends.to(x.dtype)
        excess = self.end.spell(x).square() - 1
        prior = 0.5 * ((-last).sigmoid() * excess - logsigmoid(last)).flatten(1).sum(1)
        return self.end.expected(x, first, self._noise(x)) - prior

    def _between(self, x: Tensor) -> Tensor:
        """L of x (M, *event), by one time and one noise a row: (M,) nats."""
        y = self.end.spell(x)
        n = len(y)
        t = (torch.rand((), dtype=y.dtype, device=y.device) + torch.arange(n, dtype=y.dtype, device=y.device) / n) % 1
        if self.steps is not None:
            i = (t * self.steps).floor().clamp_max(self.steps - 1)
            return self.steps * self._step(y, (i + 1) / self.steps, i / self.steps)
        between = self.course.between(t)
        weight = _calming(*between)
        gamma, slope = self._gamma(*between)
        terms = 0.5 * slope * self._error(y, gamma)
        weight.append((terms / terms.mean().clamp_min(1e-12)).detach())
        return terms

    def _step(self, y: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """KL( q(z_s|z_t, y) ‖ p(z_s|z_t) ) for one z_t a row, (M,) nats."""
        gamma, before = (self._gamma(*self.course.between(time))[0] for time in (t, s))
        return 0.5 * torch.expm1(gamma - before) * self._error(y, gamma)

    def _gamma(self, u: Tensor, du: Tensor) -> tuple[Tensor, Tensor]:
        """γ and γ' of u and u'."""
        first, last = self.course.ends.to(u.dtype)
        return first + (last - first) * u, (last - first) * du

    def _error(self, y: Tensor, gamma: Tensor) -> Tensor:
        """‖ε − ε̂‖² for one ε a row, (M,)."""
        alpha, sigma = self._scales(gamma)
        noise = self._noise(y)
        off = alpha * noise - sigma * y - self._velocity(alpha * y + sigma * noise, gamma)
        return (-gamma).sigmoid() * off.square().flatten(1).sum(1)

    def _velocity(self, z: Tensor, gamma: Tensor) -> Tensor:
        return self.velocity(z, gamma).to(z.dtype)  # the bound stays in float32 whatever the networks compute in

    def _scales(self, gamma: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ, of γ (M,), to broadcast against (M, *event)."""
        gamma = gamma.view(-1, *[1] * len(self.event_shape))
        return (-gamma).sigmoid().sqrt(), gamma.sigmoid().sqrt()

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, dtype=like.dtype, device=like.device)

    @torch.no_grad()
    def _down(self, z: Tensor, noisy: bool, draw: bool) -> Tensor:
        """From z_1 (M, *event) to x."""
        t = torch.linspace(1, 0, self.sampling.steps + 1, dtype=z.dtype, device=z.device)
        gammas = self._gamma(*self.course.between(t))[0]
        for gamma, after in zip(gammas[:-1], gammas[1:], strict=True):
            (alpha, sigma), (alpha_s, sigma_s) = self._scales(gamma), self._scales(after)
            v = self._velocity(z, gamma.expand(len(z)))
            y = alpha * z - sigma * v
            if noisy:
                fall = (after - gamma).exp()
                mean = fall * alpha_s / alpha * z + (1 - fall) * alpha_s * y
                z = mean + self.temperature * (1 - fall).sqrt() * sigma_s * self._noise(z)
            else:
                z = alpha_s * y + sigma_s * (sigma * z + alpha * v)
        return self.end.read(z, gammas[-1], draw)


def _calming(u: Tensor, du: Tensor) -> list[Tensor]:
    """Turn the gradient that reaches a learned u(t) from that of a mean of terms to that of half their mean square.

    Returns:
        An empty list, to which the terms, each over their mean, are to be appended.
    """
    weight: list[Tensor] = []
    for part in (u, du):
        if part.requires_grad:
            part.register_hook(lambda gradient: gradient * weight[0])
    return weight


@tempered.register
def _(p: Diffusion, temperature: float) -> Distribution:
    """The spread of z_1, and of the noise at each step, is scaled."""
    log_temperature(temperature)
    if temperature == 1:
        return p
    other = copy.copy(p)
    other.temperature = p.temperature * temperature
    return other
