"""Training: one loop, its checkpoints and its validation."""

from taut.training.company import leads
from taut.training.information import Information, information, standard_error
from taut.training.loop import CHECKPOINT, Diverged, Event, Stopped, fit, measure_pace, steps_per_epoch
from taut.training.profile import STRETCHES, Profile
from taut.training.spec import SGD, Adam, Adamax, AdamW, Optimiser, Stage, Training
from taut.training.start import Start
from taut.training.validation import active_units, examine, seeded, shift, spread_of

__all__ = [
    "CHECKPOINT",
    "SGD",
    "STRETCHES",
    "Adam",
    "AdamW",
    "Adamax",
    "Diverged",
    "Event",
    "Information",
    "Optimiser",
    "Profile",
    "Stage",
    "Start",
    "Stopped",
    "Training",
    "active_units",
    "examine",
    "fit",
    "information",
    "leads",
    "measure_pace",
    "seeded",
    "shift",
    "spread_of",
    "standard_error",
    "steps_per_epoch",
]
