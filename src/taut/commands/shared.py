"""What several commands share: arguments, how a configuration is put together, what is said of it."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from taut.errors import InputError, nearest

__all__ = ["SECTIONS", "Parser", "common", "condition", "elsewhere", "experiment_of", "fail", "output", "resumed",
           "run_arguments", "say", "seed", "settings_of", "stop", "training_arguments", "what"]  # fmt: skip


SECTIONS = ("data", "model", "objective", "training", "seed")


class Parser(argparse.ArgumentParser):
    """The arguments of one command; where it is ``overridable`` it takes every option of the configuration too."""

    overridable = False
    epilog: str | None

    def error(self, message: str) -> NoReturn:
        raise InputError(self.prog, message, f"see {self.prog} --help")

    def read(self, argv: list[str]) -> argparse.Namespace:
        """The arguments, options of the configuration under ``overrides``.

        Raises:
            InputError: for what is unknown or has no value.
        """
        if self.overridable and any(flag in argv for flag in ("-h", "--help")):
            self.epilog = _options_help()
        overrides, others = self._overrides(argv)  # first: what reads positionals would take their values for some
        known, rest = self.parse_known_intermixed_args(others)
        for name in (item.partition("=")[0] for item in rest):
            if not name.startswith("--"):
                raise InputError(self.prog, f"{name!r} is one argument too many", f"see {self.prog} --help")
            choices = {*self._names(), *(f"--{s}" for s in SECTIONS if self.overridable)}
            raise InputError(name, "no such option", nearest(name, choices))
        known.overrides = overrides
        return known

    def _overrides(self, argv: list[str]) -> tuple[dict[str, str], list[str]]:
        """Options of the configuration, ``--model.prior Vamp`` or ``--model.prior=Vamp``, and all that is none."""
        found: dict[str, str] = {}
        others: list[str] = []
        own, items = self._names(), iter(argv)
        for item in items:
            name, equals, value = item.partition("=")
            section = name[2:].split(".")[0]
            if not (self.overridable and name.startswith("--") and section in SECTIONS and name not in own):
                others.append(item)
                continue
            name = name[2:]
            if not equals:
                value = next(items, None)
                if value is None or (value.startswith("--") and len(value) > 2):
                    raise InputError(f"--{name}", "has no value", f"say --{name} VALUE")
            found[name] = value
        return found, others

    def _names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]


def _options_help() -> str:
    from taut.config import options
    from taut.experiment import Experiment
    from taut.parts import describe_parts

    lines = ["options of the configuration, by their dotted names (recipes and --config hold the same as YAML):", ""]
    for option in options(Experiment):
        shown = type(option.default).__name__ if not isinstance(option.default, _PLAIN) else option.default
        shown = "" if shown is None or "MISSING" in str(shown) else f" [{shown}]"
        lines.append(f"  --{option.name} ({option.kind}){shown}")
        if option.help:
            lines.append(f"      {option.help}")
    return "\n".join([*lines, "", *describe_parts()])


_PLAIN = (int, float, str, bool, tuple, type(None))


def common(parser: Parser, overridable: bool = False) -> None:
    """What every command takes."""
    parser.overridable = overridable
    parser.add_argument("--data-root", metavar="DIR", help="folder with the named data sets (else TAUT_DATA)")
    parser.add_argument("--trust", action="append", default=[], metavar="MODULE",
                        help="module outside the package whose parts may be used; naming it runs its code")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="print only results and errors")
    parser.add_argument("--force", action="store_true", help="overwrite what exists")


def run_arguments(parser: Parser) -> None:
    """What every command on a run takes."""
    parser.add_argument("run", metavar="RUN", help="a run folder that `taut train` made")
    common(parser)
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of all draws")


def resumed(
    args: argparse.Namespace, command: str, thing: str, decide: tuple[str, ...], beside: str, longer: str = ""
) -> Path:
    """The folder to go on with; nothing else decides what is done there, so nothing else may be said.

    Args:
        args: of the command.
        command: its name.
        thing: what is gone on with, in words.
        decide: arguments of this command that would decide something, beside those that all have.
        beside: options that may be given, in words.
        longer: what to do instead where more is wanted than was planned, in words.

    Raises:
        InputError: where more is given.
    """
    common = ("data", "recipe", "config", "overrides", "epochs", "minutes", "seed", "precision", "out")
    if any(getattr(args, name) for name in (*common, *decide)):
        why = f"goes on with the {thing} as it was, so it takes no DATA and no options but {beside}"
        raise InputError("--resume", why, f"say {command} --resume {args.resume}{longer}")
    return Path(args.resume)


def elsewhere(experiment: Any, args: argparse.Namespace) -> Any:
    """An experiment that is gone on with on another device, or on another number of them."""
    from dataclasses import replace

    from taut.config import parse
    from taut.training import Training

    names = ("device", "devices", "nodes", "strategy", "compile")
    said = {name: getattr(args, name) for name in names if getattr(args, name)}
    where = parse(Training, said)
    training = replace(experiment.training, **{name: getattr(where, name) for name in said})
    training.require_device()
    training.require_company()
    return replace(experiment, training=training)


def seed(text: str) -> int:
    """A seed, of text."""
    if not (text.isdecimal() and int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"is {text}; give 0 to {2**31 - 1}")
    return int(text)


def numbers(text: str) -> list[float]:
    """Numbers with commas between, of text."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"is {text}; give a number, or some with commas between") from None


def output(parser: Parser, what: str, required: bool = False) -> None:
    """Where to write."""
    parser.add_argument("-o", "--output", metavar="FILE", required=required, help=what)


