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
from taut.errors import InputError, Mishap
from taut.experiment import Experiment, require_effect, resolve
from taut.experiment import train as train_model
from taut.folders import alone, claimed, sweep_up
from taut.runs import (
    METRICS,
    PROFILE,
    SUMMARY,
    WEIGHTS,
    Run,
    facts_of,
    load,
    read_head,
    same_data,
    write_head,
    write_json,
)  # fmt: skip
from taut.training import CHECKPOINT, Event, Profile
from taut.training.checkpoint import read_tensors, write_atomically
from taut.training.company import leads

__all__ = ["carry_out", "finished", "load", "reopen", "train"]

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
    require_effect(
        experiment, (f"{name}.{key}" for name, part in options.items() if isinstance(part, dict) for key in part)
    )
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
    profile: Profile | None = None,
) -> Run:
    """Train a resolved experiment, evaluate the model, and, where a folder is given, write the run and its report.

    A folder is made only once nothing is left that could refuse the experiment, and taken away again if the run comes
    to nothing; what was saved in it is never lost.

    Args:
        experiment: resolved.
        data: its data.
        folder: where the run goes.
        force: replace a run that is there.
        resume: go on with the run that is in the folder: from its checkpoint, or from the start where there was none yet.
        listen: called at each log line.
        stage: called with the name of each stage as it begins.
        profile: of where the time of training goes.
    """
    if not leads():  # one process of several writes the run and tells of it, the others only train with it
        resume = resume and folder is not None and (folder / CHECKPOINT).exists()
        vae, facts = train_model(experiment, data, folder, resume=resume)
        return Run(vae, experiment, data.reading, facts_of(data), {}, None, data)
    if folder is None:
        vae, facts = train_model(experiment, data, listen=listen, profile=profile)
        run = Run(vae, experiment, data.reading, facts_of(data), {}, None, data)
        run.summary = _summary(run, facts)
        return run
    if resume:
        with alone(folder):
            sweep_up(folder)
            return _carry_on(experiment, data, folder, listen, stage, profile)

    def worth() -> bool:
        return any((folder / name).exists() for name in (CHECKPOINT, WEIGHTS))

    def head(folder: Path) -> None:
        write_head(folder, experiment, data.reading, facts_of(data))

    with claimed(folder, force, worth, head), alone(folder):
        return _carry_on(experiment, data, folder, listen, stage, profile)


def _carry_on(
    experiment: Experiment,
    data: Dataset,
    folder: Path,
    listen: Callable[[Event], None],
    stage: Callable[[str], None],
    profile: Profile | None,
) -> Run:
    from taut.report.publish import publish

    resume = (folder / CHECKPOINT).exists()
    journal = _Journal(folder / METRICS, _saved_step(folder) if resume else 0)
    stage(
        "compiling" if profile is None and experiment.training.compiles(experiment.training.steps or 0) else "training"
    )

    def told(event: Event) -> None:
        journal.write(event)
        listen(event)

    vae, facts = train_model(experiment, data, folder, told, resume, profile)
    if profile is not None and profile.found:
        write_json(folder / PROFILE / "profile.json", profile.found)
    run = Run(vae, experiment, data.reading, facts_of(data), {}, folder, data)
    stage("evaluating")
    run.summary = _summary(run, facts)
    stage("reporting")
    run.write()
    publish(run, data, folder, journal.rows())
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return run


def finished(folder: Path) -> bool:
    """Whether a folder holds all that a run has in the end."""
    return all((folder / name).exists() for name in (WEIGHTS, SUMMARY)) and not (folder / CHECKPOINT).exists()


def reopen(folder: Path, trust: tuple[str, ...] = (), root: str | None = None) -> tuple[Experiment, Dataset]:
    """The experiment of a run that was stopped, and its data, found again and checked to be the same.

    Args:
        folder: of the run.
        trust: modules whose parts may be named.
        root: where named data lie, if no longer where they did.

    Raises:
        InputError: where the folder is no run, or the data are gone or have changed.
    """
    experiment, _, facts = read_head(folder, trust)
    return experiment, same_data(experiment.data, facts, root)


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
    try:
        return read_tensors(folder / CHECKPOINT)[1]["numbers"]["step"]
    except (KeyError, TypeError):
        raise InputError(str(folder / CHECKPOINT), "is no checkpoint of a training", "restore it from a copy") from None


class _Journal:
    """The file with a line per validation, for training and for validation data; resuming cuts it back to a step."""

    def __init__(self, path: Path, resume_from: int = 0) -> None:
        self.path = path
        kept = [row for row in self.rows() if row["step"] <= resume_from] if resume_from else []
        write_atomically(path, _lines(kept))

    def rows(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                break  # a line that a kill cut short
            if not (isinstance(row, dict) and isinstance(row.get("step"), int)):
                break
            rows.append(row)
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
        try:
            with open(self.path, "ab") as file:
                file.write(_lines(rows))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Mishap(str(self.path), f"cannot be written ({error.strerror or error})", "free some space") from None


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
