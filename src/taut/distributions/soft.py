"""A number kept softly within ±b.

    s = b tanh(r/b),   ∂s/∂r = 1 − (s/b)²

It is the number itself where that is small. Small operations are what a step of a hierarchy has most of, hence one in each
direction rather than three.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

__all__ = ["soft"]


def soft(raw: Tensor, bound: float) -> Tensor:
    """``raw`` where it is small, and never beyond ±``bound``.

    >>> soft(torch.tensor([0.0, 100.0]), 8.0)
    tensor([0., 8.])
    """
    return _Soft.apply(raw, bound)


class _Soft(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(raw: Tensor, bound: float) -> Tensor:
        return (raw / bound).tanh_().mul_(bound)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.bound = inputs[1]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradient, kept / ctx.bound), None
