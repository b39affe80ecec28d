"""Reports of runs and comparisons: every kind of model and data gets its pictures, its page and true numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import taut
from taut.comparison import PLACES, compare, plain_autoencoder
from taut.data import Data, Dataset, Split, open_array, open_data
from taut.errors import InputError
from taut.evaluation.space import Space
from taut.experiment import Experiment, resolve, train
from taut.explore import traverse
from taut.layers import Plain
from taut.model import Model
from taut.networks import MLP
from taut.objectives import ELBO, Constant
from taut.posteriors import Delta, RelaxedBernoulli, RelaxedCategorical, VectorQuantised
from taut.report import figures
from taut.report.compare import publish_comparison
from taut.report.publish import Canvas, publish
from taut.runs import Run, facts_of
from taut.training import Adam, Training

_traversals = figures.traversals
SMALL = Model(latents=3, network=MLP((16,)))
FEW = Training(steps=60, batch=32, optimiser=Adam(lr=1e-2), average=0.5)
METRICS = [
    {"step": step, "split": split, "elbo": -9.0 - step, "distortion": 8.0, "rate": 1.0 + step, "beta": 1.0,
     "active_units": None if split == "train" else 2}
    for step in (2, 4) for split in ("train", "valid")
]  # fmt: skip
RNG = np.random.default_rng(0)


def waves(*shape):
    """Examples that one latent explains, from −1 to 1."""
    return np.sin(6 * RNG.random((40, 1)) + np.linspace(0, 3, int(np.prod(shape)))).reshape(40, *shape)


def grey(x):
    return (127 * (x + 1)).astype(np.uint8)


def table(tmp_path, columns=4):
    path = tmp_path / "cells.csv"
    values = RNG.normal(size=(60, 2)) @ RNG.normal(size=(2, columns)) * 10.0 ** np.arange(columns)
    lines = [",".join([*(f"c{i}" for i in range(columns)), "fixed"])]
    lines += [",".join(f"{v:.6g}" for v in (*row, 7.0)) for row in values]
    path.write_text("\n".join(lines))
    return open_data(Data(str(path)))


def trained(data: Dataset, model: Model = SMALL, beta: float = 0.1) -> Run:
    experiment = Experiment(Data(data.reading.name), model, ELBO(beta=beta, schedule=Constant()), FEW)
    experiment = resolve(experiment, data)
    vae, facts = train(experiment, data)
    run = Run(vae.eval().requires_grad_(False), experiment, data.reading, facts_of(data), facts, None, data)
    run.summary |= run.evaluate(samples=2)
    return run


def pictures(folder):
    found = {path.stem for path in (folder / "figures").iterdir()}
    for path in (folder / "figures").iterdir():
        with Image.open(path) as image:
            image.load()
            assert min(image.size) > 30
    return found


ALL = {"aggregate", "samples", "reconstructions", "latent_map", "interpolations", "traversals", "kl", "curves"}
DRAWN = ALL - {"curves"}  # where there are no metrics


@pytest.fixture(scope="module")
def digits():
    return open_data(Data("digits", limit=200))


def test_a_run_of_images(digits, tmp_path):
    run = trained(digits)
    page = publish(run, digits, tmp_path / "new" / "run", METRICS)
    text = page.read_text("utf-8")
    assert page == tmp_path / "new" / "run" / "report.html"
    assert pictures(page.parent) == ALL
    assert text.count("data:image/png;base64,") == len(ALL)
    assert digits.what() in text and "means of p(x|z)" in text and "10% test" in text
    assert str(tmp_path) not in text.split("<h2>How to go on</h2>")[0]


@pytest.mark.parametrize(
    ("posterior", "places", "words"),
    [(RelaxedBernoulli(), 2, "takes all of its values"), (RelaxedCategorical(categories=4), 4, "takes all of its values"),
     (VectorQuantised(codes=9), 7, "takes 7 of its values")],
    ids=["bits", "categories", "codes"],
)  # fmt: skip
def test_latents_of_few_values_are_set_to_each_of_them(posterior, places, words, digits, tmp_path, monkeypatch):
    run = trained(digits, replace(SMALL, posterior=posterior))
    seen = []
    monkeypatch.setattr(
        figures, "traversals", lambda rows, *rest, **named: seen.append(rows) or _traversals(rows, *rest, **named)
    )
    page = publish(run, digits, tmp_path / "run", METRICS)
    assert pictures(page.parent) == ALL - {"aggregate"}, "the rate comes by latent"
    text = page.read_text("utf-8")
    assert words in text and "3 latent dimensions" in text and "posterior mean " not in text
    assert run.summary["latent_dim"] == len(run.summary["kl_per_dim"]) == 3
    (rows,) = seen
    assert rows.shape[1] == places
    code = run.encode(digits.test)[:1]
    for variable in run.variables:
        values, marks = variable.course(variable.reach, places)
        assert len({tuple(value) for value in values}) == len(set(marks)) == places
        way = traverse(code[0], variable.start, values)
        np.testing.assert_allclose(run.place(way), way, atol=1e-6)
        own = code[0, variable.start : variable.start + values.shape[1]]
        assert np.abs(variable.values - own).max(1).min() < 1e-6, "what it was is one of all"


def test_a_report_is_the_same_each_time_and_leaves_the_generators_alone(digits, tmp_path):
    run = trained(digits)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    folders = [publish(run, digits, tmp_path / name, METRICS).parent for name in "ab"]
    assert torch.equal(before, torch.random.get_rng_state())
    for path in sorted((folders[0] / "figures").iterdir()):
        assert path.read_bytes() == (folders[1] / "figures" / path.name).read_bytes()


def test_a_table_keeps_its_names_and_constant_columns(tmp_path):
    data = table(tmp_path)
    page = publish(trained(data), data, tmp_path / "run", METRICS)
    assert pictures(page.parent) == ALL
    assert "fixed (put back on output)" in page.read_text("utf-8")


@pytest.mark.parametrize(
    "x",
    [waves(50), waves(6, 5), grey(waves(3, 6, 6)), grey(waves(6, 7, 3)), waves(5, 5, 1) / 2 + 0.5, waves(9) > 0],
    ids=["signals", "real images", "channels first", "channels last", "grey with a channel", "binary vectors"],
)
def test_other_data(x, tmp_path):
    data = open_array(x)
    page = publish(trained(data), data, tmp_path, [])
    assert pictures(tmp_path) == DRAWN
    assert "no labels" in page.read_text("utf-8")


def test_binarisation_is_said_and_drawn_grey(tmp_path):
    data = open_data(Data("digits", limit=100, binarize="dynamic"))
    canvas, space = Canvas.of(data), Space.of(data)
    assert canvas.vmax == 1.0
    assert {0.0, 0.5} < set(np.unique(space.still(data.test)).tolist())
    text = publish(trained(data), data, tmp_path, []).read_text("utf-8")
    assert "Binarised anew" in text


def test_a_point_posterior_is_an_autoencoder(digits, tmp_path):
    run = trained(digits, replace(SMALL, posterior=Delta()), beta=0.0)
    text = publish(run, digits, tmp_path, []).read_text("utf-8")
    assert pictures(tmp_path) == DRAWN - {"samples", "kl", "aggregate"}
    assert "no distribution of codes to draw from" in text and "digits — autoencoder" in text


def test_a_model_without_latents(digits, tmp_path):
    run = trained(digits, replace(SMALL, layers=()))
    text = publish(run, digits, tmp_path, []).read_text("utf-8")
    assert pictures(tmp_path) == {"samples"}
    assert "no latents" in text


def test_a_hierarchy(digits, tmp_path):
    publish(trained(digits, replace(SMALL, layers=(Plain(latents=2), Plain(latents=3)))), digits, tmp_path, [])
    assert pictures(tmp_path) == DRAWN


def test_collapse_is_said_with_its_cure(digits, tmp_path):
    run = trained(digits, replace(SMALL, latents=8))
    run.summary["active_units"] = 1
    text = publish(run, digits, tmp_path, []).read_text("utf-8")
    assert "Only 1 of 8 latent dimensions" in text and "<code>--objective.free_bits 0.25</code>" in text


def test_distances_in_a_table_are_in_standard_deviations(tmp_path):
    data = table(tmp_path)
    space = Space.of(data)
    points = space.points(space.still(data.train))
    assert points.shape == (len(data.train), 5)
    torch.testing.assert_close(points.std(0, correction=0)[:4], torch.ones(4), rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def compared(digits):
    told = []
    training = Training(steps=200, batch=64, optimiser=Adam(lr=3e-3), average=0.9)
    experiment = Experiment(Data("digits", limit=200), SMALL, training=training)
    return compare(experiment, digits, lambda name, event: told.append(name)), told


def test_a_comparison_trains_two_models_that_differ_in_their_posterior_alone(compared):
    comparison, told = compared
    a, b = comparison.sides
    assert list(dict.fromkeys(told)) == ["autoencoder", "variational autoencoder"]
    assert plain_autoencoder(b.run.experiment) == a.run.experiment
    assert a.run.experiment.training == b.run.experiment.training
    assert isinstance(a.run.experiment.model.layers[0].posterior, Delta)


def test_a_comparison_measures_truly(compared):
    comparison, _ = compared
    a, b = comparison.sides
    assert comparison.data.distance == 1.0
    assert abs(comparison.data.mismatch) < 0.03
    assert a.train_distortion < b.train_distortion  # the rate costs the other some of its nats
    for side in comparison.sides:
        assert set(side.near) == set(PLACES)
        assert side.overfitting == pytest.approx(side.test_distortion - side.train_distortion)
        assert side.near["prior"].mismatch > 0.0 and 0 < side.near["prior"].coverage <= 1
        run, test = side.run, comparison.index
        x = Space.of(run.data).still(run.data.test, test)
        rmse = np.sqrt(np.mean((run.reconstruct(Split(run.data.test.x[test])) - x) ** 2))
        assert side.test_rmse == pytest.approx(rmse, rel=1e-4)


def test_gibberish_matches_no_data_and_data_do(digits):
    from taut.comparison import _Measure

    measure = _Measure(digits)
    index = torch.arange(measure.size)
    real = measure.near(measure.points(digits.train, index))
    noise = measure.near(torch.rand(measure.size, 64) * 16)
    blur = measure.near(measure.training.mean(0) + 0.1 * torch.randn(measure.size, 64))
    assert abs(real.mismatch) < 0.03 and real.coverage > 0.5
    assert noise.mismatch > 1 and noise.distance > 1.5 and noise.coverage < 0.45
    assert blur.mismatch == pytest.approx(1, abs=0.1) and blur.coverage < 0.2


def test_the_report_of_a_comparison(compared, digits, tmp_path):
    comparison, _ = compared
    page = publish_comparison(comparison, digits, tmp_path)
    assert pictures(tmp_path) == {"comparison"}
    numbers = json.loads((tmp_path / "comparison.json").read_text("utf-8"))
    assert set(numbers) == {"data", "autoencoder", "vae"}
    assert numbers["vae"]["near"]["prior"]["mismatch"] == comparison.vae.near["prior"].mismatch
    text = page.read_text("utf-8")
    assert "autoencoder and variational autoencoder" in text and "draws from the prior" in text


def test_a_comparison_of_a_table(tmp_path):
    data = table(tmp_path)
    comparison = compare(Experiment(Data("cells"), SMALL, training=FEW), data)
    publish_comparison(comparison, data, tmp_path / "out")
    assert comparison.unit == "standard deviations of the columns"
    assert pictures(tmp_path / "out") == {"comparison"}


def test_a_comparison_needs_a_variational_autoencoder(digits):
    with pytest.raises(InputError, match=r"model\.posterior: is Delta"):
        compare(Experiment(Data("digits"), replace(SMALL, posterior=Delta())), digits)
    with pytest.raises(InputError, match=r"model\.layers: is empty"):
        compare(Experiment(Data("digits"), replace(SMALL, layers=())), digits)


def test_the_rate_of_layers_that_do_not_come_apart_is_shown_by_layer(tmp_path: Path) -> None:
    """A Vamp prior at the top has one KL for all its latents: the report has a picture of the layers, and their numbers."""
    layers = [{"part": "Plain", "latents": 2}, {"part": "Plain", "latents": 3}]
    run = taut.train("digits", model={"prior": {"part": "Vamp", "components": 4}, "layers": layers},
                     training={"steps": 3}, data={"limit": 200}, out=tmp_path / "run")  # fmt: skip
    assert len(run.summary["kl_per_dim"]) == 4 and len(run.summary["kl_per_layer"]) == 2
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Where the rate goes" in page and "By layer, top first: " in page
