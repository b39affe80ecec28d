"""How odd a row is: exact where draws have a known distribution, blind to what is not known, not deceived by company."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

import taut
from taut.data import Feed, Reading, Split, Statistics, Support
from taut.evaluation.blur import SCALE, blurred
from taut.likelihoods import Bernoulli, Columns, Gaussian
from taut.model import Model
from taut.networks import MLP
from taut.training import seeded

torch.set_num_threads(1)


def independent(columns: int) -> tuple[torch.nn.Module, Reading]:
    """A model of columns about 2 d, each of deviation d, whose latents say nothing; the last is a coin of one in five."""
    supports = (*[Support("real")] * (columns - 1), Support("binary", 2))
    places = torch.arange(1.0, columns + 1)
    vae = Model(latents=1, network=MLP((2,)), likelihood=Columns(real=Gaussian("constant"), binary=Bernoulli())).build(
        (columns,), Support("columns", columns=supports), Statistics(2 * places, places)
    )
    with torch.no_grad():
        vae.decoder.body[-1][0].weight.zero_()
        for head in vae.decoder.head.heads:
            if isinstance(head.spec, Bernoulli):
                head.offset.fill_(math.log(0.2 / 0.8))
    reading = Reading("t", "vector", (columns,), (columns,), "float64", Support("columns", columns=supports))
    return vae.eval(), reading


@torch.no_grad()
def score(vae: torch.nn.Module, reading: Reading, x: torch.Tensor) -> torch.Tensor:
    with seeded(0):
        return blurred(vae, Feed(Split(x), reading))[0]


def test_it_is_the_blurred_density_where_that_is_known():
    vae, reading = independent(2)
    x = torch.tensor([[2.0, 0.0], [2.0, 1.0], [5.0, 0.0], [12.0, 1.0]])
    grid = torch.linspace(-10, 14, 20_001)
    usual = torch.exp(-((grid - 2) ** 2) / 2) / math.sqrt(2 * math.pi)
    numbers = [float((usual * (-(place - grid).abs() / SCALE).exp()).sum() * (grid[1] - grid[0])) for place in x[:, 0]]
    coin = {0.0: 0.8 + 0.2 / (1 + 1 / 0.8), 1.0: 0.2 + 0.8 / (1 + 1 / 0.2)}  # chance ½ that it is tossed anew
    truth = [-math.log(number) - math.log(coin[side]) for number, side in zip(numbers, x[:, 1].tolist(), strict=True)]
    np.testing.assert_allclose(score(vae, reading, x).numpy(), truth, rtol=0.05, atol=0.1)  # a width is that of draws


def test_what_is_not_known_costs_nothing():
    vae, reading = independent(4)
    x = torch.tensor([[2.0, 40.0, 6.0, 1.0]]).repeat(4, 1)
    x[1, 1] = x[2, 3] = math.nan
    x[3] = math.nan
    found = score(vae, reading, x)
    assert found[0] > found[1] + 10 and found[0] > found[2] and found[3] == pytest.approx(0, abs=1e-5)


def test_odd_rows_do_not_hide_in_a_crowd_of_their_own():
    """A twentieth of the rows lie close together: a density learns them too, and gives the least cost to what lies closest."""
    random = np.random.RandomState(0)
    usual = random.randn(760, 1) * [1, 1, -1, 0.5] + 0.5 * random.randn(760, 4)
    odd = np.array([3.0, -3, 3, 3]) + 0.02 * random.randn(40, 4)
    run = taut.train(np.concatenate([usual, odd]), seed=0, training={"steps": 800}, data={"support": "columns"})
    found = run.score(np.concatenate([usual, odd]))
    y = np.arange(800) >= 760
    assert roc_auc_score(y, found.score) > 0.97
    assert roc_auc_score(y, found.score) > roc_auc_score(y, found.cost)
    assert np.isfinite(found.cost).all() and (found.score > 0).all()
    because = found.because(["a", "b", "c", "d"])
    assert all(because[i] for i in np.argsort(-found.score)[:40]), "what is odd has a column to blame"
    assert sum(bool(reason) for reason in because[:760]) < 380


def test_where_each_row_has_a_distribution_of_its_own_the_score_is_the_cost():
    random = np.random.RandomState(0)
    frame = pl.DataFrame({"a": random.randn(60), "b": random.rand(60), "kind": ["x", "y"] * 30})
    told = taut.train(frame, epochs=1, data={"condition": ["kind"]}).score(frame)
    assert told.score is told.cost
    pictures = taut.train("digits", epochs=0.1)
    seen = pictures.score(np.zeros((3, 8, 8)))
    assert seen.score is seen.cost
