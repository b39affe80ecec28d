"""Objectives: from a trace to the loss."""

from taut.objectives.base import Learner, Objective
from taut.objectives.bounds import ELBO, IWAE, Capacity
from taut.objectives.estimators import RLOO, STL, VIMCO, DReG, Estimator, Pathwise, Score
from taut.objectives.penalties import DIP, MMD, Penalty, Spectral, TotalCorrelation
from taut.objectives.schedules import Constant, Cosine, Cyclical, Linear, Schedule, Sigmoid

__all__ = [
    "DIP",
    "ELBO",
    "IWAE",
    "MMD",
    "RLOO",
    "STL",
    "VIMCO",
    "Capacity",
    "Constant",
    "Cosine",
    "Cyclical",
    "DReG",
    "Estimator",
    "Learner",
    "Linear",
    "Objective",
    "Pathwise",
    "Penalty",
    "Schedule",
    "Score",
    "Sigmoid",
    "Spectral",
    "TotalCorrelation",
]
