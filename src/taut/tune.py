"""A search for options: many short trainings, judged by the bound on validation data, the hopeless ones cut short.

DIR/config.yaml     the configuration of all that is not searched
    study.log       what Optuna knows, a line of JSON an event; several processes may work on one study
    tune.json       the trials and their numbers, the best first
    best/           the best, trained again whole and measured on the test split, which the search has not seen

The search maximises the best ELBO (β = 1, one sample an example) that a trial reaches on validation data. A trial is stopped
at a validation where its ELBO lies below the median of the others at that part of their course. As the best of many is chosen
by validation data, its bound there flatters it; the one on the test split does not.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO, Any

from taut.api import carry_out, finished, overridden
from taut.config import parse, read_yaml, write_yaml
from taut.data import Dataset, open_data
from taut.errors import InputError
from taut.experiment import Experiment, resolve, train
from taut.folders import TUNE, alone, claimed
from taut.runs import CONFIG, Run, load, read_head, read_json, write_json
from taut.training import Event
from taut.training.checkpoint import write_atomically

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None

__all__ = ["Axis", "axes_of", "begin", "reopen", "search", "size_of"]

STUDY, LOCK, BEST = "study.log", "study.lock", "best"
WIDE = 10  # a range whose ends differ by this factor is searched by its logarithm
STARTERS = 5  # trials before any is cut short


@dataclass(frozen=True)
class Axis:
    """An option that is searched.

    Attributes:
        name: dotted.
        low, high: of its range, where it is a number.
        choices: what it can be, as text, where it is not.
    """

    name: str
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()

    @property
    def logarithmic(self) -> bool:
        """Whether it is searched by its logarithm."""
        return self.low > 0 and self.high >= WIDE * self.low

    @property
    def size(self) -> float:
        """How many values it has."""
        if self.choices:
            return len(self.choices)
        return self.high - self.low + 1 if isinstance(self.low, int) else math.inf

    def draw(self, random: Random) -> Any:
        """Any value, all as likely; of choices and whole numbers alone."""
        return random.choice(self.choices) if self.choices else random.randint(int(self.low), int(self.high))

    @property
    def ends(self) -> tuple[Any, ...]:
        """What is tried before the search begins, so that what cannot be is refused."""
        return self.choices or (self.low, self.high)

    def ask(self, trial: Any) -> Any:
        """A value of a trial's."""
        if self.choices:
            return trial.suggest_categorical(self.name, list(self.choices))
        suggest = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        return suggest(self.name, self.low, self.high, log=self.logarithmic)

    def __str__(self) -> str:
        scale = ", by its logarithm" if self.logarithmic else ""
        return f"{self.name} {' or '.join(self.choices) if self.choices else f'{self.low:g} to {self.high:g}{scale}'}"


def axes_of(tree: Mapping[str, Any], given: Sequence[str], trust: tuple[str, ...] = ()) -> list[Axis]:
    """What ``--over`` says: ``model.latents=2..64``, or ``model.prior=StandardNormal,Vamp``.

    Raises:
        InputError: for what is no range and no choice, or is no option to search.
    """
    axes: list[Axis] = []
    for text in given:
        name, _, said = text.partition("=")
        pieces = [piece.strip() for piece in said.split(".." if ".." in said else ",")]
        if not name or len(pieces) < 2 or "" in pieces or (".." in said and len(pieces) != 2):
            raise InputError(
                "--over", f"is {text!r}", "give a range, model.latents=2..64, or choices, model.prior=Vamp,Mixture"
            )
        if name.split(".")[0] in ("data", "seed") or name == "training.minutes":
            raise InputError(
                "--over",
                f"{name} changes what is measured, or by what luck, and is no option to search",
                "leave it out",
            )
        if name in [axis.name for axis in axes]:
            raise InputError("--over", f"{name} is given twice", "give each option once")
        values = [_value(parse(Experiment, overridden(tree, {name: piece}), trust=trust), name) for piece in pieces]
        if ".." not in said:
            axes.append(Axis(name, choices=tuple(dict.fromkeys(pieces))))
        elif any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
            raise InputError("--over", f"{name} is no number", f"give choices: {name}=A,B")
        elif not values[0] < values[1]:
            raise InputError("--over", f"{name} goes from {pieces[0]} to {pieces[1]}", "give the smaller end first")
        else:
            axes.append(Axis(name, *values))
    if not axes:
        raise InputError("--over", "is not given", "say what to search, such as --over model.latents=2..64")
    return axes


def size_of(axes: Sequence[Axis]) -> float:
    """How many points there are to try."""
    return math.prod(axis.size for axis in axes)


def _value(experiment: Experiment, name: str) -> Any:
    return functools.reduce(getattr, name.split("."), experiment)


