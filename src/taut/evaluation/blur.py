"""How far a row lies from all that a model draws: its density, blurred by two deviations in each column.

With x_1 … x_M drawn from the model, z_m ~ p(z), x_m ~ p(x|z_m), and noise k that widens every draw,

    p_k(x) = ∫ p(x') Π_d k_d(x_d | x'_d) dx'  ≈  1/M Σ_m Π_d k_d(x_d | x_md)
    score(x) = −log p_k(x) + Σ_d log k_d(x_d | x_d)                                                              nats

    k of numbers     Laplace's, of twice the column's width s_d: a cell costs |x_d − x_md| / (√2 s_d)
    k of names       with chance ½ the name is drawn anew, from all that the model draws in this column

A column's width is its deviation as the middle nine tenths of the draws tell it, (x₀.₉₅ − x₀.₀₅) / 3.29, at least three
tenths of its plain one: a long tail, or what is odd itself, would else hide what is odd.

A density itself is a poor score of what is odd. It rises without limit where a column has few values; it is high wherever a
few odd rows of the training data lie close together, since a model that is good learns them too; and a posterior finds a z
for nearly every row. In what is blurred, few rows that lie close together do not hide, as they do not from the trees of Liu,
Ting and Zhou (2008), which see 256 rows each; and no encoder is asked. How far to blur was found on the sets of
`benchmarks/anomaly_development.py`: one to two deviations did alike, half of one and none worse. By its noise in M draws
the score is an upper bound in expectation of that of M → ∞.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from taut.data import Feed, Support
from taut.model import VAE, pick_prior

__all__ = ["blurred", "comparable"]

DRAWS = 2048
USUAL = 256  # rows that tell what a cell costs where nothing is odd
SCALE = math.sqrt(2)  # of Laplace noise, in widths of its column: noise of two
MIDDLE, DEVIATIONS = 0.9, 3.29  # the middle share of a normal distribution, and how many deviations wide it is
LEAST = 0.3  # of the plain deviation
COSTS = 2**22  # of a cell beside a draw, at once


def comparable(vae: VAE, feed: Feed) -> bool:
    """Whether rows and draws are of one distribution, and of columns that each have a deviation: else draws would have to be
    made anew for each row."""
    return feed.reading.layout == "vector" and not vae.conditioned and feed.reading.library is None


@torch.no_grad()
def blurred(
    vae: VAE, feed: Feed, progress: Callable[[float, int], None] = lambda done, total: None
) -> tuple[Tensor, Tensor]:
    """The scores (N,) of rows, nats, 0 of a row that all draws equal; by torch's generator. What is not known costs nothing.

    Beside them the blame (N, D) of each cell: what it costs as seen from the draws near its row, E_w[ −log k_d ] with
    w_m ∝ Π_d k_d(x_d | x_md), over and above the mean of that over rows that the model draws; of a cell that is not known 0.
    """
    support = feed.reading.support
    drawn = vae.generate(DRAWS, pick_prior()).likelihood.sample()
    columns = support.columns or (support,) * drawn.shape[1]
    ends = drawn.quantile(drawn.new_tensor([(1 - MIDDLE) / 2, (1 + MIDDLE) / 2]), dim=0)
    width = torch.maximum((ends[1] - ends[0]) / DEVIATIONS, LEAST * vae.scale)
    costs = [_cost(*each) for each in zip(drawn.T, width, columns, strict=True)]

    at_once = max(1, COSTS // (DRAWS * len(costs)))
    room = drawn.new_empty(len(costs), at_once, DRAWS)  # once for all: pieces of its size would tear the heap

    def judged(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        paid = room[:, : len(x)]  # (D, B, M)
        for d, cost in enumerate(costs):
            paid[d] = cost(x[:, d : d + 1])
        if mask is not None:
            paid *= mask.T.unsqueeze(2)
        total = paid.sum(0).neg_()
        return math.log(DRAWS) - total.logsumexp(1), torch.einsum("dbm,bm->bd", paid, total.softmax(1))

    others = vae.generate(USUAL, pick_prior()).likelihood.sample().split(at_once)
    usual = torch.cat([judged(some, None)[1] for some in others]).mean(0)
    scores, blames = [], []
    for index in torch.arange(len(feed), device=drawn.device).split(at_once):
        batch = feed.batch(index)
        score, cost = judged(batch.x.to(drawn.dtype), batch.mask)
        scores.append(score)
        blames.append(cost - usual if batch.mask is None else (cost - usual) * batch.mask)
        progress(int(index[-1]) + 1, len(feed))
    return torch.cat(scores), torch.cat(blames)


def _cost(drawn: Tensor, width: Tensor, support: Support) -> Callable[[Tensor], Tensor]:
    """log k(x|x) − log k(x|x_m) of cells x (B, 1) beside draws x_m (M,), as a function (B, 1) → (B, M)."""
    if support.kind not in ("binary", "categories"):
        return lambda x: ((x - drawn) / (SCALE * width)).abs()
    shares = (torch.bincount(drawn.long(), minlength=support.levels) + 0.5) / (len(drawn) + 0.5 * support.levels)
    other = (1 + 1 / shares).log().to(drawn.dtype)
    return lambda x: torch.where(x == drawn, 0.0, other[x.long()])
