"""taut share: a run as a folder to pass on."""

from __future__ import annotations

import argparse

from taut.commands.shared import Parser, common
from taut.errors import InputError

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "Write a run as a folder to pass on: weights (safetensors), configuration, numbers and a model card that says what\n"
        "each number bounds; or put it on a model hub. `taut.from_pretrained` reads either, and every command reads the folder."
    )
    parser.add_argument("run", metavar="RUN", help="a run folder that `taut train` made")
    common(parser)
    parser.add_argument("-o", "--output", metavar="FOLDER", help="the folder to write")
    parser.add_argument("--push", metavar="OWNER/NAME", help="put it on the hub under this name")
    parser.add_argument("--private", action="store_true", help="for --push: let nobody else see it")
    parser.add_argument("--licence", metavar="NAME", help="of the weights, for the card, such as apache-2.0")


def run(args: argparse.Namespace) -> int:
    from taut.runs import load
    from taut.sharing import push_to_hub, save_pretrained

    if not (args.output or args.push):
        raise InputError("taut share", "has nowhere to go", "say -o FOLDER, or --push OWNER/NAME")
    trained = load(args.run, args.trust)
    if args.output:
        folder = save_pretrained(trained, args.output, args.force, args.licence)
        print(folder if args.quiet else f"{folder}: weights, configuration and {folder / 'README.md'}")
    if args.push:
        print(push_to_hub(trained, args.push, args.private, args.licence))
    return 0
