"""Sweeps: what the plane of rate and distortion says is true, points are ordinary runs, and a stop loses nothing."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image
from rich.console import Console
from scipy.spatial import ConvexHull

import taut
from taut.api import carry_out
from taut.cli import main
from taut.console import Board
from taut.errors import InputError
from taut.evaluation.tension import Place, beaten, frontier, least
from taut.report import figures
from taut.report.tension import Mark, Track, along, rate_distortion
from taut.sweep import Listener, lay_out, reopen, split, sweep
from taut.training import Event, Start, Stopped

torch.set_num_threads(1)

BITS = 8
TINY = {
    "model": {"latents": 2, "network": {"part": "MLP", "hidden": [16]}},
    "training": {"steps": 150, "batch": 64, "optimiser": {"part": "Adam", "lr": 1e-2}, "average": 0.9, "device": "cpu"},
}


def log_p(x: np.ndarray) -> np.ndarray:
    """log p*(x), (N,), of a source that is known: nine in ten bits agree with a hidden one."""
    ones = x.sum(1)
    return np.logaddexp(*(math.log(0.5) + ones * math.log(p) + (BITS - ones) * math.log(1 - p) for p in (0.9, 0.1)))


@pytest.fixture(scope="module", autouse=True)
def without_reports():
    """The report that ends each point is tested elsewhere, and costs more than to train it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taut.report.publish.publish", lambda run, data, folder, metrics: None)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    hidden = random.integers(0, 2, (4000, 1))
    path = tmp_path_factory.mktemp("data") / "bits.npy"
    np.save(path, (hidden ^ (random.random((4000, BITS)) < 0.1)).astype(np.uint8))
    return path


def plan_of(source: Path | str, warm: bool = False, **given: str):
    tree = {"data": {"source": str(source)}, **TINY}
    return lay_out(*split(tree, {name.replace("__", "."): text for name, text in given.items()}), warm)


