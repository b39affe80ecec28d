"""taut sample: new data."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, condition, numbers, output, run_arguments, say

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "New data: z ~ p(z), x ~ p(x|z). Pictures show E[x|z], files of numbers hold draws of x,\n"
        "and so do pictures where p(x|z) is autoregressive and has no mean to show."
    )
    run_arguments(parser)
    parser.set_defaults(seed=None)
    parser.add_argument("-n", type=int, default=64, metavar="N", help="how many [64]")
    parser.add_argument(
        "--temperature",
        type=numbers,
        default=[1.0],
        metavar="T",
        help="of the prior; below 1 likelier, less varied [1]; or one for each layer, as in 0.7,0.8,1",
    )
    parser.add_argument("--keep", type=int, default=0, metavar="K",
                        help="draw the K top layers once, for all, and what is below anew [0]")  # fmt: skip
    condition(parser, "what the model is conditioned on, or data, as the data are")
    parser.add_argument("--mean", action="store_true", help="write E[x|z] into files of numbers too")
    parser.add_argument("--draw", action="store_true", help="show draws of x in pictures too")
    output(
        parser,
        "a picture (.png) or numbers (.npy, .npz, .csv, .parquet), of sounds a folder or .wav; a picture in RUN otherwise",
    )


def run(args: argparse.Namespace) -> int:
    from taut.outputs import write_samples
    from taut.runs import load

    return say(write_samples(load(args.run, args.trust), args), args)
