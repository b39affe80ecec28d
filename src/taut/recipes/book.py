"""Reading recipes.

A recipe is the tree of a configuration with a head of four lines: ``summary``, ``source``, ``expected`` (the number,
on which data and by which bound) and ``time``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from taut.errors import InputError, nearest

__all__ = ["Recipe", "all_recipes", "read_recipe"]

HEAD = ("summary", "source", "expected", "time")


@dataclass(frozen=True)
class Recipe:
    """A published model.

    Attributes:
        name: the file's name.
        summary: one line.
        source: where it was published.
        expected: the number it should reach.
        time: how long that takes, and on what.
        tree: its configuration.
    """

    name: str
    summary: str
    source: str
    expected: str
    time: str
    tree: dict[str, Any]


@cache
def _names() -> tuple[str, ...]:
    files = resources.files("taut.recipes").iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def read_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        InputError: where there is none, with the nearest.
    """
    if name not in _names():
        raise InputError("--recipe", f"there is no recipe {name!r}", nearest(name, _names()))
    text = (resources.files("taut.recipes") / f"{name}.yaml").read_text(encoding="utf-8")
    tree = yaml.safe_load(text)
    head = {key: str(tree.pop(key)) for key in HEAD}
    return Recipe(name, **head, tree=tree)


def all_recipes() -> list[Recipe]:
    """Every recipe, by name."""
    return [read_recipe(name) for name in _names()]
