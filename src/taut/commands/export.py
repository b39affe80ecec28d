"""taut export: encoder and decoder for where there is no taut."""

from __future__ import annotations

import argparse
from pathlib import Path

from taut.commands.shared import Parser, common
from taut.errors import InputError

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "Write encoder (x → mean and scale of q(z|x)) and decoder (z → E[x|z]) as graphs that take any number of examples,\n"
        "each held against the model on the way out, NaN a missing cell of a table; or, with --web, a page that decodes in\n"
        "a browser, without a network."
    )
    parser.add_argument("run", metavar="RUN", help="a run folder that `taut train` made")
    common(parser)
    parser.add_argument("--format", default="onnx", metavar="NAME", help="onnx, or torch-export [onnx]")
    parser.add_argument("--only", metavar="PART", help="encoder or decoder; both otherwise")
    parser.add_argument("--web", action="store_true", help="write a page that decodes in a browser instead")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", help="where to write; RUN/export otherwise, RUN/web with --web"
    )


def run(args: argparse.Namespace) -> int:
    from taut.export import FORMATS, PARTS, export, export_page
    from taut.runs import load

    if args.format not in FORMATS:
        raise InputError("--format", f"is {args.format!r}", f"say {' or '.join(FORMATS)}")
    if args.only is not None and args.only not in PARTS:
        raise InputError("--only", f"is {args.only!r}", f"say {' or '.join(PARTS)}")
    trained = load(args.run, args.trust)
    folder = Path(args.output or Path(args.run) / ("web" if args.web else "export"))
    if args.web:
        page = export_page(trained, folder, args.force)
        print(page["file"] if args.quiet else
              f"{page['file']}: a page that decodes, {page['bytes'] / 2**20:.1f} MB; open it in a browser")  # fmt: skip
        return 0
    record = export(trained, folder, args.format, (args.only,) if args.only else PARTS, args.force)
    for part in PARTS:
        if part in record:
            said = record[part]
            words = f"{said['bytes'] / 2**20:.1f} MB, differs from the model by at most {said['difference']:.1g}"
            print(folder / said["file"] if args.quiet else f"{folder / said['file']}: {words} of {said['largest']:.3g}")
    return 0
