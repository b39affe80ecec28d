"""taut encode: codes of data."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, condition, output, run_arguments, say

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "The posterior means of data, or what stands for them where z cannot be a mean, a row an example, with labels where "
        "there are any."
    )
    run_arguments(parser)
    parser.add_argument("data", metavar="DATA", help="data, read as the run's were")
    parser.add_argument("--draw", action="store_true", help="draw from the posterior instead of taking its mean")
    condition(parser, "what the model is conditioned on, in place of what the data say")
    output(parser, ".npy, .npz, .csv or .parquet; of .h5ad data also .h5ad, with the codes in obsm", required=True)


def run(args: argparse.Namespace) -> int:
    from taut.outputs import write_codes
    from taut.runs import load

    return say(write_codes(load(args.run, args.trust), args), args)
