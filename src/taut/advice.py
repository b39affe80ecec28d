"""What to say when latents die, and what would help: in words that fit the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taut.experiment import Experiment
from taut.objectives import Constant
from taut.posteriors import DiagonalNormal
from taut.priors import StandardNormal
from taut.training import Event

__all__ = ["Advice", "idleness", "remedies"]

NOTHING = 0.1  # nats, below which a code says nothing
LITTLE = 0.01  # of the rate, below which a layer of several says nothing
FEW = 4  # a remainder smaller than one in so many, of what was alive, is worth a word


@dataclass
class Advice:
    """Listens to a training and says once, when it sees it, that most steps are left out, or that the latents have died.

    While β still rises nothing is said: latents come and go then.

    Args:
        experiment: resolved.
    """

    experiment: Experiment
    most: int = 0
    said: bool = False
    idle: bool = False

    def __call__(self, event: Event) -> str | None:
        """The warning to give at this event, if any."""
        if 2 * event.skipped > event.step:  # what has not learned has not collapsed
            said, self.idle = self.idle, True
            return None if said else idleness(event.skipped, event.step, self.experiment)
        if self.said or event.valid is None or event.valid["elbo"] is None or not self.experiment.model.layers:
            return None
        active = event.valid["active_units"]
        if event.beta < self.experiment.objective.beta and event.step < event.steps:
            self.most = max(self.most, active)
            return None
        if words := died(event.valid, self.most):
            self.said = True
            return f"{words} (posterior collapse). {remedies(self.experiment)}".replace("`", "")
        self.most = max(self.most, active)
        return None


def idleness(skipped: int, steps: int, experiment: Experiment) -> str:
    """What to say of a training most of whose steps were left out."""
    limit = experiment.training.skip
    return (f"{skipped:,} of {steps:,} steps were left out, as their gradient's norm was above training.skip, {limit:g}: they "
            "taught nothing. What helps: a larger training.skip")  # fmt: skip


def died(numbers: dict[str, Any], most: int) -> str | None:
    """What has died, in words, by the numbers of a validation and the most units that were active before."""
    if (rate := numbers["rate"]) < NOTHING:
        said = f"{rate:.2f}".replace("-", "−")
        noise = ", an estimate whose noise may put it below 0" if rate < 0 else ""
        return f"the latents have died: the rate is {said} nats{noise}, and the decoder goes without the code"
    if numbers["active_units"] * FEW < most:
        return f"latents have died: {numbers['active_units']} are active, of {most} that were"
    layers = [sum(parts) for parts in numbers["kl"]]
    if dead := [str(i + 1) for i, kl in enumerate(layers) if kl < LITTLE * numbers["rate"]]:
        some = f"{'layers' if len(dead) > 1 else 'layer'} {', '.join(dead)} of {len(layers)}, counted from the top, "
        return f"{some}{'have' if len(dead) > 1 else 'has'} died: less than {LITTLE:.0%} of the rate"
    return None


def remedies(experiment: Experiment) -> str:
    """What would help against latents that carry nothing, the likeliest first, and only what the run does not do already;
    options stand in `backticks`."""
    objective, model = experiment.objective, experiment.model
    found = []
    if model.likelihood.weaker:
        found.append(model.likelihood.weaker)
    if objective.beta > 1:
        found.append(f"a smaller weight of the rate (`--objective.beta {min(1.0, objective.beta / 4):g}`)")
    several = len(model.layers) > 1
    if several and getattr(objective, "balance", None) is False:
        found.append(
            "balanced layers (`--objective.balance true --objective.schedule Linear --objective.schedule.share 0.3`)"
        )
    if getattr(objective, "free_bits", None) == 0:
        each = "1 --objective.group layer" if several else "0.25"
        found.append(f"free bits (`--objective.free_bits {each}`)")
    if isinstance(objective.schedule, Constant):
        found.append("annealing (`--objective.schedule Linear`)")
    elif hasattr(objective.schedule, "share") and objective.schedule.share < 0.5:
        found.append("a longer warm-up (`--objective.schedule.share 0.5`)")
    plain = all(isinstance(layer.posterior, DiagonalNormal) for layer in model.layers)
    first = isinstance(model.layers[0].prior, StandardNormal) if model.layers else False  # another was chosen by name
    if plain and first:
        found.append(
            "a posterior whose rate cannot fall below δ (`--model.posterior CommittedNormal --model.prior AR1`)"
        )
    return f"What helps: {', or '.join(found[:3])}." if found else "What helps: a weaker decoder."
