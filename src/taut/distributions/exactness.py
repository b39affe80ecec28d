"""How far a density can be trusted to be one: exact, a bound, or noisy.

    exact    log_prob(x) is log p(x)
    bound    log_prob(x) is at most log p(x), and the same at each call
    noisy    log_prob(x) is a random number whose mean is at most log p(x)

The mean of anything linear in them is a bound whichever they are, so an ELBO can be had of all three. What
exponentiates a weight (importance-weighted bounds, annealing, quadrature) and what needs the same number twice (a
codec) takes exact ones alone: for a log-weight L + ξ with noise ξ of mean zero, E exp ξ > 1, so that the logarithm of a
mean of weights would lie above that of L, and might above log p(x).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Exactness", "in_words", "worst"]

Exactness: TypeAlias = Literal["exact", "bound", "noisy"]

_ORDER: tuple[Exactness, ...] = ("exact", "bound", "noisy")


def in_words(kind: Exactness) -> str:
    """What a density of a kind is, after "it is".

    >>> in_words("bound"), in_words("noisy")
    ('a bound', 'noisy')
    """
    return "a bound" if kind == "bound" else kind


def worst(*parts: object) -> Exactness:
    """The least of what densities, or specs of them, say of themselves; one that says nothing is exact.

    >>> from taut.distributions import Chain, Diffusion
    >>> worst(Chain, Diffusion, object()), worst()
    ('noisy', 'exact')
    """
    return max((getattr(part, "exactness", "exact") for part in parts), key=_ORDER.index, default="exact")
