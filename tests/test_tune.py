"""A search finds what is better, keeps what it knows, goes on where it stopped, and refuses what is no search."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

import taut
from taut.cli import main
from taut.errors import InputError
from taut.tune import Axis, _untried, axes_of, size_of

pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

TINY = ["tune", "digits", "--training.steps", "30", "--training.batch", "64", "--model.network", "MLP", "--model.latents", "4",
        "--model.network.hidden", "16", "--data.limit", "256", "--training.validations", "3", "--quiet"]  # fmt: skip


def record(folder: Path) -> dict:
    return json.loads((folder / "tune.json").read_text())


def test_it_finds_the_better_rate_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "search"
    over = ["--over", "training.optimiser.lr=1e-7..1e-2", "--over", "model.prior=StandardNormal,Mixture"]
    assert main([*TINY, *over, "--trials", "4", "--out", str(folder)]) == 0
    first = record(folder)
    assert len(first["trials"]) == 4 and first["best"] == first["trials"][0]
    whole = [trial for trial in first["trials"] if trial["state"] == "complete"]
    assert whole == sorted(whole, key=lambda trial: -trial["elbo"])
    best, worst = whole[0], whole[-1]
    assert best["values"]["training.optimiser.lr"] > worst["values"]["training.optimiser.lr"]
    run = taut.load(folder / "best")
    assert run.experiment.training.optimiser.lr == best["values"]["training.optimiser.lr"]
    assert type(run.experiment.model.prior).__name__ == best["values"]["model.prior"]
    rows = [json.loads(line) for line in (folder / "best" / "metrics.jsonl").read_text().splitlines()]
    assert max(row["elbo"] for row in rows if row["split"] == "valid") == pytest.approx(best["elbo"])
    assert main(["tune", "--resume", str(folder), "--trials", "6", "--quiet"]) == 0
    again = record(folder)
    assert len(again["trials"]) == 6 and again["best"]["elbo"] >= best["elbo"]
    kept = {trial["number"]: trial for trial in again["trials"]}
    assert all(kept[trial["number"]] == trial for trial in first["trials"])
    assert len({json.dumps(trial["values"]) for trial in again["trials"]}) == 6, "what goes on draws anew"
    assert main([*TINY, *over, "--trials", "1", "--out", str(folder), "--force"]) == 0
    assert len(record(folder)["trials"]) == 1


def test_a_stopped_search_keeps_its_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import taut.tune as tune

    folder, calls, whole = tmp_path / "search", [], tune.train

    def stopped(*args, **kwargs):
        calls.append(args[0].model.latents)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    monkeypatch.setattr(tune, "train", stopped)
    assert main([*TINY, "--over", "model.latents=2..9", "--trials", "3", "--out", str(folder)]) == 130
    assert [trial["state"] for trial in record(folder)["trials"]] == ["complete"]
    assert main(["tune", "--resume", str(folder), "--trials", "2", "--quiet"]) == 0
    assert calls[2] == calls[1], "what was stopped is made again"


def test_no_point_is_tried_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, words = tmp_path / "search", [word for word in TINY if word != "--quiet"]
    over = ["--over", "model.latents=2..4", "--over", "model.prior=StandardNormal,Mixture"]
    assert main([*words, *over, "--trials", "4", "--out", str(folder)]) == 0
    assert "every point" not in capsys.readouterr().out
    assert main(["tune", "--resume", str(folder), "--trials", "9"]) == 0
    said = capsys.readouterr().out
    assert "all 6 points" in said and "best of 6 trials" in said and "every point that there is was tried" in said
    found = [tuple(trial["values"].values()) for trial in record(folder)["trials"]]
    assert sorted(found) == sorted(itertools.product((2, 3, 4), ("StandardNormal", "Mixture")))
    assert main(["tune", "--resume", str(folder), "--trials", "9", "--quiet"]) == 0
    assert len(record(folder)["trials"]) == 6


def test_what_others_try_is_left_to_them() -> None:
    axes = [Axis("a", 1, 3), Axis("b", choices=("x", "y"))]
    tried, others = {(1, "x"), (2, "x"), (3, "x"), (1, "y")}, {(2, "y")}
    assert size_of(axes) == 6 and size_of([*axes, Axis("c", 0.1, 0.2)]) == math.inf
    assert all(_untried(tried, others, axes, seed) == {"a": 3, "b": "y"} for seed in range(20))
    both = {tuple(_untried(tried, others | {(3, "y")}, axes, seed).values()) for seed in range(20)}
    assert both == {(2, "y"), (3, "y")}, "those who tried them may have been killed"


@pytest.mark.slow
def test_two_processes_share_a_search(tmp_path: Path) -> None:
    """The second joins while the first is at work; neither draws what the other drew, and the best is trained once."""
    folder = tmp_path / "search"
    command = [sys.executable, "-m", "taut"]
    first = [*TINY, "--over", "training.optimiser.lr=1e-4..1e-2", "--trials", "8", "--out", str(folder)]
    begun = subprocess.Popen([*command, *first], stderr=subprocess.PIPE, text=True)
    while not (folder / "tune.json").exists():
        assert begun.poll() is None, begun.communicate()
        time.sleep(0.05)
    joined = subprocess.Popen([*command, "tune", "--resume", str(folder), "--trials", "8", "--quiet"],
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    for process in (begun, joined):
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0 and not error, error
    found = record(folder)
    assert 8 <= len(found["trials"]) <= 9, "a trial that is under way is brought to its end"
    assert len({json.dumps(trial["values"]) for trial in found["trials"]}) == len(found["trials"])
    events = [json.loads(line) for line in (folder / "study.log").read_text().splitlines()]
    assert len({event["worker_id"] for event in events}) >= 2
    assert taut.load(folder / "best").experiment.training.optimiser.lr == \
        found["best"]["values"]["training.optimiser.lr"]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("model.latents", "give a range"),
        ("model.latents=9..2", "smaller end first"),
        ("model.latents=2..x", "whole number"),
        ("model.latnts=2..9", "no such option"),
        ("model.prior=Vamp..Mixture", "no number"),
        ("data.limit=20..90", "what is measured"),
        ("seed=1,2,3", "what is measured"),
    ],
)
def test_what_is_no_search_is_refused(given: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        axes_of({"data": {"source": "digits"}}, [given])


def test_what_cannot_be_is_refused_before_the_first_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for over, word in (
        (["model.posterior=DiagonalNormal,Delta"], "no bound"),
        (["model.likelihood=Categorical,Bernoulli"], "Bernoulli"),
        ([], "--over"),
    ):
        given = [part for each in over for part in ("--over", each)]
        assert main([*TINY, *given, "--out", str(tmp_path / "no")]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert word in line
    assert not (tmp_path / "no").exists()
    assert main(["tune", "--resume", str(tmp_path)]) == 2


def test_half_a_line_of_the_study_and_a_lock_that_was_left_behind_stop_nothing(tmp_path: Path) -> None:
    """A full disk leaves the first, a kill the second."""
    words = [*TINY, "--over", "model.latents=2..4", "--trials"]
    assert main([*words, "1", "--out", str(tmp_path / "s")]) == 0
    with (tmp_path / "s" / "study.log").open("a") as file:
        file.write('{"op_code": 4, "work')
    (tmp_path / "s" / "study.log.lock").symlink_to("nowhere")
    assert main(["tune", "--resume", str(tmp_path / "s"), "--trials", "2"]) == 0
    assert len(json.loads((tmp_path / "s" / "tune.json").read_text())["trials"]) == 2
