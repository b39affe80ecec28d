"""taut compare: a plain autoencoder and a VAE on the same data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from taut.commands.shared import Parser, experiment_of, training_arguments, what

__all__ = ["arguments", "run"]


def arguments(parser: Parser) -> None:
    parser.description = (
        "A plain autoencoder and a VAE with the same networks: what each rebuilds, and what lies between."
    )
    training_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from taut.comparison import compare
    from taut.console import Watch, comparison_lines, console
    from taut.data import open_data
    from taut.experiment import resolve
    from taut.folders import claimed, new_folder, refuse_foreign
    from taut.report.compare import publish_comparison

    out = console()
    experiment = experiment_of(args)
    data = open_data(experiment.data)
    experiment = resolve(experiment, data)
    folder = Path(args.out) if args.out else new_folder(f"{data.reading.name}-compare")
    if folder.exists():
        refuse_foreign(folder, args.force)
    watches: dict[str, Watch] = {}

    def listen(name: str, event: Any) -> None:
        if name not in watches:
            close()
            if not args.quiet:
                out.print(f"training the {name}", style="dim")
            watches[name] = Watch(out, args.quiet, exact=experiment.model.exactness == "exact")
        watches[name](event)

    def close() -> None:
        for watch in watches.values():
            watch.close()

    if not args.quiet:
        for line in what(experiment, data):
            out.print(line)
    with claimed(folder, args.force):
        try:
            comparison = compare(experiment, data, listen=listen)
        finally:
            close()
        report = publish_comparison(comparison, data, folder)
    for line in comparison_lines(comparison):
        out.print(line)
    out.print(f"report  {report}", soft_wrap=True)
    return 0
