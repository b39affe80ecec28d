"""One divergence for any two densities: closed form where one is known, else the one-sample estimate, and it says which.

    KL(q ‖ p) = E_q[ log q(z) − log p(z) ] ≥ 0        nats

The parts of a divergence come per latent dimension when both densities factorise, else as one group for the layer; free
bits, collapse reports and the page read the parts, everything else their sum. A density that factorises says so by the
method ``log_prob_parts``: z (N, *event) → log p(z_d | z_<d), (N, D) nats, in the order of the flattened event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.normal import DiagonalNormal

__all__ = ["Divergence", "closed_form", "divergence", "register_divergence", "sampled"]


class Divergence(NamedTuple):
    """KL(q ‖ p) in nats.

    Attributes:
        parts: (N, G), one column a latent dimension, or one for the whole layer.
        kind: ``closed`` form, ``sampled`` (unbiased, one draw of z), or ``improper`` (a point posterior: no KL exists,
            −log p(z) stands in for it).
    """

    parts: Tensor
    kind: Literal["closed", "sampled", "improper"]

    @property
    def total(self) -> Tensor:
        """The sum over parts, shape (N,) nats."""
        return self.parts.sum(1)


_closed: dict[tuple[type, type], Callable[..., Tensor]] = {}


def register_divergence(q: type, p: type) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register the closed form of KL(q ‖ p): a function of the two densities that returns its parts (N, G)."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _closed[q, p] = function
        return function

    return register


def closed_form(q: Distribution, p: Distribution) -> Tensor | None:
    """The parts (N, G) of KL(q ‖ p) where its closed form is registered, else ``None``."""
    known = _closed.get((type(q), type(p)))
    return None if known is None else known(q, p)


def divergence(
    q: Distribution,
    p: Distribution,
    z: Tensor,
    log_q: Tensor | Callable[[], Tensor],
    log_p: Callable[[], Tensor] | None = None,
) -> Divergence:
    """KL(q ‖ p), for z of shape (N, *event) drawn from q with density ``log_q`` (N,), or a function that finds it.

    Where log p(z) is wanted it is asked of ``log_p`` if that is given: it may be dear, and known.

    >>> q = DiagonalNormal(torch.ones(1, 2), torch.zeros(1, 2)); p = DiagonalNormal(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> divergence(q, p, q.mean, q.log_prob(q.mean))
    Divergence(parts=tensor([[0.5000, 0.5000]]), kind='closed')
    """
    if q is p:
        return Divergence(torch.zeros(z.shape[0], 1, dtype=z.dtype, device=z.device), "closed")
    if not getattr(q, "proper", True):
        return Divergence(-(log_p() if log_p else p.log_prob(z)).unsqueeze(1), "improper")
    if (parts := closed_form(q, p)) is not None:
        return Divergence(parts, "closed")
    return sampled(q, p, z, log_q, log_p)


def sampled(
    q: Distribution,
    p: Distribution,
    z: Tensor,
    log_q: Tensor | Callable[[], Tensor],
    log_p: Callable[[], Tensor] | None = None,
) -> Divergence:
    """log q(z) − log p(z), whose mean over z ~ q is KL(q ‖ p); per dimension where both densities factorise."""
    if hasattr(q, "log_prob_parts") and hasattr(p, "log_prob_parts"):
        return Divergence(q.log_prob_parts(z) - p.log_prob_parts(z), "sampled")
    log_q = log_q() if callable(log_q) else log_q
    return Divergence((log_q - (log_p() if log_p else p.log_prob(z))).unsqueeze(1), "sampled")


@register_divergence(DiagonalNormal, DiagonalNormal)
def _normal_normal(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    """½ Σ ( (μ_q − μ_p)²/σ_p² + σ_q²/σ_p² − 1 − log σ_q²/σ_p² ), per dimension."""
    log_ratio = q.log_scale - p.log_scale
    shift = (q.mu - p.mu) * (-p.log_scale).exp()
    return (0.5 * (shift.square() + torch.expm1(2 * log_ratio)) - log_ratio).flatten(1)
