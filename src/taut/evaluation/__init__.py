"""How good a trained model is: bounds of log p(x), in nats, on data it has not seen."""

from taut.evaluation.bounds import Bounds, bounds
from taut.evaluation.evaluate import evaluate
from taut.evaluation.neighbours import nearest

__all__ = ["Bounds", "bounds", "evaluate", "nearest"]