def begin(tree: Mapping[str, Any], axes: Sequence[Axis], trust: tuple[str, ...] = ()) -> tuple[dict[str, Any], Dataset]:
    """The configuration of all that is not searched, and the data; both ends of each axis are held against the rest.

    Raises:
        InputError: where an end cannot be trained.
    """
    first = {axis.name: axis.ends[0] for axis in axes}
    experiment = parse(Experiment, overridden(tree, first), trust=trust)
    data = open_data(experiment.data)
    if experiment.training.minutes is not None and experiment.training.steps is None:
        steps = resolve(experiment, data).training.steps
        tree = overridden(tree, {"training.steps": steps})
        tree["training"] = {name: value for name, value in tree["training"].items() if name != "minutes"}
    for axis in axes:
        for end in axis.ends:
            resolved = resolve(parse(Experiment, overridden(tree, {**first, axis.name: end}), trust=trust), data)
            if not all(layer.posterior.proper for layer in resolved.model.layers):
                raise InputError("model.posterior", "is a point, so there is no bound to search by", "choose another")
    source = resolve(experiment, data).data.source  # a whole path: the search may be gone on with from elsewhere
    return dict(overridden(tree, {"data.source": source})), data


def search(
    tree: Mapping[str, Any],
    data: Dataset,
    axes: Sequence[Axis],
    folder: Path,
    trials: int,
    force: bool = False,
    resume: bool = False,
    trust: tuple[str, ...] = (),
    tell: Callable[[dict[str, Any]], None] = lambda trial: None,
) -> tuple[dict[str, Any], Run]:
    """Make trials until there are so many, or all points that there are were tried, then train the best again and measure it.

    Args:
        tree: the configuration of all that is not searched.
        data: its data.
        axes: what is searched.
        folder: of the search.
        trials: how many in all, those that were cut short among them.
        force: replace a result that is there.
        resume: go on with the study in the folder.
        trust: modules whose parts may be named.
        tell: told of each trial that ends.

    Returns:
        What ``tune.json`` says, and the best run.

    Raises:
        InputError: where Optuna is missing, or no trial came to an end.
        KeyboardInterrupt, Stopped: all trials that ended are kept.
    """
    if resume:
        return _search(tree, data, axes, folder, trials, trust, tell)
    _optuna()
    with claimed(folder, force, worth=lambda: any(t["state"] == "complete" for t in _told(folder))):
        write_atomically(
            folder / CONFIG, f"# a search of {', '.join(axis.name for axis in axes)}\n{write_yaml(tree)}".encode()
        )
        _write(folder, data, axes, [])
        return _search(tree, data, axes, folder, trials, trust, tell)


def reopen(folder: Path, trust: tuple[str, ...] = ()) -> tuple[dict[str, Any], Dataset, list[Axis]]:
    """A search that was begun.

    Raises:
        InputError: where the folder is none, is damaged, or its data have changed.
    """
    if not (folder / TUNE).is_file():
        raise InputError(str(folder), f"is no search ({TUNE} is missing)", "give a folder that `taut tune` made")
    record, tree = read_json(folder / TUNE), read_yaml(folder / CONFIG)
    try:
        axes = [Axis(each["name"], each["low"], each["high"], tuple(each["choices"])) for each in record["over"]]
        known = record["hash"]
    except (KeyError, TypeError):
        raise InputError(str(folder / TUNE), "is damaged", "restore it from a copy") from None
    data = open_data(parse(Experiment, tree, trust=trust).data)
    if data.hash != known:
        raise InputError("data", f"have changed since the search began (hash {data.hash}, then {known})",
                         "put the old data back, or begin another search")  # fmt: skip
    return tree, data, axes


