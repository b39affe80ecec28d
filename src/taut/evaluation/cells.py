"""Single cells of a row: what the missing ones may have been, and which of the known ones are odd.

With z_1 … z_K ~ q(z|x_o), of a row of which the cells o are known, and w_k ∝ p(x_o, z_k)/q(z_k|x_o), Σ w_k = 1,

    p(x_d | x_o)  ≈  Σ_k w_k p(x_d | z_k)        of a missing cell d: exact as K → ∞, whatever q is (Rezende et al. 2014,
                                                Mattei and Frellsen 2019)

How fast it is so does depend on q, and an encoder is far off where rows lack more, or other cells than those that it learned
from. So a row's q begins at what the encoder says and climbs a few steps towards its own posterior (:mod:`.inference`), where
the model lets it: on the census table with a tenth of its cells hidden that is worth ten times as many draws.

What is odd is judged by the model itself. Rows of columns have the score of :mod:`taut.evaluation.blur`, which says too what
each cell adds to it. Of all else the score is the cost: under a z that the row asks for, cell d costs −log p(x_d|z), and were
x_d a draw from p(x_d|z), it would cost the entropy of that. A cell is to blame for the difference.

    blame_d = E_w[ −log p(x_d|z) ] − E_w[ H(x_d|z) ]                                                           nats

What the model holds impossible, such as a category or a level that it never saw, has probability 0: log p(x) is −∞ and no
number to rank rows by. Such a cell adds to the score what the least number above 0 of 32 bits would cost, 149 log 2 = 103 nats,
the same for each, and all of it is to blame; it is told neither to q nor to the rest of the score. So such rows stand at the
top, or near it, those with more of such cells above those with fewer. A row of which nothing is known has no score: NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from taut.data import Batch, Feed
from taut.distributions import central
from taut.evaluation.blur import blurred, comparable
from taut.evaluation.inference import Local, climb, estimators, has_local
from taut.model import VAE, Trace
from taut.training import seeded

__all__ = ["IMPOSSIBLE", "Scores", "impute", "score"]

IMPOSSIBLE = 149 * math.log(2)  # nats that a cell without any probability costs
ROWS = 8192  # of samples at once
CLIMBING, RATE, STEPS, JUDGED = (
    1024,
    0.05,
    50,
    20,
)  # rows that climb at once, how fast, how far, and by how many draws judged


@dataclass(frozen=True)
class Scores:
    """Of each row, the higher the odder.

    Attributes:
        score: (N,) of rows of columns how far they lie from what the model draws (:mod:`taut.evaluation.blur`), nats; of all
            else, and where each row has a distribution of its own, the cost. NaN of a row of which nothing is known.
        cost: (N,) −ELBO, nats, an upper bound of −log p(x); where there is no such bound, the distortion. Infinite of a row
            that the model holds impossible.
        rate: (N,) what of the cost is the rate.
        blame: (N, D) nats that each element costs, towards the score, more than it would in a draw, in the columns of the user;
            0 of those that are not modelled. None where the likelihood is one of all elements together.
        drawn: whether the score is a distance from draws, and not the cost.
        impossible: (N,) how many cells of each the model holds impossible.
    """

    score: np.ndarray
    cost: np.ndarray
    rate: np.ndarray
    blame: np.ndarray | None
    drawn: bool
    impossible: np.ndarray

    def because(self, names: Sequence[str], most: int = 3, least: float = 0.5) -> list[str]:
        """For each row the columns (D,) that are most to blame, such as ``age 4.1, sex 1.2``; those of half a nat or more."""
        order = np.argsort(-self.blame, 1)[:, :most]
        return [
            ", ".join(f"{names[i]} {row[i]:.1f}" for i in first if row[i] >= least)
            for first, row in zip(order, self.blame, strict=True)
        ]


@torch.no_grad()
def score(
    vae: VAE,
    feed: Feed,
    samples: int,
    seed: int,
    impossible: Tensor | None = None,
    progress: Callable[[float, int], None] = lambda done, total: None,
) -> Scores:
    """How odd examples are: costs and blame by K draws of z each.

    Args:
        vae: the model, not learning.
        feed: the examples, x (N, *shape).
        samples: K.
        seed: of all draws.
        impossible: (N, D), which cells, in the columns of the user, the model holds impossible: in x they are missing.
        progress: told how many examples are done, of how many.
    """
    found: list[tuple[Tensor, Tensor, Tensor | None]] = []
    by_draws = comparable(vae, feed)
    with seeded(seed, feed.x.device):
        for index in torch.arange(len(feed), device=feed.x.device).split(max(1, ROWS // samples)):
            batch = feed.batch(index)
            trace = vae(batch, samples)
            distortion, rate = trace.distortion(batch), trace.rate()
            blame = None
            density = trace.given(batch)
            if not by_draws and hasattr(density, "elements"):
                drawn = density.sample()
                mask = None if batch.mask is None else batch.mask.repeat(samples, *[1] * (drawn.dim() - 1))
                known = density.elements(batch.x, batch.mask)
                typical = density.elements(drawn, mask)
                blame = trace.unfold(typical - known).mean(0).flatten(1)
            found.append((((distortion + rate) if trace.proper else distortion).mean(0), rate.mean(0), blame))
            progress((int(index[-1]) + 1) / (1 + by_draws), len(feed))
        half = len(feed) / 2
        odd = blurred(vae, feed, lambda done, total: progress(half + done / 2, total)) if by_draws else None
    costs, rates, blames = zip(*found, strict=True)
    cost, rate = torch.cat(costs).cpu().numpy(), torch.cat(rates).cpu().numpy()
    marks, blame = cost, None if blames[0] is None else torch.cat(blames).cpu().numpy()
    if odd is not None:
        marks, blame = odd[0].cpu().numpy(), odd[1].cpu().numpy()
    reading = feed.reading
    if blame is not None and reading.dropped:
        blame, part = np.zeros((len(blame), *reading.raw_shape), blame.dtype), blame
        blame[:, reading.kept] = part
    count = np.zeros(len(cost), int)
    if impossible is not None:
        cells = impossible.cpu().numpy()
        count = cells.sum(1)
        marks, cost = (marks + IMPOSSIBLE * count).astype(marks.dtype), np.where(count, np.inf, cost)
        if blame is not None:
            blame[cells] = IMPOSSIBLE
    if feed.gaps and (nothing := feed.x.isnan().flatten(1).all(1).cpu().numpy() & (count == 0)).any():
        marks = np.where(nothing, np.nan, marks)
    return Scores(marks, cost, rate, blame, odd is not None, count)


def _weights(trace: Trace, batch: Batch) -> Tensor:
    """w (K, B); equal where the model's weights cannot be had."""
    if not trace.proper or trace.exactness != "exact":
        like = trace.log_likelihood(batch)
        return torch.full_like(like, 1 / len(like))
    return trace.log_weight(batch).softmax(0)


