"""How good a trained model is, on data it has not seen: bounds of log p(x), in nats, and the use of its codes."""

from taut.evaluation.annealing import Annealing
from taut.evaluation.baselines import baselines
from taut.evaluation.bounds import Bounds, bounds
from taut.evaluation.cells import Scores, impute, score
from taut.evaluation.draws import judge
from taut.evaluation.evaluate import evaluate
from taut.evaluation.evidence import annealed, annealed_bounds, bracketed, integrated
from taut.evaluation.gaps import gaps
from taut.evaluation.ledger import Ledger
from taut.evaluation.neighbours import nearest
from taut.evaluation.quality import in_words, quality
from taut.evaluation.space import Space
from taut.evaluation.subject import Progress, Subject

__all__ = [
    "Annealing",
    "Bounds",
    "Ledger",
    "Progress",
    "Scores",
    "Space",
    "Subject",
    "annealed",
    "annealed_bounds",
    "baselines",
    "bounds",
    "bracketed",
    "evaluate",
    "gaps",
    "impute",
    "in_words",
    "integrated",
    "judge",
    "nearest",
    "quality",
    "score",
]
