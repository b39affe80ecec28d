"""The von Mises–Fisher posterior: codes that are directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from taut import distributions
from taut.errors import InputError
from taut.posteriors.base import Posterior, PosteriorModule
from taut.priors import Space

__all__ = ["VonMisesFisher"]


@dataclass(frozen=True)
class VonMisesFisher(Posterior):
    """q(z|x) ∝ exp(κ(x) μ(x)ᵀz) over unit vectors z of R^D (Davidson et al. 2018, the hyperspherical VAE).

    Latents count D, two or more: the sphere itself has one dimension less. Of the encoder's D + 1 numbers the first D are
    normalised to μ. The last is log κ/√D, softly bounded to ±10, so that at first t = μᵀz lies about one of its standard
    deviations from 0 and the rate is near ½ nat in every dimension. The divergence from the uniform prior is in closed
    form, of the density that is drawn from, and the model is evaluated as it is trained.
    """

    space: ClassVar[Space] = "sphere"
    varied: ClassVar[bool] = False

    def check(self, latents: int) -> None:
        if latents < 2:
            raise InputError("model.latents", f"is {latents}, and the unit sphere of one dimension is two points",
                             "give 2 or more")  # fmt: skip

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _VonMisesFisher(event)


class _VonMisesFisher(PosteriorModule):
    bound = 10.0

    def __init__(self, event: tuple[int, ...]) -> None:
        (size,) = event
        super().__init__(event, size + 1)
        self.scale = 1 / math.sqrt(size)

    def place(self, z: Tensor) -> Tensor:
        return distributions.unit(z)

    def forward(self, params: Tensor) -> distributions.VonMisesFisher:
        raw = params[:, -1]
        log_kappa = distributions.soft(raw, self.bound) - math.log(self.scale)
        return distributions.VonMisesFisher(distributions.unit(params[:, :-1]), log_kappa.exp())
