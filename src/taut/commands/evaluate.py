"""taut evaluate: bounds of log p(x)."""

from __future__ import annotations

import argparse
from typing import Any

from taut.commands.shared import Parser, run_arguments

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "Lower bounds of log p(x), mean over the test split, in nats per example;\n"
        "and what the codes tell of labels and factors, where the data bring some."
    )
    run_arguments(parser)
    parser.add_argument("--data", metavar="OTHER", help="other data, read as the run's were")
    parser.add_argument("--samples", type=int, default=100, metavar="K", help="of the importance-weighted bound [100]")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N examples")
    parser.add_argument("--iw-limit", type=int, metavar="N",
                        help="take the importance-weighted gain over the ELBO on N random examples only")  # fmt: skip
    parser.add_argument("--draws", type=int, metavar="N",
                        help="judge N draws from the model: true to the data, varied, no copies?")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    import json

    from taut.console import Progress, console, result_lines
    from taut.runs import finite, load

    run = load(args.run, args.trust)
    progress = Progress("evaluating", args.quiet)
    result = run.evaluate(args.data, args.samples, args.limit, args.iw_limit, args.seed, args.data_root, progress)
    if args.draws is not None:
        result["draws"] = run.judge(args.draws, args.seed, args.data_root)
    if args.json:
        print(json.dumps(finite(_without(result, *PER_LATENT)), ensure_ascii=False))
        return 0
    out = console()
    out.print(f"{result['data']}, {result['split']} split, {result['n']:,} examples, {result['support']}, "
              f"{result['likelihood']}", style="dim")  # fmt: skip
    for line in result_lines(result):
        out.print(line)
    return 0


PER_LATENT = ("kl_per_dim", "mean", "std", "shares", "importance")  # long rows of numbers, which pictures show


def _without(result: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The same without some keys, in whatever depth."""
    return {k: _without(v, *keys) if isinstance(v, dict) else v for k, v in result.items() if k not in keys}
