"""Linear maps that know an order.

Every unit has a degree: an input of degree d is the d-th of the vector, a unit of degree m sees inputs of degrees up to m
alone, and so does everything built from it (MADE: Germain et al. 2015). Degree 0 sees none of them.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Masked"]


class Masked(nn.Linear):
    """A linear map whose output of degree m reads inputs of degrees up to m alone.

    Args:
        before: degrees of the inputs.
        after: degrees of the outputs.
        bias: whether it adds one.

    >>> import torch
    >>> layer = Masked(torch.tensor([1, 2]), torch.tensor([0, 1, 2]))
    >>> layer.masked.bool().int()
    tensor([[0, 0],
            [1, 0],
            [1, 1]], dtype=torch.int32)
    """

    mask: Tensor

    def __init__(self, before: Tensor, after: Tensor, bias: bool = True) -> None:
        super().__init__(len(before), len(after), bias)
        self.register_buffer("mask", before <= after.unsqueeze(1), persistent=False)

    @property
    def masked(self) -> Tensor:
        """The weights, zero where nothing may be read."""
        return self.mask * self.weight

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.masked, self.bias)
