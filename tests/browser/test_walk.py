"""The page that `taut export --web` writes decodes in a browser what the model decodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import taut
from taut.cli import main
from taut.export import export_page

pytestmark = pytest.mark.browser

CONV = "--model.latents 3 --model.network Conv --model.network.channels 4,8 --model.network.hidden 16"
RESIDUAL = "--model.network ResidualMLP --model.network.width 16 --model.network.activation gelu --model.likelihood Categorical"


@pytest.mark.parametrize("options", [CONV, RESIDUAL], ids=["conv", "residual"])
def test_the_page_decodes_as_the_model_does(browser, options: str, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "page"
    short = ["--training.steps", "5", "--training.batch", "32", "--quiet"]
    assert main(["train", "digits", "--out", str(run), *options.split(), *short]) == 0
    assert main(["export", str(run), "--web", "-o", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"index.html", "walk.js", "model.js"}
    context = browser.new_context()
    page = context.new_page()
    page.goto((out / "index.html").as_uri())
    page.wait_for_selector("canvas")
    assert 0 <= float(page.evaluate("document.body.dataset.difference")) < 1e-3
    before = page.evaluate("document.querySelector('canvas').toDataURL()")
    page.click("#next")
    assert page.evaluate("document.querySelector('canvas').toDataURL()") != before
    context.close()


def opened(browser, out: Path):
    page = browser.new_page()
    page.goto((out / "index.html").as_uri())
    page.wait_for_selector("#shown > *")
    assert 0 <= float(page.evaluate("document.body.dataset.difference")) < 1e-3
    return page


def test_a_table_is_shown_by_names(browser, tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    frame = pl.DataFrame({
        "size": random.randn(200), "income": np.exp(2 * random.randn(200)), "visits": random.poisson(30, 200),
        "year": random.randint(-900, 900, 200), "grade": random.randint(0, 5, 200), "member": random.rand(200) < 0.5,
        "time": random.choice(["früh", "晚"], 200), "stamp": 1_700_000_000 + random.randint(0, 900, 200),
    })  # fmt: skip
    run = taut.train(frame, training={"steps": 5})
    export_page(run, tmp_path / "page")
    page = opened(browser, tmp_path / "page")
    rows = page.evaluate(
        "[...document.querySelectorAll('#shown tr')].map(row => [...row.cells].map(c => c.textContent))"
    )
    assert [name for name, _ in rows] == frame.columns
    z = run.draw_codes(64).round(4)[:1]
    assert rows[-2][1] == run.frame(run.decode(z))["time"][0]
    assert float(rows[-1][1].replace(",", "")) == pytest.approx(run.decode(z)[0, -1], abs=0.01)
    assert float(rows[1][1].replace(",", "")) == pytest.approx(run.decode(z)[0, 1], rel=1e-3)
    page.close()


def test_a_signal_is_a_line_for_each_channel(browser, tmp_path: Path) -> None:
    export_page(
        taut.train(np.random.RandomState(0).randn(60, 2, 40), training={"steps": 2}, data={"layout": "signal"}),
        tmp_path / "page",
    )
    page = opened(browser, tmp_path / "page")
    lines = "[...document.querySelectorAll('#shown polyline')].map(line => line.points.length)"
    assert page.evaluate(lines) == [40, 40]
    before = page.evaluate("document.querySelector('polyline').getAttribute('points')")
    page.click("#next")
    assert page.evaluate("document.querySelector('polyline').getAttribute('points')") != before
    page.close()


def test_a_condition_is_asked_for(browser, tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    frame = pl.DataFrame(
        {"size": random.randn(200), "sex": random.choice(["f", "m"], 200), "age": random.rand(200) * 60}
    )
    frame = frame.with_columns(size=pl.col("size") + 5 * (pl.col("sex") == "m") + pl.col("age"))
    run = taut.train(frame, training={"steps": 100}, data={"condition": ["sex", "age"]})
    export_page(run, tmp_path / "page")
    page = opened(browser, tmp_path / "page")
    size = "Number(document.querySelector('#shown td:last-child').textContent.replace('−', '-'))"
    page.click("#zero")
    for sex, age in (("f", 20.0), ("m", 20.0), ("m", 50.0)):
        page.select_option(".told select", label=sex)
        page.fill(".told input", str(age))
        wanted = run.decode(np.zeros((1, sum(run.sizes))), {"sex": sex, "age": age})[0, 0]
        assert page.evaluate(size) == pytest.approx(wanted, rel=2e-3)
    page.close()


PARTS = {
    "codes": {"posterior": {"part": "Categorical", "categories": 3}},
    "bits": {"posterior": "Bernoulli"},
    "vectors": {"posterior": "VectorQuantised"},
    "sphere": {"posterior": "VonMisesFisher"},
    "cauchy": {"posterior": "Cauchy"},
    "student": {"likelihood": "Student"},
    "mixture": {"likelihood": "DiscretisedLogisticMixture"},
    "bounded": {"likelihood": "ContinuousBernoulli"},
    "maps": {
        "network": {"part": "Pyramid", "channels": [4, 8], "cells": 1},
        "layers": [{"part": "Spatial", "latents": 1}],
    },
}


@pytest.mark.parametrize("name", PARTS)
def test_every_mean_is_one_that_the_page_knows(browser, name: str, tmp_path: Path) -> None:
    export_page(taut.train("digits", training={"steps": 1}, model=PARTS[name]), tmp_path / "page")
    opened(browser, tmp_path / "page").close()
