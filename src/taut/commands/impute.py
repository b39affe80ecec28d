"""taut impute: the missing cells of a table."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, condition, output, run_arguments, say

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "The missing cells of a table, filled by what the model expects of them given the cells that are known: draws of z\n"
        "are weighed by p(x,z)/q(z|x), so that the answer does not rest on q. Beside each column NAME that had missing cells\n"
        "stands NAME.spread: the standard deviation of what it may be, or of categories the chance that it is another."
    )
    run_arguments(parser)
    parser.add_argument("data", metavar="DATA", help="a table, read as the run's was")
    parser.add_argument("--samples", type=int, default=100, metavar="K", help="draws of z for each row [100]")
    parser.add_argument(
        "--draw", action="store_true", help="fill with one draw instead of the mean: for multiple imputation"
    )
    condition(parser, "what the model is conditioned on, in place of what the data say")
    output(parser, ".csv or .parquet", required=True)


def run(args: argparse.Namespace) -> int:
    from taut.console import Progress
    from taut.outputs import write_imputed
    from taut.runs import load

    return say(write_imputed(load(args.run, args.trust), args, Progress("filling", args.quiet)), args)
