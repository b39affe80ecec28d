"""taut score: anomalies."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, condition, output, run_arguments, say

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "How odd each example is under the model, as `score`: of a table's rows −log of the model's density, blurred by two\n"
        "deviations in each column; of all else −ELBO. Beside it stand the ELBO in nats, a lower bound of log p(x), the rate,\n"
        "and of a table the columns to blame, with the nats that each costs more than in a row that is drawn. A cell that\n"
        "the model holds impossible, such as a category that it never saw, adds 103 nats; a row of which nothing is known has\n"
        "no score."
    )
    run_arguments(parser)
    parser.add_argument("data", metavar="DATA", help="data, read as the run's were")
    parser.add_argument("--samples", type=int, default=32, metavar="K", help="draws of z for each row [32]")
    condition(parser, "what the model is conditioned on, in place of what the data say")
    output(parser, ".csv, .parquet or .npz", required=True)


def run(args: argparse.Namespace) -> int:
    from taut.console import Progress
    from taut.outputs import write_scores
    from taut.runs import load

    return say(write_scores(load(args.run, args.trust), args, Progress("scoring", args.quiet)), args)
