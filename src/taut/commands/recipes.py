"""taut recipes: published models."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = "Published models, ready to train: taut train DATA --recipe NAME"


def run(args: argparse.Namespace) -> int:
    from taut.recipes import all_recipes

    for recipe in all_recipes():
        print(f"{recipe.name} — {recipe.summary}")
    return 0
