"""taut interpolate: the way between two examples."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, condition, output, run_arguments, say

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = "The decodings along the way between the codes of two test examples, or of several pairs."
    run_arguments(parser)
    parser.add_argument("pair", metavar="I J", nargs="*", type=int, help="rows of the test split, counted from 0")
    parser.add_argument("--steps", type=int, default=10, help="how many, the ends counted in [10]")
    parser.add_argument("--path", choices=("linear", "spherical"), default="linear", help="through the latent space")
    condition(parser, "what the model is conditioned on along the way, in place of the first example's")
    output(parser, "a picture (.png) or numbers (.npy, .npz, .csv, .parquet); a picture in RUN otherwise")


def run(args: argparse.Namespace) -> int:
    from taut.outputs import write_interpolation
    from taut.runs import load

    return say(write_interpolation(load(args.run, args.trust), args), args)