@torch.no_grad()
def impute(
    vae: VAE,
    feed: Feed,
    samples: int,
    seed: int,
    draw: bool,
    progress: Callable[[float, int], None] = lambda done, total: None,
) -> tuple[Tensor, Tensor]:
    """Missing cells filled, and their spread, (N, D) each in the data's units; see :meth:`taut.runs.Run.impute`.

    Args:
        vae: the model, not learning.
        feed: rows x (N, D), cells that are missing masked.
        samples: K, draws of z for each row, weighed by p(x, z)/q(z|x) of the cells that are known.
        seed: of all draws.
        draw: fill with one draw given what is known, instead of its mean.
        progress: told how many rows are done, of how many.
    """
    named = torch.tensor(
        [c.kind in ("categories", "binary") for c in feed.reading.support.columns], device=feed.x.device
    )
    filled, gaps = feed.x.float().clone(), feed.x.isnan()
    spreads, rows = torch.zeros_like(filled), gaps.any(1).nonzero()[:, 0]
    progress(len(feed) - len(rows), len(feed))
    done = len(feed) - len(rows)
    with seeded(seed, feed.x.device):
        for some in rows.split(CLIMBING) if len(rows) else ():
            local = _climbed(vae, feed.batch(some))
            for part in torch.arange(len(some), device=some.device).split(max(1, ROWS // samples)):
                batch = feed.batch(some[part])
                trace = (vae if local is None else local.some(part))(batch, samples)
                weights = _weights(trace, batch)
                chosen = torch.multinomial(weights.T, samples, replacement=True).T  # (K, B)
                draws = trace.unfold(trace.likelihood.sample()).gather(
                    0, chosen.unsqueeze(-1).expand(-1, -1, batch.x.shape[1])
                )
                means = (weights.unsqueeze(-1) * trace.unfold(central(trace.likelihood))).sum(0)
                mode, doubt = _modes(draws)
                guess = draws[0] if draw else torch.where(named, mode, means)
                spread = torch.where(named, doubt, draws.std(0, correction=0))
                at = some[part]
                filled[at] = torch.where(gaps[at], guess.to(filled.dtype), filled[at])
                spreads[at] = torch.where(gaps[at], spread.to(spreads.dtype), 0.0)
                done += len(part)
                progress(done, len(feed))
    return filled, spreads.cpu().numpy()


def _climbed(vae: VAE, batch: Batch) -> Local | None:
    """A q for each row, nearer to its posterior than the encoder's; none where the model has no such q."""
    if not has_local(vae):
        return None
    local = Local(vae, vae.evidence(batch), batch.condition)
    with torch.enable_grad():
        climb(local, batch, estimators(vae, batch), RATE, samples=2, steps=STEPS, rounds=1, judged=JUDGED)
    return local


def _modes(draws: Tensor) -> tuple[Tensor, Tensor]:
    """The commonest of draws (K, B, D), and the share of the others, (B, D) each."""
    mode = draws.mode(0).values
    return mode, (draws != mode).to(draws.dtype).mean(0)
