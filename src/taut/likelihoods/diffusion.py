"""A likelihood that is a diffusion model: all elements of x together, out of noise, told of z at every step.

    log p(x|z) ≥ the bound of :mod:`taut.distributions.diffusion`, the denoiser told z_t and the decoder's maps of z

This is a diffusion decoder (Preechakul et al. 2022; with a rate, as in DiffuseVAE, Pandey et al. 2022); with no layers
of latents it is the variational diffusion model itself (Kingma et al. 2021).

**Beliefs.** Where elements have few levels, z_t alone tells much of each of them: once the noise is well below the
distance between two levels, all. So the network gives no velocity, but a belief P_d(l) in each level of each element,
which any likelihood of levels may make of its numbers, and what it makes of z_t is by Bayes' rule

    ŷ_d = Σ_l y_d(l) P_d(l) N(z_td; α_t y_d(l), σ_t²) / Σ_l P_d(l) N(z_td; α_t y_d(l), σ_t²),     v̂ = (α_t z_t − ŷ)/σ_t

If the elements of x were independent with such probabilities, this would be exact at every t, and the bound their log
P(x) but for what is left at its ends. So it starts, about where the data's mean and deviation are. Where there are many
levels the network gives the velocity.

**Units.** y = (x − a)/b. a is the mean of each element. For real numbers b is the deviation of each, and the Jacobian
−Σ log b is in the bound; for levels and for numbers from 0 to 1 one b serves for all elements, so that levels stay
equally far apart: the root of the mean variance.

**Ends.** Where none are given, noise ends at γ_1 = 6. It begins for real numbers at γ_0 = −10, a noise of a
hundred-and-fiftieth of a deviation: without a floor, a density of numbers that repeat has no upper bound. For levels it
begins where it is an eighth of the distance between two of them, so that a level is hardly ever taken for its
neighbour.

Such a decoder can model x without z, as an autoregressive one can: the posterior may collapse to the prior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch import distributions as td

from taut import distributions
from taut.data import Statistics, Support
from taut.distributions import Exactness, Factorised, Levels, Reals, Sampling
from taut.errors import InputError
from taut.likelihoods.base import HeadModule, Likelihood
from taut.likelihoods.discrete import Bernoulli, Categorical
from taut.networks import Denoiser, Noise
from taut.networks.base import positive
from taut.networks.denoisers import built

__all__ = ["Diffusion"]

FIRST, LAST = -10.0, 6.0  # γ where none is given
APART = 8.0  # widths of the first noise between two levels
FEW = 32  # levels of which each is believed in by itself


@dataclass(frozen=True)
class Diffusion(Likelihood):
    """A diffusion model of x given z; without layers of latents, of x (Kingma, Salimans, Poole and Ho 2021).

    A probability of levels, a density of real numbers, each bounded from below by a noisy estimate: the model has an
    ELBO and no importance-weighted bound. Training with an objective that weighs draws is refused.

    Args:
        denoiser: the network that finds the noise; if left open UNet for images, DenoisingMLP for vectors.
        belief: what the network says of each element before z_t is looked at: a likelihood of levels. If left open
            Bernoulli for two levels, Categorical for up to 32; of more, and of real numbers, it says the velocity.
        noise: how noise comes in.
        maps: numbers for each element by which the decoder tells of z.
        draws: times and noises of each example in a step.
        steps: how many the bound is of; if left open, of infinitely many.
        sampling: how x is drawn.

    >>> seed = torch.manual_seed(0)
    >>> statistics = Statistics(torch.full((1, 8, 8), 5.0), torch.full((1, 8, 8), 4.0))
    >>> head = Diffusion(sampling=Sampling("ddim", 5)).build((1, 8, 8), Support("integers", 17), statistics)
    >>> p = head(torch.zeros(2, head.outputs, 1, 8, 8))
    >>> p.sample().shape, p.exactness
    (torch.Size([2, 1, 8, 8]), 'noisy')
    """

    exactness: ClassVar[Exactness] = "noisy"
    averaged: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    entire: ClassVar[bool] = True

    denoiser: Denoiser | None = None
    belief: Likelihood | None = None
    noise: Noise = Noise()
    maps: int = 4
    draws: int = 1
    steps: int | None = None
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        positive("maps", self.maps)
        positive("draws", self.draws)
        if self.steps is not None:
            positive("steps", self.steps)
        if self.belief is not None and (self.belief.joint or self.belief.continuous):
            kind = "a model of all elements together" if self.belief.joint else "a density"
            raise InputError(
                "belief", f"is {type(self.belief).__name__}, {kind}", "name a likelihood of levels, such as Categorical"
            )

    def each(self, support: Support) -> Likelihood | None:
        """The belief in each element; none where the network says the velocity."""
        if self.belief is not None or support.levels is None or support.levels > FEW:
            return self.belief
        return Bernoulli() if support.kind == "binary" else Categorical()

    def fits(self, support: Support) -> bool:
        return support.kind != "counts" and (
            self.belief is None or (support.levels is not None and self.belief.fits(support))
        )

    @property
    def within(self) -> dict[str, Likelihood]:
        return {} if self.belief is None else {"belief": self.belief}

    def density(self, support: Support) -> bool:
        return support.levels is None

    def outputs(self, support: Support) -> int:
        return self.maps

    def elementwise(self, params: Tensor, shared: Tensor | None, support: Support) -> td.Distribution:
        raise NotImplementedError("a diffusion model has no distribution of one element")

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        """What the belief is at first; (0, *shape) without one."""
        each = self.each(support)
        return each.start(support, statistics) if each else torch.zeros(0, *statistics.mean.shape)

    def units(self, support: Support, statistics: Statistics) -> tuple[Tensor, Tensor]:
        mean = statistics.mean + 0.5 if support.whole else statistics.mean  # of the dequantised values
        if support.kind == "real":
            return mean, statistics.std
        return mean, statistics.std.square().mean().sqrt()

    def build(self, shape: tuple[int, ...], support: Support, statistics: Statistics) -> HeadModule:
        return _Head(self, shape, support, statistics)


class _Head(HeadModule):
    """The decoder's maps (N, maps, *shape) → p(x|z)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, spec: Diffusion, shape: tuple[int, ...], support: Support, statistics: Statistics) -> None:
        super().__init__()
        self.spec, self.support, self.shape, self.outputs = spec, support, shape, spec.outputs(support)
        self.each = spec.each(support)
        self.levels = support.levels if support.discrete else None
        self.dequantise = spec.density(support) and support.discrete
        shift, scale = spec.units(support, statistics)
        self.register_buffer("shift", shift.clone())
        self.register_buffer("scale", scale.clone())
        first = FIRST if self.levels is None else -2 * math.log(APART * float(scale))
        self.course = spec.noise.build((first, LAST))
        self.bias = nn.Parameter(torch.zeros(spec.maps, *shape))
        self.offset = nn.Parameter(spec.start(support, statistics)) if self.each else None
        outputs = len(self.offset) if self.each else 1
        self.denoiser = built(spec.denoiser, "model.likelihood", shape, maps=spec.maps, outputs=outputs)

    def forward(self, out: Tensor) -> distributions.Diffusion:
        maps = out + self.bias  # without layers nothing comes in, and the maps say where an element is

        def velocity(z: Tensor, gamma: Tensor) -> Tensor:
            said = self.denoiser(z, gamma, maps=maps.expand(len(z) // len(maps), *maps.shape).flatten(0, 1)).to(z.dtype)
            return said.squeeze(1) if self.offset is None else self._believed(said + self.offset, z, gamma)

        end = Reals(self.shift, self.scale) if self.levels is None else Levels(self.shift, self.scale, self.levels)
        like = out.float() if out.dtype in (torch.bfloat16, torch.float16) else out
        spec = self.spec
        return distributions.Diffusion(
            velocity, self.course, end, self.shape, like, spec.draws, spec.steps, spec.sampling
        )

    def _believed(self, params: Tensor, z: Tensor, gamma: Tensor) -> Tensor:
        """v̂ (M, *shape) of beliefs (M, outputs, *shape) and what z says."""
        log_probs = Factorised(self.each.elementwise(params, None, self.support)).conditional(None, slice(None))
        gamma = gamma.view(-1, *[1] * len(self.shape))
        alpha, sigma = (-gamma).sigmoid().sqrt(), gamma.sigmoid().sqrt()
        levels = torch.arange(self.levels, dtype=z.dtype, device=z.device)
        y = (levels - self.shift.unsqueeze(-1)) / self.scale
        off = (z.unsqueeze(-1) - alpha.unsqueeze(-1) * y) / sigma.unsqueeze(-1)
        weights = (log_probs.view(off.shape) - 0.5 * off.square()).softmax(-1)
        return (alpha * z - (weights * y).sum(-1)) / sigma