def condition(parser: Parser, what: str) -> None:
    """What a model with a condition is told; ``what`` says of which examples."""
    parser.add_argument("--condition", metavar="VALUE", help=f"{what}: VALUE, or NAME=VALUE,NAME=VALUE")


def training_arguments(parser: Parser) -> None:
    """What every command that trains takes."""
    parser.add_argument("data", metavar="DATA", nargs="?", help="a file, a folder of images, or a set by name")
    common(parser, overridable=True)
    parser.add_argument("--recipe", metavar="NAME", help="start from a published model (taut recipes)")
    parser.add_argument("--config", metavar="FILE", help="a YAML file of options, over the recipe's")
    parser.add_argument("--seed", metavar="N", help="of weights, order and all draws [0]")
    parser.add_argument("--epochs", metavar="N", help="passes over the training data")
    parser.add_argument("--minutes", metavar="N", help="train for about so long (the pace is measured, then frozen)")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or mps")
    parser.add_argument("--devices", metavar="N", help="train on so many of them together, a process each [1]")
    parser.add_argument("--nodes", metavar="M", help="machines that do so; torchrun or SLURM starts them [1]")
    parser.add_argument(
        "--strategy", metavar="NAME", help="ddp, or fsdp: each process keeps a shard of the weights [ddp]"
    )
    parser.add_argument("--precision", metavar="NAME", help="32-true, bf16-mixed, 16-mixed or 64-true")
    parser.add_argument("--compile", metavar="WHETHER", help="auto, on or off: a step made by torch's compiler [auto]")
    parser.add_argument("--out", metavar="DIR", help="the run folder; a fresh numbered one under runs/ otherwise")


def experiment_of(args: argparse.Namespace) -> Any:
    """Recipe, then file, then flags, then dotted options: what comes later wins."""
    from taut.api import overridden
    from taut.config import parse
    from taut.experiment import Experiment, require_effect

    tree, given = settings_of(args)
    experiment = parse(Experiment, overridden(tree, given), trust=args.trust)
    require_effect(experiment, given)
    return experiment


def settings_of(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """A configuration of recipe, file and data, and the options that were given to be laid upon it."""
    from taut.api import overridden
    from taut.config import merge, read_yaml
    from taut.recipes import read_recipe

    tree: dict[str, Any] = {}
    if args.recipe:
        tree = read_recipe(args.recipe).tree
    if args.config:
        tree = merge(tree, read_yaml(args.config))
    flags = {
        "seed": args.seed, "training.epochs": args.epochs, "training.minutes": args.minutes,
        "training.device": args.device, "training.precision": args.precision,
        "training.devices": args.devices, "training.nodes": args.nodes, "training.strategy": args.strategy,
        "training.compile": args.compile,
    }  # fmt: skip
    given = {name: value for name, value in flags.items() if value is not None} | args.overrides
    lengths = ("training.epochs", "training.minutes", "training.steps")
    if any(name in given for name in lengths) and isinstance(tree.get("training"), dict):
        # a length on the command line replaces the recipe's, whatever unit that is in
        tree["training"] = {k: v for k, v in tree["training"].items() if f"training.{k}" not in lengths}
    where = {"data.source": given.pop("data.source", args.data), "data.root": args.data_root}
    tree = overridden(tree, {name: value for name, value in where.items() if value is not None})
    if not (tree.get("data") or {}).get("source"):
        raise InputError("DATA", "is not given", "name a file, a folder of images, or a set, such as digits")
    return tree, given


def what(experiment: Any, data: Any) -> list[str]:
    """What the data are taken to be, and what is trained on them: said, not guessed in silence."""
    likelihood = experiment.model.likelihood.in_words(data.reading.support)
    lines = [f"{data.reading.name}: {data.what()}: {likelihood}; {data.splits()}"]
    lines += [f"note: {note}" for note in data.notes()]
    model, training = experiment.model, experiment.training
    layers = " → ".join(str(layer.latents) for layer in model.layers)
    posteriors = dict.fromkeys(type(layer.posterior).__name__ for layer in model.layers)
    prior = f"{type(model.prior).__name__} prior" + (" at the top" if len(model.layers) > 1 else "")
    estimators = [type(each).__name__ for each in experiment.objective.estimator]
    gradient = f" by {', '.join(dict.fromkeys(estimators))}" if set(estimators) - {"Pathwise"} else ""
    objective = " + ".join(type(part).__name__ for part in (experiment.objective, *experiment.objective.penalties))
    count = f"{layers} latent{'s'[: layers != '1']}" + " at each place" * any(layer.maps for layer in model.layers)
    latents = f"{count}, {prior}, {' → '.join(posteriors)} posterior" if layers else "no latents"
    length = f"{training.steps:,} steps of {training.batch}"
    lines.append(f"model: {latents}, {model.network.in_words(data.reading.shape)}; {objective}{gradient} for {length}")
    return lines


def say(written: tuple[Path, str], args: argparse.Namespace) -> int:
    """Print what was written, and where."""
    path, what = written
    print(path if args.quiet else f"{path}: {what}")
    return 0


def fail(message: str, status: int = 2) -> int:
    """Print one line to stderr; the exit status."""
    with contextlib.suppress(OSError):  # a terminal that hung up hears nothing more
        print(f"taut: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return status


def stop(message: str, stopped: BaseException) -> int:
    """The same where the work was stopped; the exit status is the one that shells give for the signal, 130 for Ctrl-C."""
    return fail(message, 128 + getattr(stopped, "number", signal.SIGINT))
