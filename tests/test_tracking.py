"""What trackers are told is what the run's own journal says."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from taut.cli import main
from taut.data import Data
from taut.errors import Ended, InputError, Mishap
from taut.experiment import Experiment
from taut.tracking import TRACKERS, tracking
from taut.training import Stopped

TINY = ["train", "digits", "--training.steps", "6", "--training.batch", "64", "--model.network", "MLP",
        "--model.network.hidden", "8", "--data.limit", "128", "--quiet"]  # fmt: skip


EXPERIMENT = Experiment(Data("digits"))


def journal(run: Path) -> dict[int, dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row for row in rows if row["split"] == "valid"}


@pytest.mark.filterwarnings("ignore")  # of tensorboard's own
def test_tensorboard_has_the_journal(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    assert main([*TINY, "--out", str(run), "--tracker", "tensorboard"]) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run / "tensorboard"))
    read.Reload()
    told = {scalar.step: scalar.value for scalar in read.Scalars("valid/elbo")}
    kept = journal(run)
    assert set(told) == set(kept) and all(told[step] == pytest.approx(kept[step]["elbo"], rel=1e-5) for step in kept)
    (final,) = read.Scalars("test/elbo")
    assert final.value == pytest.approx(json.loads((run / "summary.json").read_text())["elbo"], rel=1e-5)
    assert main([*TINY, "--out", str(run), "--force"]) == 0, "what a tracker left in a run is part of it"


class Recorder(types.ModuleType):
    """Stands in for a tracker's module: takes any call and notes it; fails from a given one on."""

    def __init__(self, fails: str = "") -> None:
        super().__init__("recorder")
        self.fails, self.calls = fails, []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> None:
            if name == self.fails:
                raise ConnectionError("the line is dead\nand more")
            self.calls.append((name, args, kwargs))

        return call


def test_each_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins = {name: Recorder() for name in ("mlflow", "wandb", "trackio")}
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    run = tmp_path / "run"
    assert main([*TINY, "--out", str(run), *(f"--tracker={name}" for name in stand_ins)]) == 0
    begin = {"mlflow": ["set_experiment", "start_run", "log_params"], "wandb": ["init"], "trackio": ["init"]}
    for name, module in stand_ins.items():
        names = [call for call, _, _ in module.calls]
        assert names[: len(begin[name])] == begin[name]
        end = {"mlflow": ("end_run", ("FINISHED",), {}), "wandb": ("finish", (), {"exit_code": 0})}
        assert module.calls[-1] == end.get(name, ("finish", (), {}))
        logs = [(args[0], kwargs["step"]) for call, args, kwargs in module.calls if call in ("log", "log_metrics")]
        told = {step: numbers["valid/elbo"] for numbers, step in logs if "valid/elbo" in numbers}
        assert told == {step: row["elbo"] for step, row in journal(run).items()}
        assert logs[-1][0]["test/elbo"] == json.loads((run / "summary.json").read_text())["elbo"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Stopped("step 3"), "KILLED"), (KeyboardInterrupt(), "KILLED"), (Ended(15), "KILLED"),
     (Mishap("disk", "is full", "make room"), "FAILED"), (ValueError("of any kind"), "FAILED")],
    ids=["stopped", "ctrl-c", "sigterm", "mishap", "error"],
)  # fmt: skip
def test_how_a_training_ended_is_told(
    error: BaseException, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins = {name: Recorder() for name in ("mlflow", "wandb", "trackio")}
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    with (
        pytest.raises(type(error)),
        tracking(list(stand_ins), EXPERIMENT, "digits", tmp_path),
    ):
        raise error
    ends = {name: module.calls[-1] for name, module in stand_ins.items()}
    assert ends == {
        "mlflow": ("end_run", (status,), {}), "wandb": ("finish", (), {"exit_code": 1}), "trackio": ("finish", (), {}),
    }  # fmt: skip


def test_one_that_cannot_begin_ends_those_that_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Recorder()
    monkeypatch.setitem(sys.modules, "mlflow", first)
    monkeypatch.setitem(sys.modules, "wandb", Recorder(fails="init"))
    began = tracking(["mlflow", "wandb"], EXPERIMENT, "digits", tmp_path)
    with pytest.raises(InputError, match="wandb cannot begin"), began:
        pytest.fail("it has not begun")
    assert first.calls[-1] == ("end_run", ("FAILED",), {})


@pytest.mark.filterwarnings("ignore")  # of mlflow's own
def test_mlflow_itself_takes_the_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with (
        pytest.raises(Stopped),
        tracking(["mlflow"], EXPERIMENT, "digits", tmp_path / "run"),
    ):
        raise Stopped("step 3")
    assert [run.info.status for run in mlflow.search_runs(search_all_experiments=True, output_format="list")] == [
        "KILLED"
    ]


def test_a_tracker_that_fails_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Recorder(fails="log"))
    assert main([*TINY, "--out", str(tmp_path / "run"), "--tracker", "wandb"]) == 0
    said = capsys.readouterr().err
    assert said.count("wandb is left out from now on (the line is dead)") == 1
    assert (tmp_path / "run" / "summary.json").exists()


def test_what_is_missing_is_named_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, (_, module, package) in TRACKERS.items():
        monkeypatch.setitem(sys.modules, module, None)
        assert main([*TINY, "--out", str(tmp_path / "run"), "--tracker", name]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"pip install {package}" in line
    monkeypatch.setitem(sys.modules, "wandb", Recorder(fails="init"))
    for name, word in (("tensorbord", "did you mean tensorboard"), ("wandb", "cannot begin (the line is dead)")):
        assert main([*TINY, "--out", str(tmp_path / "run"), "--tracker", name]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert word in line
    assert not (tmp_path / "run").exists()
