"""Every recipe says where it is from, and trains."""

from __future__ import annotations

from pathlib import Path

import pytest

import taut
from taut.cli import main
from taut.recipes import all_recipes

SMALLER = {  # for 8×8 images, and for two cores
    "mnist": {"network.channels": "8,8"},
    "lvae-conv": {"network.channels": "8,8,8", "network.cells": "1", "layers": "[{part: Spatial}]"},
    "nvae-mnist": {"network.channels": "8,8"},
    "vdvae-mnist": {"network.channels": "8,8,8", "layers": "[{part: Spatial}]"},
    "vdvae-cifar": {"network.channels": "8,8,8", "layers": "[{part: Spatial}]", "likelihood": "DiscretisedLogistic"},
}


@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.name)
def test_recipe_trains_on_digits(recipe, tmp_path: Path) -> None:
    assert recipe.summary and recipe.source and recipe.expected and recipe.time
    assert recipe.summary[0].islower() or recipe.summary[0].isupper()
    folder = tmp_path / "run"
    argv = ["train", "digits", "--recipe", recipe.name, "--out", str(folder), "--training.steps", "20", "--quiet"]
    for name, value in SMALLER.get(recipe.name, {}).items():
        argv += [f"--model.{name}", value]
    assert main([*argv]) == 0
    run = taut.load(folder)
    assert run.sample(2, seed=0).shape == (2, 8, 8)
    assert run.summary["steps"] == 20
