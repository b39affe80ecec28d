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
    parser.add_argument("--gaps", action="store_true",
                        help="split log p(x) − ELBO into what the family of q costs and what the encoder does")  # fmt: skip
    parser.add_argument("--baselines", action="store_true",
                        help="simpler densities of the same data, and q without an encoder, beside this model")  # fmt: skip
    parser.add_argument("--gaps-limit", type=int, default=100, metavar="N",
                        help="seek a q of their own for N random examples, in both of these [100]")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    import json

    from taut.console import Progress, baseline_lines, console, result_lines
    from taut.runs import finite, load

    run = load(args.run, args.trust)
    beside = _beside(run, args)  # first, since it may have to refuse
    progress = Progress("evaluating", args.quiet)
    result = run.evaluate(args.data, args.samples, args.limit, args.iw_limit, args.seed, args.data_root, progress)
    result |= beside
    if args.draws is not None:
        result["draws"] = run.judge(args.draws, args.seed, args.data_root)
    if args.json:
        print(json.dumps(finite(_without(result, *PER_LATENT)), ensure_ascii=False))
        return 0
    out = console()
    out.print(f"{result['data']}, {result['split']} split, {result['n']:,} examples, {result['support']}, "
              f"{result['likelihood']}", style="dim")  # fmt: skip
    for line in result_lines(result) + baseline_lines(result.get("baselines", {})):
        out.print(line)
    return 0


def _beside(run: Any, args: argparse.Namespace) -> dict[str, Any]:
    """What is asked for by an option of its own."""
    from taut.console import Progress
    from taut.errors import InputError
    from taut.evaluation import baselines, gaps

    if args.gaps_limit < 1:
        raise InputError("--gaps-limit", f"is {args.gaps_limit}", "give 1 or more")
    found: dict[str, Any] = {}
    if args.gaps:
        watch = Progress("a q for each example", args.quiet)
        found["gaps"] = gaps(run.subject(args.data, args.seed, args.data_root), args.gaps_limit, progress=watch)
    if args.baselines:
        subject, data = run.subject(args.data, args.seed, args.data_root), run.dataset(args.data_root)
        samples = args.samples if args.iw_limit is None else 1
        watch = Progress("rows of baselines", args.quiet)
        found["baselines"] = baselines(subject, data, samples, args.limit, args.gaps_limit, watch)
    return found


PER_LATENT = ("kl_per_dim", "mean", "std", "shares", "importance")  # long rows of numbers, which pictures show


def _without(result: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The same without some keys, in whatever depth."""
    return {k: _without(v, *keys) if isinstance(v, dict) else v for k, v in result.items() if k not in keys}
