"""taut: variational autoencoders with the bound pulled tight.

>>> import taut
>>> run = taut.train("digits", epochs=1)
>>> run.sample(2).shape
(2, 8, 8)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taut.api import train
    from taut.data import Data
    from taut.errors import InputError
    from taut.estimator import VAEEstimator
    from taut.experiment import Experiment
    from taut.model import Model
    from taut.runs import Run, load
    from taut.sharing import from_pretrained, push_to_hub, save_pretrained
    from taut.training import Training

__version__ = "0.1.0"
__all__ = [
    "Data",
    "Experiment",
    "InputError",
    "Model",
    "Run",
    "Training",
    "VAEEstimator",
    "__version__",
    "from_pretrained",
    "load",
    "push_to_hub",
    "save_pretrained",
    "train",
]

_HOMES = {
    "Data": "taut.data",
    "Experiment": "taut.experiment",
    "InputError": "taut.errors",
    "Model": "taut.model",
    "Run": "taut.runs",
    "Training": "taut.training",
    "VAEEstimator": "taut.estimator",
    "from_pretrained": "taut.sharing",
    "load": "taut.runs",
    "push_to_hub": "taut.sharing",
    "save_pretrained": "taut.sharing",
    "train": "taut.api",
}


def __getattr__(name: str) -> Any:
    # names are fetched when first used, so that `taut --help` need not wait for torch
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'taut' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
