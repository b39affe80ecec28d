"""taut train: a model, its evaluation and its report."""

from __future__ import annotations

import argparse
from pathlib import Path

from taut.commands.shared import (
    Parser,
    elsewhere,
    experiment_of,
    fail,
    resumed,
    stop,
    training_arguments,
    what,
)
from taut.errors import Mishap
from taut.machine import flushed

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "Train a model, evaluate it on the test split, and write a run folder with a report.\n\n"
        "Ctrl-C, SIGTERM (as clusters send some seconds before they kill) and a terminal that hangs up save the run and end\n"
        "with status 130, 143 or 129; so does --training.checkpoint every so many minutes. taut train --resume RUN goes on to\n"
        "the same bits, after a kill too, and says so where nothing is left to do."
    )
    training_arguments(parser)
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a stopped run; nothing else need be given (but --device, --devices, --nodes, --strategy, --compile)",
    )
    parser.add_argument("--tracker", action="append", default=[], metavar="NAME",
                        help="tell numbers to tensorboard, mlflow, wandb or trackio too; may be repeated")  # fmt: skip
    parser.add_argument("--profile", action="store_true",
                        help="say where the time of a step goes, and write a trace of a few into RUN/profile")  # fmt: skip
    parser.add_argument("--print_config", action="store_true", help="print the resolved configuration and stop")


def run(args: argparse.Namespace) -> int:
    with flushed():
        return _train(args)


def _train(args: argparse.Namespace) -> int:
    from taut.advice import Advice
    from taut.api import carry_out, finished, reopen
    from taut.config import to_tree, write_yaml
    from taut.console import Watch, console, profile_lines, result_lines
    from taut.data import open_data
    from taut.experiment import resolve
    from taut.folders import new_folder, refuse_foreign
    from taut.runs import PROFILE
    from taut.tracking import tracking
    from taut.training import STRETCHES, Profile, Stopped, leads

    out = console()
    quiet = args.quiet or not leads()
    if args.resume:
        beside = "--device, --devices, --nodes, --strategy, --compile, --tracker and --profile"
        longer = (
            f"; to train on from where it ended: taut train --config {Path(args.resume) / 'config.yaml'} --training.start.run "
            f"{args.resume} --training.steps N"
        )
        folder = resumed(args, "taut train", "run", (), beside, longer)
        if finished(folder):
            out.print(f"{folder} is finished: there is nothing to resume")
            return 0
        experiment, data = reopen(folder, tuple(args.trust), args.data_root)
        experiment = elsewhere(experiment, args)
    else:
        experiment, folder = experiment_of(args), None
        data = open_data(experiment.data)
        if leads() and args.out and Path(args.out).exists() and not args.print_config:
            refuse_foreign(Path(args.out), args.force)
        experiment = resolve(experiment, data)
    if args.print_config:
        print(write_yaml(to_tree(experiment)), end="")
        return 0
    folder = folder or (Path(args.out) if args.out else new_folder(data.reading.name))
    if not quiet:
        for line in what(experiment, data):
            out.print(line)
    watch = Watch(out, quiet, Advice(experiment), experiment.model.exactness == "exact")
    profile = Profile(folder / PROFILE) if args.profile and leads() else None
    stages = {"compiling": "making one graph of a step; this may take a minute …",
              "evaluating": "evaluating on the test split …", "reporting": "drawing the report …"}  # fmt: skip

    def stage(name: str) -> None:
        if name in stages:
            watch.close()
            if not quiet:
                out.print(stages[name], style="dim")

    try:
        with tracking(args.tracker if leads() else [], experiment, data.reading.name, folder) as tracked:
            trained = carry_out(experiment, data, folder, args.force, bool(args.resume),
                                lambda event: (watch(event), tracked(event)), stage, profile)  # fmt: skip
            if leads():
                tracked.finished(trained.summary)
    except (Stopped, KeyboardInterrupt, Mishap) as stopped:
        watch.close()
        saved = (folder / "checkpoint.safetensors").exists()
        go_on = f"taut train --resume {folder}" + "".join(f" --trust {module}" for module in args.trust)
        if isinstance(stopped, Mishap):
            return fail(f"{stopped}; then: {go_on}" if saved else str(stopped))
        if not saved:
            return stop("stopped before anything was worth keeping", stopped)
        at = f" at {stopped}" if str(stopped) else ""
        return stop(f"stopped{at}; everything is saved. Go on with: {go_on}", stopped)
    finally:
        watch.close()
    if not leads():
        return 0
    if not quiet:
        out.print()
        out.print(f"test split, {trained.summary['n']:,} examples", style="dim")
    for line in result_lines(trained.summary):
        out.print(line)
    if profile is not None and profile.found:
        out.print()
        for line in profile_lines(profile.found, STRETCHES):
            out.print(line)
        out.print(f"trace of {profile.found['steps']['traced']} steps: {profile.folder / 'trace.json'}", soft_wrap=True)
    out.print(f"\nrun     {folder}\nreport  {folder / 'report.html'}", soft_wrap=True)
    return 0
