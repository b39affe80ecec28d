"""taut reconstruct: data through the code and back."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, condition, output, run_arguments, say

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "E[x|z], or where p(x|z) is autoregressive a draw, at the posterior mean: of the test split, or of other data."
    )
    run_arguments(parser)
    parser.add_argument("data", metavar="DATA", nargs="?", help="other data, read as the run's were")
    parser.add_argument("--layers", type=int, metavar="K",
                        help="tell only the K top layers of x; those below are at the centre of what they expect")  # fmt: skip
    parser.add_argument("--progressive", action="store_true",
                        help="a picture of images as each layer in turn is told of them")  # fmt: skip
    condition(parser, "what the model is conditioned on, in place of what the data say")
    output(
        parser,
        "a picture (.png) or numbers (.npy, .npz, .csv, .parquet), of sounds a folder or .wav; a picture in RUN otherwise",
    )


def run(args: argparse.Namespace) -> int:
    from taut.outputs import write_reconstructions
    from taut.runs import load

    return say(write_reconstructions(load(args.run, args.trust), args), args)