class _Lock:
    """Of the study's file, as Optuna asks for it: the system's own, which a process that is killed gives up.

    Optuna's is a link that stays behind, and one to a relative name is waited for without an end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[str] | None = None

    def acquire(self) -> bool:
        self.file = self.path.open("a")
        if fcntl is not None:
            fcntl.flock(self.file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        if self.file is not None:
            self.file.close()


def _mend(path: Path, lock: _Lock) -> None:
    """Take away half a line, which a full disk leaves at the end."""
    if not path.exists():
        return
    lock.acquire()
    try:
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _search(
    tree: Mapping[str, Any], data: Dataset, axes: Sequence[Axis], folder: Path, trials: int, trust: tuple[str, ...],
    tell: Callable[[dict[str, Any]], None],
) -> tuple[dict[str, Any], Run]:  # fmt: skip
    optuna = _optuna()
    backend = importlib.import_module("optuna.storages.journal").JournalFileBackend
    lock = _Lock(folder / LOCK)
    _mend(folder / STUDY, lock)
    seed = parse(Experiment, tree, trust=trust).seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.JournalStorage(backend(os.fspath(folder / STUDY), lock))
        study = optuna.create_study(storage=storage, study_name="taut", direction="maximize", load_if_exists=True)
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTERS)
    size = size_of(axes)
    while len(ended := _ended(study.trials)) < trials and len(tried := _points(ended, axes)) < size:
        trial = study.ask()
        # a seed for each: several processes, and one that goes on, must not draw what was drawn
        study.sampler = optuna.samplers.TPESampler(seed=seed + trial.number)
        values = {axis.name: axis.ask(trial) for axis in axes}
        if math.isfinite(size) and tuple(values.values()) in tried:  # it would come to the same: another is next
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(_untried(tried, _points(_under_way(study.trials), axes), axes, seed + trial.number))
            continue
        try:
            experiment = resolve(parse(Experiment, overridden(tree, values), trust=trust), data)
            reached = _Reached(trial)
            train(experiment, data, listen=reached)
        except _Hopeless:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except InputError as error:  # it diverged, or these values do not go together
            trial.set_user_attr("failure", str(error))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)  # its values come first when the search goes on
            raise
        else:
            study.tell(trial, reached.best)
        record = _write(folder, data, axes, study.trials)
        tell(next(each for each in record["trials"] if each["number"] == trial.number))
    with alone(folder, patience=math.inf):  # of several processes one trains the best, and the others find it trained
        return _conclude(tree, data, axes, folder, study.trials, trust)


def _conclude(
    tree: Mapping[str, Any], data: Dataset, axes: Sequence[Axis], folder: Path, trials: Sequence[Any], trust: tuple[str, ...]
) -> tuple[dict[str, Any], Run]:  # fmt: skip
    """Train the best whole, where that has not been done."""
    record = _write(folder, data, axes, trials)
    if record["best"] is None:
        why = next((each["failure"] for each in record["trials"] if each["failure"]), "all were cut short")
        raise InputError("taut tune", f"no trial of {len(record['trials'])} came to an end: {why}", "search elsewhere")
    experiment = resolve(parse(Experiment, overridden(tree, record["best"]["values"]), trust=trust), data)
    if finished(folder / BEST) and read_head(folder / BEST, trust)[0] == experiment:
        return record, load(folder / BEST, trust)
    return record, carry_out(experiment, data, folder / BEST, force=True)


class _Hopeless(Exception):
    """A trial that is not worth going on with."""


class _Reached:
    """Hears a trial's validations: the best ELBO so far, and whether to go on."""

    def __init__(self, trial: Any) -> None:
        self.trial, self.best = trial, -math.inf

    def __call__(self, event: Event) -> None:
        if event.valid is None:
            return
        self.best = max(self.best, event.valid["elbo"])
        self.trial.report(event.valid["elbo"], round(100 * event.step / event.steps))  # trials may differ in length
        if event.step < event.steps and self.trial.should_prune():
            raise _Hopeless


def _ended(trials: Sequence[Any]) -> list[Any]:
    """The trials that count: those that were stopped by hand are made again, and those that would repeat one are not made."""
    return [each for each in trials if each.state.name in ("COMPLETE", "PRUNED") or "failure" in each.user_attrs]


def _under_way(trials: Sequence[Any]) -> list[Any]:
    """Those of this process and others, and of those that were killed."""
    return [each for each in trials if each.state.name == "RUNNING"]


def _points(trials: Sequence[Any], axes: Sequence[Axis]) -> set[tuple[Any, ...]]:
    return {tuple(each.params.get(axis.name) for axis in axes) for each in trials}


def _untried(tried: set[Any], others: set[Any], axes: Sequence[Axis], seed: int) -> dict[str, Any]:
    """A point that was not tried, nor is by others, as long as there is one."""
    random, kept = Random(seed), tried | others if len(tried | others) < size_of(axes) else tried
    while (point := tuple(axis.draw(random) for axis in axes)) in kept:
        pass
    return dict(zip((axis.name for axis in axes), point, strict=True))


def _write(folder: Path, data: Dataset, axes: Sequence[Axis], trials: Sequence[Any]) -> dict[str, Any]:
    """Write ``tune.json`` and return what it says."""
    told = [
        {"number": each.number, "state": each.state.name.lower(), "elbo": each.value if each.state.name == "COMPLETE" else None,
         "values": dict(each.params), "failure": each.user_attrs.get("failure"),
         "seconds": round(each.duration.total_seconds(), 1)}
        for each in _ended(trials)
    ]  # fmt: skip
    told.sort(key=lambda each: -math.inf if each["elbo"] is None else each["elbo"], reverse=True)
    best = told[0] if told and told[0]["elbo"] is not None else None
    record = {
        "data": data.reading.name,
        "hash": data.hash,
        "measure": "the best ELBO on validation data, nats per example, at β = 1",
        "size": size if math.isfinite(size := size_of(axes)) else None,
        "over": [{"name": a.name, "low": a.low, "high": a.high, "choices": list(a.choices)} for a in axes],
        "best": best,
        "trials": told,
        "points": [{"folder": BEST}],
    }
    write_json(folder / TUNE, record)
    return record


def _told(folder: Path) -> list[dict[str, Any]]:
    return read_json(folder / TUNE)["trials"] if (folder / TUNE).exists() else []


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError:
        raise InputError("taut tune", "needs the package optuna", "pip install 'taut[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
