"""taut tune: search for options by the bound on validation data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from taut.commands.shared import Parser, resumed, settings_of, stop, training_arguments, what
from taut.machine import flushed

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "Search for options by the ELBO on validation data; trials that lag are cut short, and the best is trained again and\n"
        "measured on the test split. Ranges that span a factor of ten are searched by their logarithm:\n\n"
        "  taut tune digits --over model.latents=2..64 --over training.optimiser.lr=1e-4..1e-2\n"
        "  taut tune digits --over model.prior=StandardNormal,Vamp,Mixture --trials 9\n\n"
        "Several processes may work on one search: start more with --resume DIR."
    )
    training_arguments(parser)
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="OPTION=LOW..HIGH",
        help="what to search: a range of a number, or choices with commas between; may be repeated",
    )
    parser.add_argument("--trials", type=trials, default=20, metavar="N", help="how many, in all [20]")
    parser.add_argument("--resume", metavar="DIR", help="go on with a stopped search, or make more trials of it")


def trials(text: str) -> int:
    """How many trials, of text."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"is {text}; give 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    with flushed():
        return _tune(args)


def _tune(args: argparse.Namespace) -> int:
    from taut.api import overridden
    from taut.config import parse
    from taut.console import console, number, result_lines
    from taut.experiment import Experiment, require_effect, resolve
    from taut.folders import new_folder, refuse_foreign
    from taut.training import Stopped
    from taut.tune import axes_of, begin, reopen, search, size_of

    out, trust = console(), tuple(args.trust)
    if args.resume:
        folder = resumed(args, "taut tune", "search", ("device", "devices", "nodes", "strategy", "over"), "--trials")
        tree, data, axes = reopen(folder, trust)
    else:
        tree, given = settings_of(args)
        tree = overridden(tree, given)
        axes = axes_of(tree, args.over, trust)
        require_effect(parse(Experiment, tree, trust=trust), (*given, *(axis.name for axis in axes)))
        if args.out and Path(args.out).exists():
            refuse_foreign(Path(args.out), args.force)
        tree, data = begin(tree, axes, trust)
        folder = Path(args.out) if args.out else new_folder(f"{data.reading.name}-tune")
    if not args.quiet:
        first = overridden(tree, {axis.name: axis.ends[0] for axis in axes})
        for line in what(resolve(parse(Experiment, first, trust=trust), data), data):
            out.print(line)
        few = f"{args.trials} trials" if args.trials < size_of(axes) else f"all {size_of(axes):g} points"
        out.print(f"search: {'; '.join(map(str, axes))}: {few}, by the ELBO on validation data")

    def tell(trial: dict[str, Any]) -> None:
        if not args.quiet:
            ends = {
                "complete": f"ELBO {number(trial['elbo'])}",
                "pruned": "cut short",
                "fail": f"failed: {trial['failure']}",
            }
            out.print(
                f"trial {trial['number']:>3}  {_values(trial)}  {ends[trial['state']]}  {trial['seconds']:g} s",
                soft_wrap=True,
            )

    try:
        record, best = search(tree, data, axes, folder, args.trials, args.force, bool(args.resume), trust, tell)
    except (Stopped, KeyboardInterrupt) as stopped:
        if not folder.exists():
            return stop("stopped before anything was worth keeping", stopped)
        flags = "".join(f" --trust {module}" for module in trust)
        go_on = f"taut tune --resume {folder} --trials {args.trials}{flags}"
        return stop(f"stopped; all trials that ended are kept. Go on with: {go_on}", stopped)
    whole = [trial for trial in record["trials"] if trial["state"] == "complete"]
    if not args.quiet:
        out.print(
            f"\nbest of {len(record['trials'])} trials, {len(whole)} of them whole; ELBO on validation data, nats"
            + "; every point that there is was tried" * (len(record["trials"]) == record["size"]),
            style="dim",
        )
    for trial in whole[:5]:
        out.print(f"{number(trial['elbo']):>10}  {_values(trial)}")
    if not args.quiet:
        out.print(f"\nthe best, trained again; test split, {best.summary['n']:,} examples", style="dim")
    for line in result_lines(best.summary):
        out.print(line)
    out.print(f"\nsearch  {folder}\nrun     {folder / 'best'}", soft_wrap=True)
    return 0


def _values(trial: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial["values"].items()
    )
