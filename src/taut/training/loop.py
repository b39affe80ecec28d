"""The training loop. It reads from top to bottom: draw a batch, step, and between log lines look at nothing.

All numbers stay on the device until a log line; β, learning rate and the order of the examples are functions of the
step, never of the clock, so the same seed on the same machine gives the same weights bit for bit, and a run that is
stopped goes on as if it had not been.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

from taut.data import Dataset, Feed
from taut.errors import InputError, Mishap, lost_device, lost_peer, out_of_memory
from taut.machine import hold_memory
from taut.model import VAE
from taut.objectives import Learner, Objective
from taut.spans import span
from taut.training.average import Average
from taut.training.checkpoint import read_tensors
from taut.training.company import Company
from taut.training.compiling import hastened
from taut.training.meter import Meter
from taut.training.profile import Profile
from taut.training.sharding import local, sharded, whole
from taut.training.spec import Training
from taut.training.state import CHECKPOINT, State
from taut.training.validation import examine, seeded

__all__ = ["CHECKPOINT", "Diverged", "Event", "Stopped", "fit", "measure_pace", "steps_per_epoch"]

LOG_EVERY = 100  # steps between two looks at the numbers, at most
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(Exception):
    """Training was asked to stop and has saved its state.

    Args:
        where: it is.
        number: of the signal that asked: Ctrl-C, SIGTERM, or the terminal's hanging up.
    """

    def __init__(self, where: str, number: int = signal.SIGINT) -> None:
        self.number = number
        super().__init__(where)


class Diverged(InputError):
    """A term was not finite; the last good state is saved."""


@dataclass(frozen=True)
class Event:
    """What a listener is told at a log line.

    Attributes:
        step, steps: where the run is.
        epoch: the same in passes over the data.
        seconds: of training so far, over all sittings.
        rate_of_work: examples per second since the last event.
        beta: β at this step.
        train: means over the steps since the last validation: loss, distortion, rate (nats per example).
        valid: the validation's numbers, at a validation.
        best: whether this validation is the best so far.
        note: what there is to be said, once.
        skipped: how many steps were left out so far, over all sittings.
    """

    step: int
    steps: int
    epoch: float
    seconds: float
    rate_of_work: float
    beta: float
    train: dict[str, float]
    valid: dict[str, Any] | None = None
    best: bool = False
    note: str = ""
    skipped: int = 0


def fit(
    vae: VAE,
    objective: Objective,
    data: Dataset,
    spec: Training,
    steps: int,
    seed: int,
    folder: Path | None = None,
    listen: Callable[[Event], None] = lambda event: None,
    resume: bool = False,
    profile: Profile | None = None,
) -> tuple[VAE, dict[str, Any]]:
    """Train a model.

    Args:
        vae: freshly built; its weights are the start.
        objective: the loss.
        data: training examples to learn from, validation examples to choose the best weights by.
        spec: how.
        steps: the number of updates.
        seed: of the order of the examples and of all draws.
        folder: where checkpoints go; none are written without one.
        listen: called at every log line.
        resume: go on from the checkpoint in ``folder``.
        profile: of where the time goes; changes nothing.

    Returns:
        The model with the best averaged weights, and the facts of the run.

    Raises:
        Diverged: when a term is not finite.
        Stopped: on Ctrl-C, SIGTERM or SIGHUP, after a checkpoint, when there is a folder to keep it in.
        Mishap: where memory, the device or the disk fails; what is worth keeping is saved.
        InputError: when the schedule does not fit the length of the run.
    """
    hold_memory()
    fabric = _fabric(spec, spec.devices, spec.nodes)
    company = Company(fabric)
    steps = company.told(steps)
    copied = copy.deepcopy(vae).to(fabric.device) if spec.shards else None
    learner = fabric.setup_module(Learner(vae, objective))
    optimiser = fabric.setup_optimizers(spec.optimiser.build(learner.parameters()))
    train, valid = _feeds(vae, data, fabric.device)
    batch, per_epoch = min(spec.batch, len(train)), steps_per_epoch(data, spec)
    share = batch // company.size
    objective.schedule.check(steps, per_epoch)
    own_seed = seed + 1 + 1_000_003 * company.rank  # one for each process: they draw different noise
    state = State(
        learner, optimiser, Average(vae, spec.average, copied), Meter(fabric.device), company, own_seed, train
    )
    validate_every = max(per_epoch, math.ceil(steps / spec.validations))
    log_every = min(LOG_EVERY, validate_every)
    torch.manual_seed(own_seed)
    if resume:
        if folder is None:
            raise InputError("resume", "needs the folder with the checkpoint", "give one")
        state.restore(*read_tensors(folder / CHECKPOINT))
    state.good = state.capture()
    parameters = list(learner.parameters())
    order = learning = None

    profile = (profile or Profile()).begin(steps - state.step, batch, fabric.device)
    with _Signals(enabled=folder is not None) as signals, _rescue(state, train, batch, folder), profile:
        some = partial(train.batch, torch.arange(share, device=fabric.device))
        step, note = hastened(learner, spec, steps, objective.beta, some, company, profile.watching)
        earlier, started = state.seconds, time.monotonic()  # what a compiler takes is no training
        last_save, last_look, looked_at = started, started, state.step
        while state.step < steps and not (spec.patience and state.stale >= spec.patience):
            epoch, place = divmod(state.step, per_epoch)
            if order is None or place == 0:
                order = train.order(seed * 1_000_003 + epoch, company.rank, company.size)
                train.expect(order, share, place)
            stage, begun, _ = spec.stage(state.step, steps)
            if (which := spec.learns(state.step, steps, state.lagging)) != learning:
                learning = which
                vae.learn(which)
            if state.step == begun:  # each stage goes on from the last one's end, and is judged by its own measure
                state.best_score = math.inf
            target = 1.0 if stage.learn == "prior" else objective.beta
            beta = (
                target if stage.learn == "prior" else target * objective.schedule.factor(state.step, steps, per_epoch)
            )
            for group in optimiser.param_groups:
                group["lr"] = spec.lr(state.step, steps)

            with profile.step():
                with span("data"):
                    examples = train.batch(order[place * share : (place + 1) * share])
                optimiser.zero_grad()
                outcome = step(examples, beta, state.step / steps)
                with span("backward"):
                    fabric.backward(outcome.loss)
                with span("optimiser"):
                    if _small(parameters, spec):
                        optimiser.step()
                    else:
                        state.meter.skipped += 1
                    state.step += 1
                    state.average.update(state.step)
            state.meter.add(state.step, outcome)

            validating = state.step % validate_every == 0 or state.step == steps
            looking = validating or state.step % log_every == 0
            if looking:
                if broken := state.meter.first_broken(company):
                    _give_up(*broken, state, spec, folder)
                now = time.monotonic()
                state.seconds = earlier + now - started
                speed = (state.step - looked_at) * batch / max(now - last_look, 1e-9)
                numbers, better = None, False
                if validating:
                    numbers = examine(state.average.module, valid, company=company)
                    if broken := _broken_weights(state, numbers):
                        _give_up(*broken, state, spec, folder)
                    better = _keep_best(state, numbers, target, beta)
                    state.lagging = state.lagging and numbers["rate"] > state.rate
                    state.rate = numbers["rate"]
                listen(
                    Event(state.step, steps, state.step / per_epoch, state.seconds, speed, beta,
                          state.meter.read(company), numbers, better, note, state.meter.skipped)
                )  # fmt: skip
                note = ""
                if validating:
                    state.meter.reset()
                    state.good = state.capture()
                last_look, looked_at = time.monotonic(), state.step
            together = looking or company.alone  # what several do together they agree on when they look
            if folder is not None and together:
                stop = company.most(signals.stop)
                if stop or company.told(time.monotonic() - last_save > 60 * spec.checkpoint):
                    state.seconds = earlier + time.monotonic() - started
                    if broken := state.meter.first_broken(company) or _broken_weights(state):
                        _give_up(*broken, state, spec, folder)
                    state.save(folder)
                    last_save = time.monotonic()
                    if stop:
                        raise Stopped(f"step {state.step:,} of {steps:,}", stop)

    if folder is not None:
        state.seconds = earlier + time.monotonic() - started
        # so that nothing after training can lose it; a disk too full for this may still hold the model alone
        with contextlib.suppress(InputError):
            state.save(folder)
    best = state.average.module
    best.load_state_dict(state.best or best.state_dict())
    best.float()  # whatever it was trained in, the model is kept and used in float32
    facts = {
        "steps": state.step,
        "epochs": round(state.step / per_epoch, 3),
        "seconds": round(earlier + time.monotonic() - started, 2),
        "best_step": state.best_step,
    } | ({} if spec.skip is None else {"skipped": state.meter.skipped})
    return best, facts


def _keep_best(state: State, numbers: dict[str, float], target: float, beta: float) -> bool:
    """Keep the averaged weights if the objective, at the β the run ends with, is the best so far on validation data.

    While β is still rising nothing is kept back for patience: the bound may well fall as the weight of the rate grows.
    """
    score = numbers["distortion"] + target * numbers["rate"]
    if not score < state.best_score:
        state.stale += int(beta >= target)
        return False
    state.best_score, state.best_step, state.stale = score, state.step, 0
    state.best = {name: tensor.clone() for name, tensor in state.average.module.state_dict().items()}
    return True


def _broken_weights(state: State, numbers: dict[str, float] | None = None) -> tuple[int, str] | None:
    """The step and the term, if an update broke the weights where all before it was finite; asked before saving."""
    if state.company.most(not all(bool(local(p).isfinite().all()) for p in state.learner.parameters())):
        return state.step, "gradient"
    for term in ("distortion", "rate"):
        if numbers and not math.isfinite(numbers[term]):
            return state.step, f"validation {term}"
    return None


def _small(parameters: list[nn.Parameter], spec: Training) -> bool:
    """Clip the gradient; whether the step is to be taken."""
    if spec.clip is None and spec.skip is None:
        return True
    norm = torch.nn.utils.clip_grad_norm_(parameters, spec.clip or math.inf, foreach=True)
    return spec.skip is None or float(whole(norm)) <= spec.skip


def _give_up(step: int, term: str, state: State, spec: Training, folder: Path | None) -> None:
    saved = ""
    if folder is not None and (reached := state.save_good(folder)):  # the state before the first step is worth nothing
        saved = f"; the last good state, step {reached:,}, is saved in {folder}"
    clip = f"{spec.clip / 10:g}" if spec.clip else "100"
    raise Diverged(
        "training",
        f"the {term} is not finite at step {step:,}{saved}",
        f"try --training.optimiser.lr {min(spec.optimiser.lr / 3, 1e-3):.1g}, --training.clip {clip}, or a longer warm-up",
    )


@contextlib.contextmanager
def _rescue(state: State, train: Feed, batch: int, folder: Path | None) -> Iterator[None]:
    """Save the last good state where memory or the device fails, and say what failed in one line; in any case read no further.

    Raises:
        Mishap: for want of memory it names the largest batch, of halves of this one, whose step was tried and had room.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        gone, full, left = lost_device(error), out_of_memory(error), lost_peer(error)
        if not (gone or full or left):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold what the step had made so far
        kept = ""
        if folder is not None:
            with contextlib.suppress(InputError, RuntimeError, MemoryError):  # of a lost device nothing can be read
                state.save_good(folder)
            kept = f"; step {state.saved:,} is saved" if state.saved else ""
        if left:
            problem = f"are {state.company.size} processes, and another one is gone since step {state.step:,}{kept}"
            raise Mishap("training.devices", problem, "see why it ended, then go on") from None
        if gone:
            problem = f"is {state.device.type}, which failed at step {state.step + 1:,} ({str(error).splitlines()[0]})"
            raise Mishap("training.device", problem + kept, "see whether it is still there, then go on") from None
        fits = _room(state, train, batch)
        mend = f"{fits} would fit (--training.batch {fits})" if fits else "not even 1 would fit: try a smaller model"
        if fits == batch:
            mend = "a step alone has room, so go on when less else is at work"
        problem = f"is {batch}, and there was not enough memory on {state.device.type} at step {state.step + 1:,}{kept}"
        raise Mishap("training.batch", problem, f"{mend}, or try fewer --objective.samples") from None
    finally:
        train.rest()


