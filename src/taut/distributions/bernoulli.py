"""The Bernoulli of each element, by its logit.

    log P(x) = x·a − log(1 + eᵃ)        a the logit, x ∈ {0, 1}

The same number as torch's cross-entropy, which takes each term through several slow passes: over the elements of an
example this is one product and one sum, three to four times as fast, and most of the time of an importance-weighted bound
is spent here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch import distributions as td
from torch.autograd.function import FunctionCtx
from torch.nn.functional import softplus

__all__ = ["Bernoulli"]

CACHED = 1 << 17  # numbers, half a megabyte of them


def _log_normaliser(logits: Tensor) -> Tensor:
    """log(1 + eᵃ); beyond 40 it is a to the last bit of a double, where torch's own threshold of 20 is 2e-9 off."""
    return softplus(logits, threshold=40)


def _log_normalisers(logits: Tensor) -> Tensor:
    """Σ_d log(1 + e^{a_d}), (N,), outside autograd.

    A processor has fast passes for eᵃ and for the logarithm, and a slow one for both together; so many rows at a time as
    its cache holds go through them. Beyond 80, where eᵃ would overflow, log(1 + eᵃ) is a itself.
    """
    if logits.device.type != "cpu":
        return _log_normaliser(logits).flatten(1).sum(1)
    sums = []
    for rows in logits.flatten(1).split(max(1, CACHED // max(1, math.prod(logits.shape[1:])))):
        low = rows.clamp_max(80).exp_().add_(1).log_()
        sums.append(torch.maximum(low, rows).sum(1))
    return torch.cat(sums)


class Bernoulli(td.Bernoulli):
    """P(x=1) = σ(a).

    Args:
        logits: a, (N, *shape).

    >>> import torch
    >>> p = Bernoulli(torch.zeros(1, 3))
    >>> p.joint_log_prob(torch.tensor([[0.0, 1.0, 1.0]])).exp()
    tensor([0.1250])
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return value * self.logits - _log_normaliser(self.logits)

    def joint_log_prob(self, value: Tensor) -> Tensor:
        """Σ_d log P(x_d), (N,) nats, for x of N rows or of B, each for K = N/B rows, sample-major: x is not copied for them."""
        return _Joint.apply(value, self.logits)


class _Joint(torch.autograd.Function):
    """Its gradient is x − σ(a) for each logit: one pass, where each term's own would take four."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, logits: Tensor) -> Tensor:
        each, x = logits.view(-1, *value.shape).flatten(2), value.flatten(1)
        # a product of matrices where many rows share an x, a plain sum where none do: each is slow at the other's work
        inner = torch.einsum("kbd,bd->kb", each, x) if len(each) > 1 else (x * each).sum(2)
        return inner.flatten() - _log_normalisers(logits)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        value, logits = ctx.saved_tensors
        gradient = gradient.view(-1, *[1] * (logits.dim() - 1))
        to_value = (gradient * logits).view(-1, *value.shape).sum(0) if ctx.needs_input_grad[0] else None
        each = (value - logits.sigmoid().view(-1, *value.shape)).view(logits.shape)
        return to_value, each * gradient
