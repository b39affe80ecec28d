"""Every recipe on the handwritten digits, as it stands but for its length: bounds and CPU time, in one table.

    python benchmarks/recipes.py [--steps 1000] [--only NAME …]

Test ELBO and IW-100 of 180 images 8×8 with 17 levels (1,437 to learn from), seed 0, in nats; CPU seconds of training and
evaluation together. The three of MNIST are here for their time alone: they are made for larger images.
"""

from __future__ import annotations

import argparse
import time

import taut
from taut.config import merge
from taut.recipes import all_recipes


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}".replace("-", "−")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", nargs="*")
    args = parser.parse_args()
    print("| recipe | ELBO | IW-100 | rate | active | CPU s |\n|---|---|---|---|---|---|", flush=True)
    for recipe in all_recipes():
        if args.only and recipe.name not in args.only:
            continue
        training = {
            key: value for key, value in recipe.tree.get("training", {}).items() if key not in ("epochs", "minutes")
        }
        tree = {**recipe.tree, "training": merge(training, {"steps": args.steps})}
        tree["data"] = {key: value for key, value in tree.get("data", {}).items() if key != "source"}
        began = time.process_time()
        summary = taut.train("digits", **tree).summary
        seconds = time.process_time() - began
        cells = (number(summary["elbo"]), number(summary["iw"]["value"]), number(summary["rate"]),
                 f"{summary['active_units']} of {summary['latent_dim']}", f"{seconds:.0f}")  # fmt: skip
        print(f"| {recipe.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
