"""taut compress: data in as few bits as the model can say them in."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, output, run_arguments

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "Data in about as many bits as the model's bound says, -ELBO, by bits-back coding: `taut decompress` gives every byte\n"
        "back. Grey values that training binarises anew each time are binarised once, by the seed, and come back binary.\n"
        "The file is decoded by the same weights, the same version of torch and the same kind of processor."
    )
    run_arguments(parser)
    parser.add_argument("data", metavar="DATA", nargs="?",
                        help="data, read as the run's were; of a set, its test part [the run's test split]")  # fmt: skip
    output(parser, "the compressed file", required=True)
    parser.add_argument("--json", action="store_true", help=(
        "print one JSON object: images; bytes, of the whole file; bits_per_dim, its bits for each element of x;\n"
        "elbo_bits_per_dim, what the bound says of the same examples; ratio, how many times larger they are with each\n"
        "value in as many whole bits as its levels need (binary 1, bytes 8); initial_bits, which the first examples borrow\n"
        "and the file holds"))  # fmt: skip


def run(args: argparse.Namespace) -> int:
    import json

    from taut.console import Progress, console, number
    from taut.outputs import write_compressed
    from taut.runs import load

    path, archive = write_compressed(load(args.run, args.trust), args, Progress("compressing", args.quiet))
    found = archive.summary()
    if args.json:
        print(json.dumps(found))
        return 0
    if args.quiet:
        print(path)
        return 0
    console().print(
        f"{path}: {found['images']:,} examples in {found['bytes']:,} bytes, {number(found['ratio'])} times smaller; "
        f"{number(found['bits_per_dim'], 4)} bits/dim, −ELBO {number(found['elbo_bits_per_dim'], 4)}; "
        f"{found['initial_bits']:,} bits borrowed to begin with"
    )
    return 0
