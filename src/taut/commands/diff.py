"""taut diff: two runs compared on the same examples."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, common, output, seed

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "The difference of two runs in a bound of log p(x), paired on the same test examples, with its standard error.\n"
        "Without --samples, of the tightest bound that `taut evaluate` or the training has kept of each. Unlike data,\n"
        "support, binarisation, bound or k are refused; an exact log p(x) is held against any bound."
    )
    parser.add_argument("first", metavar="RUN1", help="a run folder")
    parser.add_argument("second", metavar="RUN2", help="another, of the same data")
    common(parser)
    parser.add_argument(
        "--samples",
        type=int,
        metavar="K",
        help="measure IW-K for both (1: the ELBO); the ELBO of K draws where a density is noisy",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="on N random test examples [1000]; with --samples")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of all draws")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    output(parser, "a picture (.png) of the differences")


def run(args: argparse.Namespace) -> int:
    import json

    from taut.console import Progress, console, difference_lines
    from taut.diff import difference
    from taut.files import PICTURES, check_target
    from taut.runs import finite, load

    path = None if args.output is None else check_target(args.output, PICTURES, args.force)
    first, second = (load(folder, args.trust) for folder in (args.first, args.second))
    progress = Progress("measuring", args.quiet)
    found, examples = difference(first, second, args.samples, args.limit, args.seed, args.data_root, progress)
    if path is not None:
        from taut.report.pairs import draw_difference

        draw_difference(found, examples, first, (args.first, args.second), path)
    if args.json:
        print(json.dumps(finite(found.to_dict()), ensure_ascii=False))
        return 0
    out = console()
    for line in difference_lines(found, (args.first, args.second)):
        out.print(line)
    if path is not None:
        out.print(f"\npicture  {path}", soft_wrap=True)
    return 0
