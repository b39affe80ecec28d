"""The prior of codes that are directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from taut import distributions
from taut.priors.base import Prior, Space

__all__ = ["UniformSphere"]


@dataclass(frozen=True)
class UniformSphere(Prior):
    """p(z) = Γ(D/2)/2π^{D/2} for every unit vector z of R^D (Davidson et al. 2018).

    It knows no temperature but 1. Below the top it is the same whatever the layers above say.
    """

    space: ClassVar[Space] = "sphere"

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _Uniform(event)


class _Uniform(nn.Module):
    zero: Tensor

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(event), persistent=False)

    def forward(self, h: Tensor) -> distributions.UniformSphere:
        return distributions.UniformSphere(self.zero.expand(h.shape[0], *self.zero.shape))
