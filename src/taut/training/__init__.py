"""Training: one loop, its checkpoints and its validation."""

from taut.training.information import Information, information
from taut.training.loop import CHECKPOINT, Diverged, Event, Stopped, fit, measure_pace, steps_per_epoch
from taut.training.spec import SGD, Adam, Adamax, AdamW, Optimiser, Stage, Training
from taut.training.start import Start
from taut.training.validation import active_units, examine, seeded

__all__ = [
    "CHECKPOINT",
    "SGD",
    "Adam",
    "AdamW",
    "Adamax",
    "Diverged",
    "Event",
    "Information",
    "Optimiser",
    "Stage",
    "Start",
    "Stopped",
    "Training",
    "active_units",
    "examine",
    "fit",
    "information",
    "measure_pace",
    "seeded",
    "steps_per_epoch",
]
