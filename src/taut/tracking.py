"""Trackers: what a training says at its log lines, told to a program that keeps and draws such numbers.

``metrics.jsonl`` is always written. A tracker is one more listener: it hears of the configuration, of numbers by step, and of
the end. None is a dependency of the package, and one that fails while a model trains is left out with a warning; the training
goes on.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from taut.config import to_tree, write_yaml
from taut.errors import InputError, nearest
from taut.experiment import Experiment
from taut.training import Event, Stopped

__all__ = ["TRACKERS", "Tracker", "Tracking", "numbers_of", "tracking"]


Ending = Literal["finished", "stopped", "failed"]
"""How a training ended: whole, by a request such as Ctrl-C, or by an error."""


class Tracker(ABC):
    """One program that keeps numbers.

    Args:
        module: what it is imported as.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    @abstractmethod
    def begin(self, project: str, folder: Path, tree: Mapping[str, Any]) -> None:
        """A training of data called ``project`` begins, whose run goes into a folder that need not be there yet."""

    @abstractmethod
    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers by name at a step."""

    @abstractmethod
    def end(self, how: Ending) -> None:
        """Nothing more will come."""


class TensorBoard(Tracker):
    """Event files under RUN/tensorboard: ``tensorboard --logdir runs``."""

    writer: Any = None

    place: Path
    said: str | None

    def begin(self, project: str, folder: Path, tree: Mapping[str, Any]) -> None:
        self.place, self.said = folder / "tensorboard", write_yaml(tree)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        if (
            self.writer is None
        ):  # only now is the folder sure to be there; what a resumed run does again is not kept twice
            self.writer = self.module.SummaryWriter(str(self.place), purge_step=step)
            self.writer.add_text("config", f"```yaml\n{self.said}```", step)
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def end(self, how: Ending) -> None:
        if self.writer is not None:
            self.writer.close()


class MLflow(Tracker):
    """A run of the experiment that is called as the data are, where MLFLOW_TRACKING_URI says."""

    def begin(self, project: str, folder: Path, tree: Mapping[str, Any]) -> None:
        self.module.set_experiment(project)
        self.module.start_run(run_name=folder.name)
        self.module.log_params({name: str(value)[:250] for name, value in _flat(tree)})

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self.module.log_metrics(dict(numbers), step=step)

    def end(self, how: Ending) -> None:
        self.module.end_run({"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[how])


class Trackio(Tracker):
    """A project that is called as the data are; it does not ask how a run ended."""

    def begin(self, project: str, folder: Path, tree: Mapping[str, Any]) -> None:
        self.module.init(project=project, name=folder.name, config=dict(tree))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self.module.log(dict(numbers), step=step)

    def end(self, how: Ending) -> None:
        self.module.finish()


class WandB(Trackio):
    """Weights & Biases, whose calls trackio has."""

    def end(self, how: Ending) -> None:
        self.module.finish(exit_code=0 if how == "finished" else 1)  # all but 0 is a run that failed


TRACKERS: dict[str, tuple[type[Tracker], str, str]] = {
    "tensorboard": (TensorBoard, "torch.utils.tensorboard", "tensorboard"),
    "mlflow": (MLflow, "mlflow", "mlflow"),
    "wandb": (WandB, "wandb", "wandb"),
    "trackio": (Trackio, "trackio", "trackio"),
}
"""By name: how it is told, the module, and what to install."""


class Tracking:
    """A listener that tells several trackers."""

    trackers: dict[str, Tracker]

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self.trackers = dict(trackers)

    def __call__(self, event: Event) -> None:
        self.tell("log", numbers_of(event), event.step)

    def finished(self, summary: Mapping[str, Any]) -> None:
        """The numbers of the test split, under ``test/``."""
        numbers = {
            f"test/{name}": summary.get(name) for name in ("elbo", "distortion", "rate", "bits_per_dim", "active_units")
        }
        numbers["test/iw"] = (summary.get("iw") or {}).get("value")
        self.tell("log", {name: float(value) for name, value in numbers.items() if value is not None}, summary["steps"])

    def tell(self, what: str, *about: Any) -> None:
        """Call each; one that fails is left out from then on."""
        for name, tracker in list(self.trackers.items()):
            try:
                getattr(tracker, what)(*about)
            except Exception as error:  # of whatever kind: a network that went away is no reason to lose a training
                del self.trackers[name]
                reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
                print(f"taut: warning: {name} is left out from now on ({reason})", file=sys.stderr)


@contextlib.contextmanager
def tracking(names: Sequence[str], experiment: Experiment, project: str, folder: Path) -> Iterator[Tracking]:
    """The trackers of these names, begun; they are ended with the block.

    Raises:
        InputError: for a name that is none, a package that is missing, or a tracker that cannot begin.
    """
    chosen: dict[str, Tracker] = {}
    for name in names:
        if name not in TRACKERS:
            raise InputError("--tracker", f"{name!r} is none", nearest(name, TRACKERS))
        kind, module, package = TRACKERS[name]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of packages that are not ours
                chosen[name] = kind(importlib.import_module(module))
        except ImportError:
            raise InputError("--tracker", f"{name} needs the package {package}", f"pip install {package}") from None
    told = Tracking({})
    try:
        for name, tracker in chosen.items():
            try:
                tracker.begin(project, folder, to_tree(experiment))
            except Exception as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
                mend = "set it up first, or leave it out"
                raise InputError("--tracker", f"{name} cannot begin ({reason})", mend) from None
            told.trackers[name] = tracker
        yield told
    except BaseException as error:
        told.tell("end", "stopped" if isinstance(error, (Stopped, KeyboardInterrupt)) else "failed")
        raise
    told.tell("end", "finished")


def numbers_of(event: Event) -> dict[str, float]:
    """The finite numbers of a log line by name: ``train/loss``, ``valid/elbo``, ``valid/kl.0`` of the top layer, …"""
    found: dict[str, Any] = {f"train/{name}": value for name, value in event.train.items()}
    found |= {"beta": event.beta, "epoch": event.epoch, "examples_per_second": event.rate_of_work}
    for name, value in (event.valid or {}).items():
        if name == "kl":
            found |= {f"valid/kl.{i}": sum(layer) for i, layer in enumerate(value)}
        else:
            found[f"valid/{name}"] = value
    return {name: float(value) for name, value in found.items()
            if isinstance(value, int | float) and math.isfinite(value)}  # fmt: skip


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _flat(value, f"{path}.{name}" if path else name)
    else:
        yield path, tree