def _room(state: State, train: Feed, batch: int) -> int:
    """The largest for which a step has room, of a batch, its half, a quarter and so on, found by trying; 0 if none has."""
    for size in (batch >> i for i in range(batch.bit_length())):
        try:
            state.optimiser.zero_grad()
            state.learner(train.batch(torch.arange(size, device=state.device)), 1.0).loss.backward()
            return size
        except (RuntimeError, MemoryError) as error:
            traceback.clear_frames(error.__traceback__)
            if not out_of_memory(error):
                return 0
    return 0


def steps_per_epoch(data: Dataset, spec: Training) -> int:
    """Whole batches in a pass over the training data; the rest of a pass is left for another order."""
    return max(1, len(data.train) // spec.batch)


def measure_pace(vae: VAE, objective: Objective, data: Dataset, spec: Training, seconds: float) -> tuple[float, float]:
    """The time of a step and of a validation, in seconds, on copies that are thrown away.

    Args:
        vae, objective, data, spec: as for :func:`fit`.
        seconds: about how long to measure.
    """
    fabric = _fabric(spec)
    batch = min(spec.batch, len(data.train)) // spec.processes
    with seeded(0, fabric.device):
        learner = Learner(copy.deepcopy(vae), objective)
        average = Average(learner.vae, spec.average)
        optimiser = spec.optimiser.build(learner.parameters())
        learner, optimiser = fabric.setup(learner, optimiser)
        train, valid = _feeds(vae, data, fabric.device)
        some = partial(train.batch, torch.arange(batch, device=fabric.device))
        step, _ = hastened(learner, spec, 0, objective.beta, some, Company(fabric))
        meter, times, order = Meter(fabric.device), [], train.order(0)
        begin = time.monotonic()
        while len(times) < 5 or time.monotonic() - begin < seconds:
            tick = time.monotonic()
            place = len(times) % (len(order) // batch) * batch
            examples = train.batch(order[place : place + batch])
            optimiser.zero_grad()
            outcome = step(examples, objective.beta, 0.0)
            fabric.backward(outcome.loss)
            optimiser.step()
            average.update(1)
            meter.add(1, outcome)
            meter.read()
            times.append(time.monotonic() - tick)
        tick = time.monotonic()
        examine(average.module, valid)
        validation = time.monotonic() - tick
    steady = times[len(times) // 5 :]
    return sum(steady) / len(steady), validation


def _feeds(vae: VAE, data: Dataset, device: torch.device) -> tuple[Feed, Feed]:
    dequantise = vae.dequantise
    return tuple(Feed(split, data.reading, dequantise, device) for split in (data.train, data.valid))


def _fabric(spec: Training, devices: int = 1, nodes: int = 1) -> Any:
    from lightning_fabric import Fabric

    many: dict[str, Any] = {"devices": 1}
    if devices * nodes > 1:
        strategy = sharded(spec.processes) if spec.shards else "ddp"
        many = {"devices": devices, "num_nodes": nodes, "strategy": strategy}
    try:
        fabric = Fabric(accelerator=spec.device, precision=spec.precision, **many)
        if devices * nodes > 1:
            logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # who met whom is no news to a user
            fabric.launch()
        return fabric
    except Exception as error:  # fabric raises many kinds where a device is absent
        reason = str(error).splitlines()[0]
        raise InputError("training.device", f"{spec.device!r} cannot be used ({reason})", "say cpu") from None


class _Signals:
    """Turns Ctrl-C, SIGTERM and SIGHUP into a flag, the signal's number, that the loop looks at between steps.

    A second Ctrl-C is not held back. Where nohup told the process to ignore SIGHUP, it does.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled and threading.current_thread() is threading.main_thread()
        self.stop = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if self.enabled:
            for number in SIGNALS:
                if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._set)
        return self

    def _set(self, number: int, frame: Any) -> None:
        if self.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop = number

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
