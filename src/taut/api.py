"""From data to a fitted, evaluated, sampled model, in a line each.

>>> import taut
>>> run = taut.train("digits", epochs=2, seed=0)              # or an array (N, …), or a path
>>> codes, new = run.encode(run.dataset().test), run.sample(4, seed=0)
>>> codes.shape, new.shape, run.summary["elbo"] < 0
((180, 32), (4, 8, 8), True)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from taut.config import merge, override, parse
from taut.data import Dataset, open_array, open_data
from taut.errors import InputError
from taut.experiment import Experiment, resolve
from taut.experiment import train as train_model
from taut.folders import claimed
from taut.runs import METRICS, SUMMARY, WEIGHTS, Run, facts_of, load, read_head, write_head
from taut.training import CHECKPOINT, Event

__all__ = ["carry_out", "load", "train"]

IW_SAMPLES, IW_EXAMPLES = 100, 500  # of the report that ends a training; `taut evaluate` takes more


def train(
    data: Any,
    /,
    labels: Any = None,
    factors: Any = None,
    *,
    out: str | Path | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    seed: int = 0,
    trust: tuple[str, ...] = (),
    listen: Callable[[Event], None] = lambda event: None,
    **options: Any,
) -> Run:
    """Train a model and evaluate it on the test split.

    Args:
        data: the name of a set, a path, an array (N, …), or a table of polars or pandas.
        labels: (N,), only for pictures and probes.
        factors: (N, F), what each example was made of, only to measure codes by.
        out: the run's folder; in memory only if left open.
        epochs: how many passes; by the data's size if left open.
        minutes: how long, instead.
        seed: of everything drawn.
        trust: modules outside the package whose parts may be named.
        listen: called at each log line.
        options: sections of the configuration, as in a recipe: ``model={"latents": 8}``, or parts themselves.

    Raises:
        InputError: for any mistake in what was given.
    """
    training = {key: value for key, value in (("epochs", epochs), ("minutes", minutes)) if value is not None}
    named = isinstance(data, (str, Path))
    tree = merge({"data": {"source": str(data) if named else "array"}, "seed": seed}, options)
    tree = merge(tree, {"training": training}) if training else tree
    experiment = parse(Experiment, tree, trust=trust)
    dataset = open_data(experiment.data) if named else open_array(data, labels, experiment.data, factors)
    experiment = resolve(experiment, dataset)
    return carry_out(experiment, dataset, None if out is None else Path(out), listen=listen)


def carry_out(
    experiment: Experiment,
    data: Dataset,
    folder: Path | None = None,
    force: bool = False,
    resume: bool = False,
    listen: Callable[[Event], None] = lambda event: None,
    stage: Callable[[str], None] = lambda name: None,
) -> Run:
    """Train a resolved experiment, evaluate the model, and, where a folder is given, write the run and its report.

    A folder is made only once nothing is left that could refuse the experiment, and taken away again if the run comes
    to nothing; what was saved in it is never lost.

    Args:
        experiment: resolved.
        data: its data.
        folder: where the run goes.
        force: replace a run that is there.
        resume: go on from the folder's checkpoint.
        listen: called at each log line.
        stage: called with the name of each stage as it begins.
    """
    if folder is None:
        vae, facts = train_model(experiment, data, listen=listen)
        run = Run(vae, experiment, data.reading, facts_of(data), {}, None, data)
        run.summary = _summary(run, facts)
        return run
    if resume:
        return _carry_on(experiment, data, folder, listen, stage, _saved_step(folder))
    with claimed(folder, force, worth=lambda: any((folder / name).exists() for name in (CHECKPOINT, WEIGHTS))):
        write_head(folder, experiment, data.reading, facts_of(data))
        return _carry_on(experiment, data, folder, listen, stage)


def _carry_on(
    experiment: Experiment,
    data: Dataset,
    folder: Path,
    listen: Callable[[Event], None],
    stage: Callable[[str], None],
    resume_from: int | None = None,
) -> Run:
    from taut.report.publish import publish

    journal = _Journal(folder / METRICS, resume_from or 0)
    resume = resume_from is not None
    stage("training")
    vae, facts = train_model(experiment, data, folder, lambda event: (journal.write(event), listen(event)), resume)
    run = Run(vae, experiment, data.reading, facts_of(data), {}, folder, data)
    stage("evaluating")
    run.summary = _summary(run, facts)
    stage("reporting")
    run.write()
    publish(run, data, folder, journal.rows())
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return run


def resumable(folder: Path, trust: tuple[str, ...] = ()) -> tuple[Experiment, bool]:
    """The experiment of an unfinished run, and whether there is anything left to do.

    Raises:
        InputError: where the folder is no run, or was stopped before there was anything to go on from.
    """
    experiment, _, _ = read_head(folder, trust)
    unfinished = (folder / CHECKPOINT).exists()
    if not unfinished and not all((folder / name).exists() for name in (WEIGHTS, SUMMARY)):
        raise InputError(
            str(folder),
            "was stopped before its first checkpoint, so there is nothing to go on from",
            f"train it again: taut train --config {folder / 'config.yaml'}",
        )
    return experiment, unfinished


def overridden(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A tree with dotted options set, outer ones first, so that a part is named before its options."""
    for name in sorted(overrides, key=lambda name: name.count(".")):
        tree = override(tree, name, overrides[name])
    return dict(tree)


def _summary(run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    result = run.evaluate(samples=IW_SAMPLES, iw_limit=IW_EXAMPLES)
    if found := run.judge():
        result["draws"] = found
    parameters = sum(p.numel() for p in run.vae.parameters())
    return result | facts | {"seed": run.experiment.seed, "parameters": parameters}


def _saved_step(folder: Path) -> int:
    from taut.training.checkpoint import read_tensors

    return read_tensors(folder / CHECKPOINT)[1]["numbers"]["step"]


class _Journal:
    """The file with a line per validation, for training and for validation data; resuming cuts it back to a step."""

    def __init__(self, path: Path, resume_from: int = 0) -> None:
        self.path = path
        kept = [row for row in self.rows() if row["step"] <= resume_from] if resume_from else []
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def rows(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break  # a line that a kill cut short
        return rows

    def write(self, event: Event) -> None:
        if event.valid is None:
            return
        common = {
            "step": event.step,
            "epoch": round(event.epoch, 4),
            "seconds": round(event.seconds, 3),
            "beta": event.beta,
        }
        train = dict(event.train)
        proper = event.valid["elbo"] is not None
        elbo = -train["distortion"] - train["rate"] if proper else None
        rows = [
            {**common, "split": "train", "elbo": elbo, **train, "active_units": None,
             "examples_per_second": round(event.rate_of_work, 1)},
            {**common, "split": "valid", **event.valid},
        ]  # fmt: skip
        with open(self.path, "a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())
