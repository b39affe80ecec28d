"""Runs made in a moment, for tests that need a run's folder and not what it has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from taut.config import merge, parse
from taut.data import open_array, open_data
from taut.experiment import Experiment, resolve, train
from taut.runs import Run, facts_of

__all__ = ["quick_run"]


def quick_run(
    folder: Path,
    data: Any = "digits",
    summary: dict[str, Any] | None = None,
    steps: int = 3,
    tree: dict[str, Any] | None = None,
    **model: Any,
) -> Run:
    """A run of a few steps in a folder, without a report; its data are a named set, a path or an array, and ``tree`` is what
    else its configuration says."""
    named = isinstance(data, (str, Path))
    tree = merge({"data": {"source": str(data) if named else "array"}, "training": {"steps": steps}}, tree or {})
    tree = merge(tree, {"model": model})
    experiment = parse(Experiment, tree)
    dataset = open_data(experiment.data) if named else open_array(np.asarray(data), None, experiment.data)
    experiment = resolve(experiment, dataset)
    vae, _ = train(experiment, dataset)
    run = Run(
        vae.eval().requires_grad_(False), experiment, dataset.reading, facts_of(dataset), summary or {}, None, dataset
    )
    run.save(folder)
    return run