@pytest.fixture(scope="module")
def swept(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("sweep") / "swept"
    return folder, sweep(plan_of(source, objective__beta="0.1,1,10"), folder)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


# --- the plane ---------------------------------------------------------------------------------------------------


def gaussian(variance: float, noise: float, distances: np.ndarray) -> list[Place]:
    """x ~ N(0, s²) through a code that leaves a mean square d of it: the least rate is ½ log s²/d, and with p(x|z) = N(z, v)
    the distortion ½ log 2πv + d/2v (Cover and Thomas 2006, theorem 10.3.2)."""
    return [
        Place(0.5 * math.log(variance / d), 0.5 * math.log(2 * math.pi * noise) + d / (2 * noise)) for d in distances
    ]


def test_the_best_models_of_a_gaussian_touch_its_entropy_at_beta_one_and_none_is_below() -> None:
    s, v = 2.3, 0.4
    betas = np.array([0.01, 0.1, 0.5, 1.0, 2.0, 5.0])
    places = gaussian(s, v, betas * v)  # where D + βR is least: d/2v − ½ β log d
    entropy = 0.5 * math.log(2 * math.pi * math.e * s)
    assert min(place.total for place in places) == pytest.approx(entropy, abs=1e-12)
    assert betas[least(places)] == 1
    assert frontier(places) == list(range(len(places)))[::-1], "the curve is convex, and rates fall with β"
    assert beaten(places, betas.tolist()) == {}
    swapped = [places[1], places[0], *places[2:]]
    assert beaten(swapped, betas.tolist()).keys() == {0, 1}, "each of them has what the other should have found"


def test_the_frontier_is_the_lower_left_edge_of_the_convex_hull() -> None:
    random = np.random.default_rng(0)
    for count in (3, 5, 40):
        points = random.random((count, 2)) * (30, 200)
        hull = points[ConvexHull(points).vertices]
        left = hull[hull[:, 0].argmin()]
        low = hull[hull[:, 1].argmin()]
        edge = points[frontier([Place(*point) for point in points])]
        assert np.array_equal(edge[0], left) and np.array_equal(edge[-1], low)
        assert {tuple(point) for point in edge} <= {tuple(point) for point in hull}
        for a, b in itertools.pairwise(edge):  # no point lies below a chord
            chord = a[1] + (points[:, 0] - a[0]) * (b - a)[1] / (b - a)[0]
            assert (points[:, 1] >= chord - 1e-9).all()


def test_equal_and_worse_models_are_not_on_the_frontier() -> None:
    assert frontier([Place(1, 5), Place(1, 5), Place(1, 6), Place(2, 5), Place(2, 7)]) == [0]
    assert frontier([Place(0, 9)]) == [0]


# --- which points ------------------------------------------------------------------------------------------------


def test_a_list_is_a_sweep_only_for_a_number() -> None:
    tree = {"data": {"source": "digits"}}
    given = {"objective.beta": "0.1,1", "model.network": "MLP", "model.network.hidden": "64,32", "seed": "0,1"}
    base, swept = split(tree, given)
    assert swept == {"objective.beta": ("0.1", "1"), "seed": ("0", "1")}
    assert base["model"]["network"]["hidden"] == "64,32"


REFUSED = [
    ({"objective.beta": "1"}, "taut sweep: no option has several values to sweep; say which"),
    ({"model.network": "MLP", "model.network.hidden": "9,9"}, "and 9,9 is one value of model.network.hidden; say"),
    ({"objective.bta": "1,2"}, "objective.bta: ELBO has no such option; did you mean beta"),
    ({"model.prior": "Vamp,Mixture"}, "model.prior: is 'Vamp,Mixture', and Vamp is no number; a sweep is over numbers"),
    ({"training.schedule": "cosine,linear"}, "and cosine is no number"),
    ({"training.clip": "1,none"}, "and none is no number"),
    ({"model.posterior": "RelaxedBernoulli", "model.posterior.straight_through": "true,false"}, "and true is no number"),
    ({"objective.beta": "1,x"}, "objective.beta: is 'x'; give a number"),
    ({"objective.beta": "1,,2"}, "objective.beta: is '1,,2', where a number is missing"),
    ({"objective.beta": "1,-2"}, "objective.beta: is -2; give 0 or more"),
    ({"model.latents": "2,0"}, "model.latents: is 0; give 1 or more"),
    ({"objective.beta": "1,1.0"}, "objective.beta: 1 is given twice"),
    ({"seed": "1,2", "model.latents": "1,2", "objective.beta": "1,2"}, "--objective.beta: is the third option"),
    ({"training.minutes": "1,2"}, "training.minutes: goes by the clock"),
    ({"training.epochs": "2,4", "objective.schedule.epochs": "3"}, "objective.schedule.epochs: is 3, but the run has 2"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_swept_is_refused_before_training(given: dict[str, str], words: str) -> None:
    with pytest.raises(InputError) as told:
        lay_out(*split({"data": {"source": "digits"}}, given))
    assert words in str(told.value)


def test_a_grid_has_every_pair_and_lines_along_the_first_option(source: Path) -> None:
    plan = plan_of(source, warm=True, objective__beta="0.5,1,2", seed="0,1")
    assert [point.name for point in plan.points][:4] == [
        "objective.beta=0.5,seed=0", "objective.beta=1,seed=0", "objective.beta=2,seed=0", "objective.beta=0.5,seed=1",
    ]  # fmt: skip
    assert [point.after for point in plan.points] == [None, 0, 1, None, 3, 4]
    assert plan.chains == 2 and plan.options == {"objective.beta": (0.5, 1.0, 2.0), "seed": (0, 1)}
    first, second = plan.points[0].experiment, plan.points[1].experiment
    assert (first.training.steps, second.training.steps) == (150, 38)
    assert second.objective.schedule.factor(0, 38, 1) == 1.0


def test_weights_of_another_shape_are_no_start(source: Path) -> None:
    with pytest.raises(
        InputError, match=r"^--warm: the weights of model.latents=2 do not fit model.latents=3; leave it out"
    ):
        plan_of(source, warm=True, model__latents="2,3")


def test_minutes_are_measured_once_and_frozen() -> None:
    tree = {"data": {"source": "digits"}, "model": TINY["model"]}
    plan = lay_out(*split(tree, {"training.minutes": "0.01", "objective.beta": "1,2"}))
    one, two = (point.experiment.training for point in plan.points)
    assert one.steps == two.steps > 0 and one.minutes is None


# --- where weights come from -------------------------------------------------------------------------------------


def test_a_start_is_recorded_and_held_to(swept: tuple[Path, dict], source: Path, tmp_path: Path) -> None:
    before = swept[0] / "objective.beta=1"
    options = {**TINY, "training": {**TINY["training"], "steps": 1, "start": {"run": str(before)}}}
    run = taut.train(source, out=tmp_path / "run", **options)
    assert run.experiment.training.start.run == str(before.resolve())
    again = json.loads((before / "summary.json").read_text())
    assert run.summary["elbo"] == pytest.approx(again["elbo"], abs=0.2), "one step leads nowhere"
    fresh = taut.train(source, **{**TINY, "training": {**TINY["training"], "steps": 1}})
    assert fresh.summary["elbo"] < again["elbo"] - 1
    held = Start(str(before), run.experiment.training.start.digest)
    assert held.resolved() == run.experiment.training.start
    with pytest.raises(InputError, match=r"^training.start.digest: is 0123, and the weights in .* are .*; put the old"):
        Start(str(before), "0123").resolved()
    with pytest.raises(InputError, match=r"^training.start.run: .* holds no trained model; "):
        Start(str(tmp_path)).resolved()
    with pytest.raises(InputError, match=r"^training.start.run: .* holds weights that do not fit this model"):
        taut.train(source, **options | {"model": {"latents": 5}})


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a sweep is tested once, and is as long as a point."""
    monkeypatch.setattr("taut.sweep.run.publish_sweep", lambda *what: None)


# --- sweeps ------------------------------------------------------------------------------------------------------


def test_no_point_lies_below_the_entropy_of_a_source_that_is_known(swept: tuple[Path, dict]) -> None:
    every = np.array(list(itertools.product((0, 1), repeat=BITS)))
    entropy = -float(np.sum(np.exp(log_p(every)) * log_p(every)))
    folder, record = swept
    test = taut.load(folder / "objective.beta=1").dataset().test.x.numpy()
    measured = -log_p(test.reshape(len(test), -1)).mean()  # over the examples that the points are measured on
    for point in record["points"]:
        total = point["distortion"] + point["rate"]
        assert total == pytest.approx(-point["elbo"])
        assert total > measured - 0.05 and total > entropy - 4 * point["elbo_stderr"]
        assert -point["iw"]["value"] > measured - 0.05
    totals = {point["folder"]: point["distortion"] + point["rate"] for point in record["points"]}
    assert record["least"]["value"] == min(totals.values())
    assert record["least"]["folder"] == min(totals, key=totals.get) == "objective.beta=1"
    assert record["tightest"]["value"] == min(-point["iw"]["value"] for point in record["points"])
    alone = BITS * math.log(2)  # of bits that know nothing of one another
    assert record["least"]["value"] < 0.7 * measured + 0.3 * alone, "and the bound is worth something"
    rates = [point["rate"] for point in record["points"]]
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1] + 0.5
    assert entropy == pytest.approx(measured, abs=4 * record["least"]["stderr"])


def test_points_are_ordinary_runs(swept: tuple[Path, dict], source: Path, tmp_path: Path) -> None:
    folder, record = swept
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "sweep.json", "rate_distortion.png", "along.png", "report.html",
        *(point["folder"] for point in record["points"]),
    }  # fmt: skip
    assert json.loads((folder / "sweep.json").read_text()) == record and record["finished"]
    for point in record["points"]:
        run = taut.load(folder / point["folder"])
        assert run.experiment.objective.beta == point["values"]["objective.beta"] == point["beta"]
        assert {"elbo": run.summary["elbo"], "rate": run.summary["rate"]} == {
            "elbo": point["elbo"],
            "rate": point["rate"],
        }
    assert main(["sample", str(folder / "objective.beta=10"), "-o", str(tmp_path / "x.npy"), "--quiet"]) == 0
    taut.train(source, out=tmp_path / "alone", objective={"beta": 0.1}, **TINY)
    assert weights(tmp_path / "alone") == weights(folder / "objective.beta=0.1"), "the same as trained alone"


class Interrupt(Listener):
    """Presses Ctrl-C in the middle of a point."""

    def __init__(self, point: int, number: int = signal.SIGINT) -> None:
        self.point, self.number, self.seen = point, number, []

    def begun(self, i: int) -> None:
        self.seen.append(i)

    def event(self, i, event) -> None:
        if i == self.point and event.step > event.steps // 2:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def interruptible():
    """Ctrl-C as Python has it, which a job in the background starts without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible", "without_pictures")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_goes_on_bit_for_bit(
    swept: tuple[Path, dict], source: Path, tmp_path: Path, number: int
) -> None:
    folder = tmp_path / "cut"
    with pytest.raises(Stopped):
        sweep(plan_of(source, objective__beta="0.1,1,10"), folder, listener=Interrupt(1, number))
    assert weights(folder / "objective.beta=0.1") and not (folder / "objective.beta=10").exists()
    told = json.loads((folder / "sweep.json").read_text())
    assert not told["finished"] and [point["elbo"] is None for point in told["points"]] == [False, True, True]
    plan, jobs = reopen(folder)
    listener = Interrupt(-1)
    record = sweep(plan, folder, jobs, resume=True, listener=listener)
    assert listener.seen == [1, 2], "what is finished is kept"
    assert record["finished"]
    for point in record["points"]:
        assert weights(folder / point["folder"]) == weights(swept[0] / point["folder"])
        del point["seconds"]
    whole = [{key: value for key, value in point.items() if key != "seconds"} for point in swept[1]["points"]]
    assert record["points"] == whole


@pytest.mark.usefixtures("interruptible", "without_pictures")
def test_a_point_that_was_killed_before_its_first_checkpoint_begins_anew(
    swept: tuple[Path, dict], source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    with pytest.raises(Stopped):
        sweep(plan_of(source, objective__beta="0.1,1,10"), folder, listener=Interrupt(1))
    half = folder / "objective.beta=1"
    (half / "checkpoint.safetensors").rename(half / ".checkpoint.safetensors.0123abcd")  # as if it were being written
    (folder / "objective.beta=10").mkdir()
    (folder / "objective.beta=10" / "config.yaml").write_text("data:")  # and this killed right at the start
    sweep(reopen(folder)[0], folder, resume=True)
    for name in ("objective.beta=1", "objective.beta=10"):
        assert weights(folder / name) == weights(swept[0] / name)


def test_nothing_is_left_of_a_sweep_that_came_to_nothing(source: Path, tmp_path: Path, monkeypatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("taut.sweep.run.carry_out", broken)
    with pytest.raises(KeyboardInterrupt):
        sweep(plan_of(source, objective__beta="1,2"), tmp_path / "deep" / "er")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("interruptible", "without_pictures")
def test_a_warm_line_starts_from_its_neighbours(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "warm"
    with pytest.raises(Stopped):
        sweep(plan_of(source, warm=True, objective__beta="0.5,1,2"), folder, listener=Interrupt(1))
    record = sweep(reopen(folder)[0], folder, resume=True)
    assert [point["start"] for point in record["points"]] == [None, "objective.beta=0.5", "objective.beta=1"]
    assert [point["steps"] for point in record["points"]] == [150, 38, 38]
    config = taut.load(folder / "objective.beta=2").experiment
    assert config.training.start == Start(str(folder / "objective.beta=1")).resolved()
    run = taut.load(folder / "objective.beta=1")
    again = carry_out(run.experiment, run.dataset(), tmp_path / "again")
    assert weights(again.folder) == weights(run.folder), "its configuration says all that it came from"
    assert record["points"][1]["elbo"] > record["points"][0]["elbo"] - 0.5


def test_a_point_that_diverges_costs_no_other(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = {
        "data": {"source": str(source)},
        **TINY,
        "training": {**TINY["training"], "optimiser": "SGD", "warmup": 0.0},
    }
    given = {"training.optimiser.lr": "1e9,1e-3", "seed": "0,1"}
    record = sweep(lay_out(*split(tree, given), warm=True), tmp_path / "sweep")
    failures = [point["failure"] for point in record["points"]]
    assert all("not finite at step" in failures[i] for i in (0, 2))
    assert failures[1] == "starts from training.optimiser.lr=1e+09,seed=0, which failed"
    assert not record["finished"] and record["least"] is None
    assert "failed" in (tmp_path / "sweep" / "report.html").read_text()


# --- pictures ----------------------------------------------------------------------------------------------------

EXTREMES = {
    "β from 0.01 to 100": [(310, 8), (120, 17), (62, 39), (25.5, 67), (9, 105), (2.1, 166), (0, 206), (0, 206.2)],
    "far from the origin": [(140, 2950), (100, 2970), (62, 3000), (30, 3060), (5, 3160)],
    "a density": [(14, -9), (10, -7), (6.2, -4), (3, 0.5), (0, 6)],
    "all collapsed": [(0, 100), (0, 100)],
    "one": [(3, 4)],
    "nothing but zeros": [(0, 0), (0, 0)],
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("series", [1, 3])
def test_the_plane_is_drawn_at_any_scale(name: str, series: int, tmp_path: Path) -> None:
    shown = {
        f"latents = {k}": [Mark(Place(rate * (1 - k / 5), distortion + rate * k / 3, 0.2), str(i), i == 3)
                           for i, (rate, distortion) in enumerate(EXTREMES[name])]
        for k in range(series)
    }  # fmt: skip
    picture = rate_distortion(shown, discrete=name != "a density")
    path = figures.save(picture, tmp_path / "p.png")
    with Image.open(path) as image:
        assert image.size == (1360, 840) and len(image.convert("RGB").getcolors(256)) > 5
    panel = picture.axes[0]
    total = min(mark.place.total for marks in shown.values() for mark in marks)
    (line,) = [line for line in panel.lines if line.get_color() == "#767672" and len(line.get_xdata()) == 2]
    assert np.allclose(line.get_xdata() + line.get_ydata(), total), "the line is where R + D is least"
    boxes = [Text.get_window_extent(text) for text in panel.texts if text.get_text().startswith("β")]
    assert boxes and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("values", [[0.1, 1, 10], [0, 0.1, 1], [2, 3, 4], list(range(1, 30)), [5]])
def test_numbers_are_drawn_along_any_option(values: list[float], tmp_path: Path) -> None:
    line = np.array([(value, -value, 0.1) for value in values])
    picture = along([Track("ELBO", {"": line}, {"": line}), Track("active", {"": line}, whole=True)], "an option")
    with Image.open(figures.save(picture, tmp_path / "p.png")) as image:
        assert min(image.size) > 100
    assert picture.axes[0].get_xscale() == {0.1: "log", 0: "symlog", 1: "log"}.get(values[0], "linear")


def test_a_live_board_has_a_row_for_each_point_that_is_trained() -> None:
    out = Console(file=io.StringIO(), force_terminal=True, width=160, highlight=False)
    board = Board(out, ["a=1", "a=10"])
    valid = {"elbo": -100.0, "distortion": 80.0, "rate": 20.0, "active_units": 3}
    for i in (0, 1):
        board.begun(i)
        board.event(i, Event(50, 100, 1.0, 2.0, 1000.0, 0.1, {"distortion": 1.0, "rate": 1.0}, valid))
    board.stage(1, "evaluating")
    board.live.refresh()
    board.finished(1, valid | {"latent_dim": 4, "seconds": 4.0})
    board.failed(0, "training: is not finite")
    board.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.file.getvalue())
    assert re.search(r"a=1 +━+.* +50/100 .*ELBO −100.00 .*2 s left", text) and re.search(r"a=10 +evaluating …", text)
    assert "a=10  ELBO −100.00  D 80.00  R 20.00 nats  active 3 of 4  4 s" in text
    assert "a=1   failed: training: is not finite" in text
    quiet = Board(Console(file=io.StringIO(), force_terminal=True), ["a"], quiet=True)
    quiet.begun(0)
    quiet.failed(0, "why")
    assert quiet.out.file.getvalue() == ""


# --- the command -------------------------------------------------------------------------------------------------

OPTIONS = ["--model.latents", "2", "--model.network", "MLP", "--model.network.hidden", "16", "--training.batch", "64",
           "--training.optimiser.lr", "1e-2", "--training.average", "0.9", "--device", "cpu"]  # fmt: skip


def test_the_command(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "sweep")
    capsys.readouterr()
    argv = ["sweep", str(source), *OPTIONS, "--training.steps", "40", "--seed", "0,1", "--jobs", "1"]
    assert main([*argv, "--out", folder]) == 0
    out = capsys.readouterr().out
    assert "sweep: seed at 0, 1: 2 points, one at a time" in out and "the data's entropy: H ≤ " in out
    assert "seed" in out and f"report  {folder}/report.html" in out
    assert main([*argv, "--out", folder]) == 2 and "--force" in capsys.readouterr().err
    before = weights(Path(folder) / "seed=1")
    assert main(["sweep", "--resume", folder, "--quiet"]) == 0, "a finished sweep has nothing to do but its report"
    assert weights(Path(folder) / "seed=1") == before
    assert main(["sweep", "digits", "--resume", folder]) == 2 and "no DATA" in capsys.readouterr().err
    (Path(folder) / "seed=1" / "thesis.txt").write_text("mine")
    assert main([*argv, "--out", folder, "--force"]) == 2 and "seed=1/thesis.txt" in capsys.readouterr().err
    (Path(folder) / "seed=1" / "thesis.txt").unlink()
    assert main([*argv, "--out", folder, "--force", "--quiet"]) == 0
    assert weights(Path(folder) / "seed=1") == before
    np.save(tmp_path / "bits.npy", np.load(source)[::-1])
    record = json.loads((Path(folder) / "sweep.json").read_text())
    (Path(folder) / "sweep.json").write_text(json.dumps(record | {"hash": "other"}))
    assert main(["sweep", "--resume", folder]) == 2 and "have changed since the sweep began" in capsys.readouterr().err
    (Path(folder) / "sweep.json").write_text("{}")
    assert main(["sweep", "--resume", folder]) == 2 and "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["sweep"], "DATA"),
        (["sweep", "digits"], "no option has several values"),
        (["sweep", "digits", "--objective.beta", "1,2", "--jobs", "0"], "--jobs: is 0; give 1 or more"),
        (["sweep", "--resume", "nosuch"], "is no sweep"),
        (["sweep", "digits", "--model.prior", "Vamp,Mixture"], "a sweep is over numbers"),
        (["sweep", "digits", "--objective.bet", "1,2"], "did you mean beta"),
    ],
)
def test_mistakes_get_one_line(argv: list[str], hint: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert hint in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_save_their_points_and_go_when_their_parent_does(source: Path, tmp_path: Path, number: int) -> None:
    """Killed outright, or stopped: two points at once, each goes on from its own checkpoint to the bits of an unbroken run."""
    folder, names = tmp_path / "sweep", ("objective.beta=0.5", "objective.beta=1")
    argv = ["sweep", str(source), *OPTIONS, "--training.steps", "1500", "--objective.beta", "0.5,1", "--jobs", "2"]
    command = [sys.executable, "-m", "taut.cli", *argv, "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600

    def wait_until(said) -> None:
        while not said():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def begun(name: str) -> bool:
        journal = folder / name / "metrics.jsonl"
        return journal.is_file() and journal.stat().st_size > 0

    wait_until(lambda: all(map(begun, names)) or process.poll() is not None)
    process.send_signal(number)
    _, error = process.communicate(timeout=600)
    if number == signal.SIGTERM:
        assert process.returncode == 143 and error.endswith(f"Go on with: taut sweep --resume {folder}\n")
        assert error.count("\n") == 1
    cut = [name for name in names if not (folder / name / "summary.json").exists()]
    assert cut, "too quick to be cut off"
    wait_until(lambda: all((folder / name / "checkpoint.safetensors").exists() for name in cut))
    assert not any((folder / name / "model.safetensors").exists() for name in cut)
    assert main(["sweep", "--resume", str(folder), "--jobs", "1", "--quiet"]) == 0
    options = {**TINY, "training": {**TINY["training"], "steps": 1500}}
    for beta, name in zip((0.5, 1.0), names, strict=True):
        run = taut.train(source, out=tmp_path / name, objective={"beta": beta}, **options)
        assert weights(run.folder) == weights(folder / name)
