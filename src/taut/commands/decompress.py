"""taut decompress: what `taut compress` compressed."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, output, run_arguments, say

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "What `taut compress` compressed, every byte as it was. A damaged file, one of another model, and one that decodes to\n"
        "anything else than was compressed are refused, and nothing is written."
    )
    run_arguments(parser)
    parser.add_argument("file", metavar="FILE", help="made by `taut compress` with the same run")
    output(parser, ".npy, .npz, .csv or .parquet", required=True)


def run(args: argparse.Namespace) -> int:
    from taut.console import Progress
    from taut.outputs import write_decompressed
    from taut.runs import load

    return say(write_decompressed(load(args.run, args.trust), args, Progress("decompressing", args.quiet)), args)
