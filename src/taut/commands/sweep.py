"""taut sweep: the same model at several values of an option."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from taut.commands.shared import Parser, fail, resumed, settings_of, stop, training_arguments, what
from taut.errors import Mishap
from taut.machine import flushed

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "Train a model at each of several values of one or two options, and set them side by side: a table, and where they lie "
        "between\nrate and distortion, with the bound of the data's entropy. Any option that is a number can be swept:\n\n"
        "  taut sweep digits --objective.beta 0.1,0.3,1,3,10\n"
        "  taut sweep digits --model.latents 2,4,8,16 --objective.beta 0.5,1,2\n\n"
        "A list for an option that takes lists, such as --model.network.hidden 200,200, is its one value."
    )
    training_arguments(parser)
    parser.add_argument("--warm", action="store_true",
                        help="start each point from the weights of the one before, in the order given, and train it a quarter\n"
                             "of the steps, with its β from the first on")  # fmt: skip
    parser.add_argument("--jobs", type=jobs, metavar="N",
                        help="points at once, each with its share of the cores [one for two cores; 1 with a GPU]")  # fmt: skip
    parser.add_argument("--resume", metavar="DIR", help="go on with a stopped sweep; nothing else need be given")


def jobs(text: str) -> int:
    """How many points at once, of text."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"is {text}; give 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    with flushed():
        return _sweep(args)


def _sweep(args: argparse.Namespace) -> int:
    from taut.console import Board, console, sweep_lines
    from taut.experiment import require_effect
    from taut.folders import new_folder, refuse_foreign
    from taut.sweep import default_jobs, lay_out, reopen, split, sweep
    from taut.training import Stopped

    out, trust = console(), tuple(args.trust)
    if args.resume:
        folder = resumed(args, "taut sweep", "sweep", ("device", "devices", "nodes", "strategy", "warm"), "--jobs")
        plan, count = reopen(folder, trust)
        count = args.jobs or count
    else:
        tree, given = settings_of(args)
        tree, swept = split(tree, given, trust)
        if args.out and Path(args.out).exists():
            refuse_foreign(Path(args.out), args.force)
        plan = lay_out(tree, swept, args.warm, trust)
        require_effect(plan.points[0].experiment, given)
        count = args.jobs or default_jobs(plan)
        folder = Path(args.out) if args.out else new_folder(f"{plan.data.reading.name}-sweep")
    if not args.quiet:
        for line in [*what(plan.points[0].experiment, plan.data), _in_words(plan, count)]:
            out.print(line)
    board = Board(out, [point.name for point in plan.points], args.quiet)
    try:
        record = sweep(plan, folder, count, args.force, bool(args.resume), trust, board)
    except (Stopped, KeyboardInterrupt, Mishap) as stopped:
        board.close()
        flags = "".join(f" --trust {module}" for module in trust)
        go_on = f"taut sweep --resume {folder}{flags}"
        if isinstance(stopped, Mishap):
            return fail(f"{stopped}; then: {go_on}" if folder.exists() else str(stopped))
        if not folder.exists():
            return stop("stopped before anything was worth keeping", stopped)
        return stop(f"stopped; everything is saved. Go on with: {go_on}", stopped)
    finally:
        board.close()
    if not args.quiet:
        out.print()
        out.print("test split, nats", style="dim")
    for line in sweep_lines(record):
        out.print(line)
    out.print(f"\nsweep   {folder}\nreport  {folder / 'report.html'}", soft_wrap=True)
    failures = [point for point in record["points"] if point["failure"]]
    if failures:
        first = failures[0]
        return fail(f"{len(failures)} of {len(plan.points)} points failed: {first['folder']}: {first['failure']}")
    return 0


def _in_words(plan: Any, count: int) -> str:
    """What is swept, and how it is gone about."""
    values = " × ".join(f"{name} at {', '.join(f'{v:g}' for v in values)}" for name, values in plan.options.items())
    at_once = min(count, plan.chains)
    each = "one at a time" if at_once == 1 else f"{at_once} at a time"
    start = ", each but the first of a line from the weights of the one before" if plan.warm else ""
    return f"sweep: {values}: {len(plan.points)} points, {each} (--jobs){start}"
