"""Drawing from a density as well as it can be drawn from, and the one point that stands for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["central", "drawn", "fold", "moments", "same_noise", "taken"]


def fold(values: Tensor, samples: int) -> Tensor:
    """(B, …) → (K·B, …), each example K times, sample-major."""
    return values.expand(samples, *values.shape).flatten(0, 1)


def drawn(q: Distribution) -> tuple[Tensor, Tensor]:
    """z ~ q and log q(z), (N, *event) and (N,) nats; gradients reach q's parameters through z where q knows how.

    >>> from taut.distributions import DiagonalNormal
    >>> z, log_q = drawn(DiagonalNormal(torch.zeros(3, 2), torch.zeros(3, 2)))
    >>> z.shape, log_q.shape
    (torch.Size([3, 2]), torch.Size([3]))
    """
    z, log_q = taken(q)
    return z, q.log_prob(z) if log_q is None else log_q


def taken(q: Distribution) -> tuple[Tensor, Tensor | None]:
    """The same, with log q(z) only where it comes with the draw."""
    if hasattr(q, "rsample_and_log_prob"):
        return q.rsample_and_log_prob()
    return q.rsample() if q.has_rsample else q.sample(), None


def central(q: Distribution) -> Tensor:
    """The value of z that stands for q, (N, *event): its ``centre`` if it names one, else its mean."""
    return q.centre if hasattr(q, "centre") else q.mean


def moments(density: Distribution) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation, (N, *event) each; None where they are not known in closed form, or not finite.

    >>> from taut.distributions import Cauchy, DiagonalNormal
    >>> moments(DiagonalNormal(torch.ones(1, 1), torch.zeros(1, 1)))
    (tensor([[1.]]), tensor([[1.]]))
    >>> moments(Cauchy(torch.ones(1, 1), torch.zeros(1, 1)))
    """
    try:
        mean, std = density.mean, density.stddev
    except (AttributeError, NotImplementedError):
        return None
    first = torch.stack([mean[:1], std[:1]])  # a family has moments or has none: one row tells
    return (mean, std) if first.isfinite().all() else None


@contextlib.contextmanager
def same_noise(device: torch.device) -> Iterator[None]:
    """What is drawn inside is drawn again after it: the generator is put back."""
    cuda = device.type == "cuda"
    state = torch.cuda.get_rng_state(device) if cuda else torch.get_rng_state()
    yield
    torch.cuda.set_rng_state(state, device) if cuda else torch.set_rng_state(state)
