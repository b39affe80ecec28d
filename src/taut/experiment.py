"""An experiment: data, model, objective and training in one configuration, and the way from it to a trained model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from taut.data import Data, Dataset, Support, whole_path
from taut.errors import InputError
from taut.likelihoods import require_fit
from taut.model import VAE, Model
from taut.objectives import ELBO, Objective
from taut.training import Event, Profile, Training, fit, measure_pace, steps_per_epoch

__all__ = ["Experiment", "build", "require_effect", "resolve", "train"]

OF_LATENTS = ("latents", "prior", "posterior")  # options of a model that nothing reads where it has none
OF_DRAWS = ("part", "samples")  # options of an objective that something reads there


@dataclass(frozen=True)
class Experiment:
    """The whole configuration of a run.

    Args:
        data: which data, and how they are read and split.
        model: prior, posterior, likelihood, network and layers.
        objective: what is minimised.
        training: how.
        seed: of the initial weights, the order of the examples and all draws.
    """

    data: Data
    model: Model = Model()
    objective: Objective = ELBO()
    training: Training = Training()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise InputError("seed", f"is {self.seed}", f"give 0 to {2**31 - 1}")


def build(experiment: Experiment, data: Dataset) -> VAE:
    """The model of an experiment with its initial weights, seeded."""
    torch.manual_seed(experiment.seed)
    return experiment.model.build(data.reading.shape, data.reading.support, data.statistics(), data.reading.conditioned)


def require_effect(experiment: Experiment, given: Iterable[str]) -> None:
    """Refuse options that somebody gave and nothing would read: those of latents where a model has none.

    Args:
        experiment: what they are options of.
        given: their dotted names; what a recipe or a default brings along is none of them.

    Raises:
        InputError: naming the first.
    """
    if experiment.model.layers:
        return
    for name in given:
        section, _, field = name.partition(".")
        field = field.partition(".")[0]
        if (section == "model" and field in OF_LATENTS) or (section == "objective" and field and field not in OF_DRAWS):
            raise InputError(name, "is given, and changes nothing in a model without latents: model.layers is empty",
                             "leave it out, or give the model layers")  # fmt: skip


def resolve(experiment: Experiment, data: Dataset) -> Experiment:
    """The experiment with all that was left open decided: by the data, and by the pace where minutes are given.

    What it returns says everything that decides the result, so that it can be run again to the same weights.

    Raises:
        InputError: where parts do not fit the data or each other, or a schedule does not fit the length of the run.
    """
    reading, training = data.reading, experiment.training
    training.require_device()
    if experiment.model.likelihood is not None:
        require_fit(experiment.model.likelihood, reading.support, data.missing > 0)
    experiment = replace(
        experiment, model=experiment.model.resolved(reading.shape, reading.support, reading.conditioned)
    )
    likelihood, network = experiment.model.chosen
    model = replace(experiment.model, network=network.fitted(reading.shape))
    experiment = replace(experiment, model=model)
    if reading.library is not None and not likelihood.scales:
        raise InputError("data.offset", f"is each row's total, and {likelihood.name} knows no scale",
                         "choose NegativeBinomial, or say data.offset none")  # fmt: skip
    experiment = replace(experiment, objective=experiment.objective.resolved(model.layers, likelihood))
    for layer in experiment.model.layers:
        layer.prior.check(len(data.train))
    training = replace(training, batch=min(training.batch, len(data.train)))
    training.require_company()
    if training.aggressive and not experiment.model.layers:
        raise InputError(
            "training.aggressive", f"is {training.aggressive}, and the model has no latents to infer", "leave it out"
        )
    vae = build(experiment, data)  # what cannot be built is refused here, before anything is written
    for penalty in experiment.objective.penalties:
        penalty.require(vae)
    for stage in training.stages:
        vae.learn(stage.learn)
    if training.start is not None:
        start = training.start.resolved()
        training = replace(training, start=start)
        start.give(vae, reading.centre)
    per_epoch = steps_per_epoch(data, training)
    if training.minutes is not None and training.steps is None:
        steps = _steps_in(training.minutes, experiment, data, training)
    else:
        steps = training.planned_steps(per_epoch)
    experiment.objective.schedule.check(steps, per_epoch)
    support, source = _support_name(reading.raw_support), experiment.data.source
    if reading.origin not in ("named", "array"):
        source = whole_path(source)  # the run may be used from another folder
    experiment = replace(experiment, data=replace(experiment.data, support=support, source=source))
    return replace(experiment, training=replace(training, steps=steps, epochs=None))


def _support_name(support: Support) -> str:
    """A support by the name that ``data.support`` gives it."""
    if support.whole:
        return "auto"  # stored as floats, `real` would take them for a density
    return "bytes" if support.levels == 256 else support.kind


def _steps_in(minutes: float, experiment: Experiment, data: Dataset, training: Training) -> int:
    """How many steps fit in a time, the validations counted in."""
    seconds = 60 * minutes
    watch = min(10.0, 0.03 * seconds)
    step, validation = measure_pace(build(experiment, data), experiment.objective, data, training, watch)
    steps = (seconds - watch - validation) / step
    count = min(training.validations, math.ceil(steps / steps_per_epoch(data, training)))
    return max(1, int((seconds - watch - count * validation) / step))


def train(
    experiment: Experiment,
    data: Dataset,
    folder: Path | None = None,
    listen: Callable[[Event], None] = lambda event: None,
    resume: bool = False,
    profile: Profile | None = None,
) -> tuple[VAE, dict[str, Any]]:
    """Train a resolved experiment's model; arguments and errors as for :func:`taut.training.fit`."""
    steps = experiment.training.steps
    if steps is None:
        raise InputError("training.steps", "is left open", "resolve the experiment by the data first")
    vae = build(experiment, data)
    if experiment.training.start is not None and not resume:
        experiment.training.start.give(vae, data.reading.centre)
    return fit(
        vae, experiment.objective, data, experiment.training, steps, experiment.seed,
        folder, listen, resume, profile,
    )  # fmt: skip
