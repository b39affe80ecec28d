"""taut traverse: what each latent does."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, condition, output, run_arguments, say

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "What each latent does: one at a time is moved from −3 to 3, those of most KL first; where z is a direction or a "
        "choice, from −1 to 1 and to the nearest value that z can take."
    )
    run_arguments(parser)
    where = "start from this row of the test split [z = 0, or row 0 where z cannot be 0]"
    parser.add_argument("--example", type=int, metavar="I", help=where)
    parser.add_argument("--dimensions", type=int, default=10, metavar="N", help="how many latents [10]")
    parser.add_argument("--steps", type=int, default=11, help="values of each [11]")
    condition(parser, "what the model is conditioned on, in place of the example's")
    output(parser, "a picture (.png) or numbers (.npy, .npz, .csv, .parquet); a picture in RUN otherwise")


def run(args: argparse.Namespace) -> int:
    from taut.outputs import write_traversal
    from taut.runs import load

    return say(write_traversal(load(args.run, args.trust), args), args)
