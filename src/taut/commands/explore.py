"""taut explore: a local page on any run."""

from __future__ import annotations

import argparse
import contextlib

from taut.commands.shared import Parser, common

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "A page on runs, finished or being trained: the map of codes, every latent, ways between examples, samples, one\n"
        "example, the training, the bounds, and what the ELBO does. This machine serves it to itself; nothing leaves it.\n"
        "Runs are found below the folders that are given, or below ./runs. Ctrl-C ends it."
    )
    parser.add_argument("runs", metavar="RUN", nargs="*", help="runs, sweeps, or folders of them [runs]")
    common(parser)
    parser.add_argument("--port", type=port, metavar="N", help="at which port [the first free one from 8421]")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                        help="listen here instead of 127.0.0.1: others who know the whole address see the page")  # fmt: skip
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")


def port(text: str) -> int:
    """A port, of text."""
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"is {text}; give 1 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    from taut.page.server import Office, require, serve

    require()
    from taut.page.catalogue import Catalogue

    catalogue = Catalogue(args.runs or ["runs"])

    def ready(address: str) -> None:
        if args.quiet:
            print(address, flush=True)
        else:
            count = len(catalogue.entries())
            print(f"{count:,} run{'s'[: count != 1]} at {address}", "Ctrl-C ends it", sep="\n", flush=True)
        if not args.no_browser:
            import webbrowser

            webbrowser.open(address)

    with contextlib.suppress(KeyboardInterrupt):
        serve(Office(catalogue, args.trust, args.data_root), args.host, args.port, ready)
    if not args.quiet:
        print("\nended")
    return 0
