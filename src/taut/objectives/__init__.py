"""Objectives: from a trace to the loss."""

from taut.objectives.base import Learner, Objective
from taut.objectives.bounds import ELBO, IWAE
from taut.objectives.schedules import Constant, Linear, Schedule

__all__ = ["ELBO", "IWAE", "Constant", "Learner", "Linear", "Objective", "Schedule"]
