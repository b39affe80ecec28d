"""The tension between rate and distortion, over models of the same data (Alemi et al. 2018, "Fixing a broken ELBO").

A model is a point in the plane of its two numbers, means over the data p*(x) in nats,

    R = E KL( q(z|x) ‖ p(z) ),    D = −E log p(x|z),    R + D = −E ELBO(x).

Each of three gaps is a divergence, and so never negative:

    R + D  =  −E log p(x) + E KL( q(z|x) ‖ p(z|x) )  ≥  −E log p(x)  =  H + KL( p* ‖ p )  ≥  H,

with H the entropy of the data, a differential entropy where they are real numbers. So **no model lies below the line
R + D = H**. H itself is not known of real data; but each model bounds it from above, and the least R + D that was measured
does so best. (Measured on N examples, H is met up to its own sampling error, which the standard error of R + D bounds in
practice.)

The line ends in two limits. *Autodecoding*, R = 0 and D = H: the code says nothing and the decoder knows p*. *Autoencoding*,
D = 0 and R = H: the code says everything. Real numbers have no such end, as D falls without a bound while R grows.

Of two models a coin makes a third: thrown apart from x and known to the decoder, it costs no rate, and its point lies
between theirs. Hence what can be reached is convex, and its lower left edge is the **frontier** of the models at hand.
Minimising D + βR looks for the point where a line of slope −β touches that edge. A model that another one beats at its own
D + βR has not found it: it was trained too briefly, got stuck, or has learnt its training examples by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Place", "beaten", "frontier", "least"]


@dataclass(frozen=True)
class Place:
    """Where a model lies.

    Attributes:
        rate: R, nats.
        distortion: D, nats.
        stderr: standard error of R + D over the examples, nats.

    >>> Place(rate=20.0, distortion=70.0).total
    90.0
    """

    rate: float
    distortion: float
    stderr: float = 0.0

    @property
    def total(self) -> float:
        """R + D = −ELBO, nats."""
        return self.rate + self.distortion


def least(places: Sequence[Place]) -> int:
    """Which has the least R + D: of all that were measured the best upper bound of H."""
    return min(range(len(places)), key=lambda i: places[i].total)


def frontier(places: Sequence[Place]) -> list[int]:
    """Which lie on the lower left edge of the convex hull, by rate: what no mixture of the others is better than.

    >>> frontier([Place(0, 10), Place(1, 9), Place(2, 3), Place(6, 2), Place(8, 4)])
    [0, 2, 3]
    """
    order = sorted(range(len(places)), key=lambda i: (places[i].rate, places[i].distortion))
    edge: list[int] = []
    for i in order:
        here = places[i]
        if edge and here.distortion >= places[edge[-1]].distortion:
            continue  # more of both
        while len(edge) > 1 and _above(places[edge[-2]], places[edge[-1]], here):
            edge.pop()
        edge.append(i)
    return edge


def _above(a: Place, b: Place, c: Place) -> bool:
    """Whether b lies on or above the chord from a to c, for rates a ≤ b ≤ c."""
    return (b.distortion - a.distortion) * (c.rate - a.rate) >= (c.distortion - a.distortion) * (b.rate - a.rate)


def beaten(places: Sequence[Place], betas: Sequence[float]) -> dict[int, tuple[int, float]]:
    """Models that another one beats at their own objective D + βR by more than the standard error of either's bound.

    Args:
        places: of the models.
        betas: with which each was trained.

    Returns:
        By model, the one that does best at its objective, and by how much, nats.
    """
    found = {}
    for i, (place, beta) in enumerate(zip(places, betas, strict=True)):
        costs = [other.distortion + beta * other.rate for other in places]
        best = min(range(len(places)), key=costs.__getitem__)
        if costs[i] - costs[best] > max(place.stderr, places[best].stderr):
            found[i] = best, costs[i] - costs[best]
    return found
