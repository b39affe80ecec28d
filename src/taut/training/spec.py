"""The training section of a configuration: how long, how fast, how carefully."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from taut.config import Part
from taut.errors import InputError
from taut.training.start import Start

__all__ = ["SGD", "Adam", "AdamW", "Adamax", "Optimiser", "Stage", "Training"]

WORTH_COMPILING = 50_000  # steps from which on a CPU too makes good the half minute or more that compiling takes

# variables by which fabric knows a cluster
SCHEDULERS = ("SLURM_NTASKS", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "KUBERNETES_PORT", "TPU_WORKER_ID")


@dataclass(frozen=True)
class Optimiser(Part, family=True):
    """A rule that turns gradients into updates.

    Args:
        lr: the learning rate at its highest, after warm-up and before decay.
        weight_decay: pulls weights towards zero.
    """

    lr: float = 2e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise InputError("lr", f"is {self.lr:g}", "give a number above 0, such as 1e-3")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError("weight_decay", f"is {self.weight_decay:g}", "give 0 or more")

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam (Kingma and Ba 2015).

    Args:
        lr: the learning rate at its highest.
        weight_decay: pulls weights towards zero.
        betas: decay of the running mean and square of the gradient.
        eps: added to the root of the square.
    """

    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError("betas", f"is {self.betas}", "give two numbers from 0 up to but not including 1")
        if not 0 < self.eps < math.inf:
            raise InputError("eps", f"is {self.eps:g}", "give a number above 0")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters, self.lr, tuple(self.betas), self.eps, weight_decay=self.weight_decay, fused=True
        )


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Args:
        lr: the learning rate at its highest.
        weight_decay: pulls weights towards zero, apart from the gradient.
        betas: decay of the running mean and square of the gradient.
        eps: added to the root of the square.
    """

    weight_decay: float = 0.01

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters, self.lr, tuple(self.betas), self.eps, weight_decay=self.weight_decay, fused=True
        )


@dataclass(frozen=True)
class Adamax(Adam):
    """Adam with the running maximum instead of the running square (Kingma and Ba 2015).

    Args:
        lr: the learning rate at its highest.
        weight_decay: pulls weights towards zero.
        betas: decay of the running mean and maximum of the gradient.
        eps: added to the maximum.
    """

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adamax(parameters, self.lr, tuple(self.betas), self.eps, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class SGD(Optimiser):
    """Stochastic gradient descent with momentum.

    Args:
        lr: the learning rate at its highest; losses are in nats per example, so it is small.
        weight_decay: pulls weights towards zero.
        momentum: of the running gradient.
    """

    lr: float = 1e-4
    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise InputError("momentum", f"is {self.momentum:g}", "give a number from 0 up to but not including 1")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, self.lr, self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Stage:
    """A stretch of a run in which only some of the model learns; each has its own course of the learning rate.

    Where a prior learns alone, the rate is all that there is to lower, so its weight β is 1 there whatever the objective says.

    Args:
        learn: everything, the ``prior`` of every layer alone, or all but it: the ``codes``.
        share: how long, in proportion to the other stages.
    """

    learn: Literal["all", "prior", "codes"] = "all"
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share < math.inf:
            raise InputError("share", f"is {self.share:g}", "give a number above 0")


@dataclass(frozen=True)
class Training:
    """How a model is trained. At most one of epochs, steps and minutes says how long; if none does, the data's size.

    Args:
        epochs: passes over the training data.
        steps: updates.
        minutes: time; the pace is measured first and frozen into a number of steps, so that nothing runs by the clock.
        batch: examples per step; smaller where there are few.
        optimiser: the update rule.
        schedule: how the learning rate goes after its warm-up.
        warmup: share of the run in which the learning rate rises from zero.
        clip: the largest norm of the gradient, none for no clipping.
        skip: a step whose gradient has a larger norm than this, before clipping, is left out, none for no such limit
            (Child 2021, against rare explosions in very deep models).
        average: decay of the running average of the weights (EMA) that becomes the model, none for the last weights.
        patience: stop after so many validations without a better bound, none to go on to the end.
        validations: how often to validate in a run, at most once an epoch; the best weights are kept.
        precision: of the arithmetic, as lightning-fabric names it.
        device: where to train.
        devices: how many of them on each machine, each with a process of its own and its part of every batch.
        nodes: how many machines; torchrun or SLURM starts the processes there.
        strategy: what each of several processes keeps between steps: all weights (ddp), or its shard of them, of the
            optimiser's moments and of the running average (fsdp).
        compile: whether torch's compiler makes a step: ``on`` where there is one, else with a line that says why not; ``auto``
            on a GPU, and on a CPU in a run of 50,000 steps or more, which makes good what compiling takes. Losses are the same
            to rounding, not to the bit.
        checkpoint: minutes between checkpoints.
        stages: stretches of the run, one after the other; a single one in which everything learns if left open.
        aggressive: so many updates of q alone before each of the whole model, as long as the rate on validation data rises from
            one validation to the next; 0 for none (He et al. 2019, who measure the mutual information instead).
        start: a run whose weights training begins with (training.start.run); seeded ones if left open.
    """

    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None
    batch: int = 128
    optimiser: Optimiser = Adam()
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.05
    clip: float | None = None
    skip: float | None = None
    average: float | None = 0.999
    patience: int | None = None
    validations: int = 100
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"
    compile: Literal["auto", "on", "off"] = "auto"
    checkpoint: float = 2.0
    stages: tuple[Stage, ...] = (Stage(),)
    aggressive: int = 0
    start: Start | None = None

    def __post_init__(self) -> None:
        if self.aggressive < 0:
            raise InputError("aggressive", f"is {self.aggressive}", "give 0 or more updates")
        if not self.stages:
            raise InputError("stages", "is empty", "give one or more, or leave it out")
        if len(self.stages) > 1 and self.patience is not None:
            raise InputError("patience", "would end the run before its later stages", "leave it out")
        lengths = {name: getattr(self, name) for name in ("epochs", "steps", "minutes")}
        given = {name: value for name, value in lengths.items() if value is not None}
        if len(given) > 1 and not (set(given) == {"minutes", "steps"}):
            raise InputError(next(iter(given)), f"is given with {' and '.join(list(given)[1:])}", "give one of them")
        for name, value in given.items():
            if not 0 < value < math.inf:
                raise InputError(name, f"is {value:g}", "give a number above 0")
        for name in ("batch", "validations", "patience", "devices", "nodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(name, f"is {value}", "give 1 or more")
        if not 0 <= self.warmup < 1:
            raise InputError(
                "warmup", f"is {self.warmup:g}", "give a share of the run, from 0 up to but not including 1"
            )
        for name in ("clip", "skip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(name, f"is {value:g}", "give a number above 0, or none")
        if self.average is not None and not 0 <= self.average < 1:
            raise InputError(
                "average", f"is {self.average:g}", "give a decay from 0 up to but not including 1, or none"
            )
        if not self.checkpoint > 0:
            raise InputError("checkpoint", f"is {self.checkpoint:g}", "give minutes above 0")

    @property
    def processes(self) -> int:
        """How many train together."""
        return self.devices * self.nodes

    @property
    def takes_turns(self) -> bool:
        """Whether parts of the model learn in turns."""
        return len(self.stages) > 1 or self.aggressive > 0

    @property
    def shards(self) -> bool:
        """Whether weights are kept in parts."""
        return self.strategy == "fsdp" and self.processes > 1

    def require_company(self) -> None:
        """Refuse what several processes cannot do together.

        Raises:
            InputError: naming it.
        """
        started = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else self.processes
        if started != self.processes:
            raise InputError("training.devices", f"times nodes is {self.processes}, and torchrun started {started} processes",
                             "say --devices and --nodes as torchrun was told")  # fmt: skip
        if self.nodes > 1 and not any(name in os.environ for name in ("WORLD_SIZE", "MASTER_ADDR", *SCHEDULERS)):
            raise InputError("training.nodes", f"is {self.nodes}, and nothing has started processes on the other machines",
                             "start it on each by torchrun or srun")  # fmt: skip
        if self.processes == 1:
            return
        if self.batch % self.processes:
            raise InputError("training.batch", f"is {self.batch}, which {self.processes} processes cannot share evenly",
                             f"give {max(1, round(self.batch / self.processes)) * self.processes}")  # fmt: skip
        if self.shards and self.precision not in ("32-true", "bf16-mixed"):
            raise InputError(
                "training.precision", f"is {self.precision}, and the strategy is fsdp", "say 32-true or bf16-mixed"
            )
        if self.shards and self.compile == "on":
            raise InputError("training.compile", "is on, and the strategy is fsdp", "say ddp, or leave it auto")
        if self.takes_turns:
            name = "stages" if len(self.stages) > 1 else "aggressive"
            raise InputError(f"training.{name}", "lets parts of the model learn in turns, which several processes do not do "
                             "together", "train on one device, or leave it out")  # fmt: skip

    def require_device(self) -> None:
        """Refuse a device that this machine does not have.

        Raises:
            InputError: naming it.
        """
        there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}.get(self.device, lambda: True)
        if not there():
            raise InputError(
                "training.device", f"is {self.device}, which this machine does not have", "say cpu, or auto"
            )

    def compiles(self, steps: int) -> bool:
        """Whether a step of a run of so many is to be compiled, if there is a compiler."""
        if self.compile != "auto" or self.shards:
            return self.compile == "on"
        kind = self.device
        if kind == "auto":
            kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return not self.takes_turns and (kind == "cuda" or (kind == "cpu" and steps >= WORTH_COMPILING))

    def stage(self, step: int, steps: int) -> tuple[Stage, int, int]:
        """The stage that a step lies in, the step at which it began and the one at which it ends."""
        total, passed, begin = sum(stage.share for stage in self.stages), 0.0, 0
        for stage in self.stages:
            passed += stage.share
            end = round(steps * passed / total)
            if step < end:
                return stage, begin, end
            begin = end
        return self.stages[-1], begin, steps

    def learns(self, step: int, steps: int, lagging: bool) -> str:
        """What of the model learns at a step; ``lagging`` says whether q is still behind the model that it is of."""
        learn = self.stage(step, steps)[0].learn
        alone = lagging and learn != "prior" and step % (self.aggressive + 1) < self.aggressive
        return "inference" if alone else learn

    def lr(self, step: int, steps: int) -> float:
        """The learning rate at a step, 0 ≤ step < steps."""
        _, begin, end = self.stage(step, steps)
        step, steps = step - begin, end - begin
        rise = self.warmup * steps
        peak = self.optimiser.lr
        if step < rise:
            return peak * (step + 1) / (rise + 1)
        done = (step - rise) / max(1.0, steps - rise)
        if self.schedule == "constant":
            return peak
        return peak * (0.5 * (1 + math.cos(math.pi * done)) if self.schedule == "cosine" else 1 - done)

    def planned_steps(self, per_epoch: int) -> int:
        """The number of updates, where the length is not given in minutes.

        A run of no stated length makes about 5,000 updates, but never more than 200 or less than 10 passes.
        """
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return max(1, round(self.epochs * per_epoch))
        return per_epoch * min(200, max(10, round(5000 / per_epoch)))
