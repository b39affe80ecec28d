"""Carrying out a sweep: one point after the other in this process, or several at once, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from taut.api import CHECKPOINT, carry_out, finished
from taut.config import to_tree
from taut.data import Dataset
from taut.experiment import Experiment
from taut.folders import alone, claimed, sweep_up
from taut.machine import cores
from taut.report.sweep import publish_sweep
from taut.runs import CONFIG, DATA, SUMMARY, read_head, read_json
from taut.sweep.plan import Plan, Shelf
from taut.sweep.record import write_head, write_record
from taut.sweep.workers import Workers
from taut.training import Diverged, Event, Start

__all__ = ["Listener", "carry_out_point", "default_jobs", "sweep"]


class Listener:
    """Hears what happens in a sweep, of each point by its place in the plan; does nothing with it."""

    def begun(self, i: int) -> None:
        """A point has begun."""

    def event(self, i: int, event: Event) -> None:
        """A log line of its training."""

    def stage(self, i: int, name: str) -> None:
        """A stage of it begins: ``compiling`` or ``training``, ``evaluating``, ``reporting``."""

    def finished(self, i: int, summary: dict[str, Any]) -> None:
        """It is whole."""

    def failed(self, i: int, why: str) -> None:
        """It came to nothing; the others go on."""


def default_jobs(plan: Plan) -> int:
    """How many points at once: one for every two cores, as two threads still share a step well; one where there is an
    accelerator, which all would share."""
    device = plan.points[0].experiment.training.device
    shared = device != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())
    return 1 if shared else min(plan.chains, max(1, cores() // 2))


def sweep(
    plan: Plan,
    folder: Path,
    jobs: int = 1,
    force: bool = False,
    resume: bool = False,
    trust: tuple[str, ...] = (),
    listener: Listener = Listener(),
) -> dict[str, Any]:
    """Train and evaluate every point that is not finished, and write record, pictures and report.

    A point that diverges is recorded as failed, and so are those that would have started from it.

    Args:
        plan: of :func:`taut.sweep.lay_out`.
        folder: of the sweep.
        jobs: how many points at once. One is trained in this process; more have their share of the cores each. Bits of the
            results depend on the number of threads, so they are the same for the same ``jobs`` on the same machine.
        force: replace a result that is there.
        resume: go on with what is in the folder.
        trust: modules whose parts may be named.
        listener: told what happens.

    Returns:
        What ``sweep.json`` says.

    Raises:
        Stopped, KeyboardInterrupt: on Ctrl-C or SIGTERM, everything saved that is worth it.
        InputError: for whatever no point would survive.
    """
    if resume:
        with alone(folder):
            sweep_up(folder, [point.name for point in plan.points])
            return _Sweep(plan, folder, jobs, trust, listener).run()

    def worth() -> bool:
        places = [folder / point.name for point in plan.points]
        return any((place / CHECKPOINT).exists() or finished(place) for place in places)

    with claimed(folder, force, worth, lambda begun: write_head(begun, plan, jobs)), alone(folder):
        return _Sweep(plan, folder, jobs, trust, listener).run()


def carry_out_point(
    experiment: Experiment,
    data: Dataset,
    folder: Path,
    trust: tuple[str, ...] = (),
    listen: Callable[[Event], None] = lambda event: None,
    stage: Callable[[str], None] = lambda name: None,
) -> None:
    """Train and evaluate one point, from its own checkpoint where it has one."""
    resume = (folder / CHECKPOINT).exists()
    if resume:
        experiment = read_head(folder, trust)[0]
    elif not (folder / DATA).exists():
        (folder / CONFIG).unlink(missing_ok=True)  # of a process that was killed right at the start
    carry_out(experiment, data, folder, force=True, resume=resume, listen=listen, stage=stage)


class _Sweep:
    def __init__(self, plan: Plan, folder: Path, jobs: int, trust: tuple[str, ...], listener: Listener) -> None:
        self.plan, self.folder, self.jobs, self.trust, self.listener = plan, folder, jobs, trust, listener
        self.at_once = min(jobs, plan.chains)
        self.failures: dict[int, str] = {}

    def run(self) -> dict[str, Any]:
        todo = [i for i in range(len(self.plan.points)) if not finished(self._place(i))]
        if self.at_once > 1 and todo:
            self._side_by_side(todo)
        else:
            self._one_by_one(todo)
        record = write_record(self.folder, self.plan, self.jobs, self.failures)
        publish_sweep(record, self.plan.data, self.folder, self.plan.points[0].experiment)
        return record

    def _place(self, i: int) -> Path:
        return self.folder / self.plan.points[i].name

    def _one_by_one(self, todo: list[int]) -> None:
        shelf = Shelf(self.plan.points[0].experiment.data, self.plan.data)
        for i in todo:
            if self._orphaned(i):
                continue
            experiment = self._experiment(i)
            self.listener.begun(i)
            try:
                carry_out_point(
                    experiment, shelf.open(experiment.data), self._place(i), self.trust,
                    lambda event, i=i: self.listener.event(i, event), lambda name, i=i: self.listener.stage(i, name),
                )  # fmt: skip
            except Diverged as error:
                self._failed(i, str(error))
            else:
                self._finished(i)

    def _side_by_side(self, todo: list[int]) -> None:
        count = min(self.at_once, len(todo))
        busy: dict[int, int] = {}
        with Workers(count, threads=max(1, cores() // self.at_once)) as workers:
            while todo or busy:
                todo = [i for i in todo if not self._orphaned(i)]
                for number in set(range(count)) - busy.keys():
                    ready = next((i for i in todo if self._ready(i)), None)
                    if ready is None:
                        break
                    todo.remove(ready)
                    busy[number] = ready
                    self.listener.begun(ready)
                    workers.send(number, {
                        "experiment": to_tree(self._experiment(ready)),
                        "folder": str(self._place(ready)),
                        "trust": self.trust,
                    })  # fmt: skip
                if busy:
                    self._heard(*workers.hear(), busy)

    def _heard(self, number: int, said: dict[str, Any], busy: dict[int, int]) -> None:
        if "event" in said:
            self.listener.event(busy[number], Event(**said["event"]))
        elif "stage" in said:
            self.listener.stage(busy[number], said["stage"])
        elif "failure" in said:
            self._failed(busy.pop(number), said["failure"])
        else:
            self._finished(busy.pop(number))

    def _ready(self, i: int) -> bool:
        after = self.plan.points[i].after
        return after is None or finished(self._place(after))

    def _orphaned(self, i: int) -> bool:
        """Whether the point that this one starts from has failed, which is then this one's failure too."""
        after = self.plan.points[i].after
        if after not in self.failures:
            return False
        if i not in self.failures:
            self._failed(i, f"starts from {self.plan.points[after].name}, which failed")
        return True

    def _experiment(self, i: int) -> Experiment:
        point = self.plan.points[i]
        if point.after is None:
            return point.experiment
        start = Start(str(self._place(point.after))).resolved()
        return replace(point.experiment, training=replace(point.experiment.training, start=start))

    def _finished(self, i: int) -> None:
        write_record(self.folder, self.plan, self.jobs, self.failures)
        self.listener.finished(i, read_json(self._place(i) / SUMMARY))

    def _failed(self, i: int, why: str) -> None:
        self.failures[i] = why
        write_record(self.folder, self.plan, self.jobs, self.failures)
        self.listener.failed(i, why)
