"""A diffusion model as the prior on a code (Vahdat, Kreis and Kautz 2021, "Score-based generative modeling in latent
space").

    log p(z) ≥ the bound of :mod:`taut.distributions.diffusion`, for z in its own units: y = z

It starts as N(0, I). Trained together with q, the code goes where the prior can follow, and the rate is what the two
settle on; trained after it (``training.stages``), it learns the aggregated posterior of codes that no longer move.

The rate is sampled, log q(z) − log p(z), and as noisy as log p(z) is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from taut import distributions
from taut.distributions import Exactness, Reals, Sampling
from taut.networks import Denoiser, Noise
from taut.networks.base import positive
from taut.networks.denoisers import built
from taut.priors.base import Prior

__all__ = ["Diffusion"]


@dataclass(frozen=True)
class Diffusion(Prior):
    """A diffusion model of latents that are real numbers, given what the layers above say of them (Vahdat, Kreis and
    Kautz 2021).

    Its density is bounded from below by a noisy estimate: a model with it has an ELBO and no importance-weighted bound.
    At a temperature the spread of all noise is scaled.

    Args:
        denoiser: the network that finds the noise; if left open UNet for latents on maps of four places a side or more,
            else DenoisingMLP.
        noise: how noise comes in; from −10 to 6 if left open.
        draws: times and noises of each example in a step.
        steps: how many the bound is of; if left open, of infinitely many.
        sampling: how z is drawn.

    >>> import torch
    >>> seed = torch.manual_seed(0)
    >>> p = Diffusion(draws=5).build((3,), 0)(torch.zeros(9000, 0))               # untrained it is N(0, I)
    >>> round(p.log_prob(torch.zeros(9000, 3)).mean().item(), 2)                  # −3/2 log 2π = −2.757
    -2.75
    """

    exactness: ClassVar[Exactness] = "noisy"

    denoiser: Denoiser | None = None
    noise: Noise = Noise()
    draws: int = 1
    steps: int | None = None
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        positive("draws", self.draws)
        if self.steps is not None:
            positive("steps", self.steps)

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return self.placed(event, state, event)

    def placed(self, event: tuple[int, ...], state: int, shape: tuple[int, ...]) -> nn.Module:
        return _Diffusion(self, event, state, shape)


class _Diffusion(nn.Module):
    def __init__(self, spec: Diffusion, event: tuple[int, ...], state: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.spec, self.event, self.shape = spec, event, shape
        self.course = spec.noise.build()
        self.denoiser = built(spec.denoiser, "model.prior", shape, state=state)

    def forward(self, h: Tensor) -> distributions.Diffusion:
        def velocity(z: Tensor, gamma: Tensor) -> Tensor:
            told = h.expand(len(z) // len(h), *h.shape).flatten(0, 1)
            return self.denoiser(z.reshape(-1, *self.shape), gamma, told).reshape(z.shape)

        end = Reals(h.new_zeros(()), h.new_ones(()))
        spec = self.spec
        return distributions.Diffusion(velocity, self.course, end, self.event, h, spec.draws, spec.steps, spec.sampling)
