"""The command line: argument parsing and printing only."""

from __future__ import annotations

import argparse
import codecs
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from taut.errors import InputError, nearest

__all__ = ["main"]

HELP = """\
taut: variational autoencoders with the bound pulled tight

  taut train DATA                train a model; DATA is a file, a folder of images, or a set by name
  taut evaluate RUN              bounds of log p(x) on the test split, in nats
  taut sample RUN                new data from the model
  taut reconstruct RUN [DATA]    data through the code and back
  taut encode RUN DATA -o FILE   the posterior means
  taut interpolate RUN [I J]     the way from one example to another
  taut traverse RUN              what each latent does
  taut compare DATA              a plain autoencoder and a VAE on the same data
  taut recipes                   published models, ready to train

Sets by name: digits and shapes; mnist, fashion-mnist and binarized-mnist under --data-root or TAUT_DATA.
`taut COMMAND --help` says more. Try: taut train digits
"""


OUT_OF_MEMORY = "memory: not enough; try a smaller --training.batch, a smaller model, or fewer examples (--data.limit)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 for a mistake in what was given, 130 for Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="taut")
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _stop)
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(HELP, end="")
            return 0 if argv else 2
        if argv[0] in ("-V", "--version"):
            from taut import __version__

            print(f"taut {__version__}")
            return 0
        if argv[0] not in COMMANDS:
            raise InputError("command", f"{argv[0]!r} is none", nearest(argv[0], COMMANDS))
        define, run = COMMANDS[argv[0]]
        parser = _Parser(prog=f"taut {argv[0]}", allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter)
        define(parser)
        if parser.overridable and any(flag in argv for flag in ("-h", "--help")):
            parser.epilog = _options_help()
        known, rest = parser.parse_known_intermixed_args(argv[1:])
        known.overrides = _overrides(rest, parser)
        if getattr(known, "trust", None):
            sys.path.append(os.getcwd())  # a module beside the user, last: it must not stand in for another
        return run(known) or 0
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the reader went away; nothing more is to be said
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"{error.filename or 'disk'}: no space is left; free some and go on (taut train --resume RUN)")
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}; name another place with -o or --out")
    except MemoryError:
        return _fail(OUT_OF_MEMORY)
    except Exception as error:
        if "allocate memory" in str(error) or "out of memory" in str(error):  # torch has no type of its own for it
            return _fail(OUT_OF_MEMORY)
        if os.environ.get("TAUT_DEBUG"):
            raise
        return _fail(f"{type(error).__name__}: {error}; this is a fault in taut, set TAUT_DEBUG=1 to see where", 1)


PLAIN = str.maketrans(
    {"−": "-", "–": "-", "×": "x", "≤": "<=", "‖": "||", "±": "+-", "→": "->", "…": "...", "β": "beta"}
)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What a terminal that has no − or ≤ shows instead: the sign of a number must not be lost."""
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "replace").decode(), error.end


codecs.register_error("taut", _plainly)


def _stop(number: int, frame: Any) -> NoReturn:
    """A polite request to end is met as Ctrl-C is: what is worth keeping is kept."""
    raise KeyboardInterrupt


def _fail(message: str, status: int = 2) -> int:
    print(f"taut: {' '.join(message.split())}", file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    overridable = False

    def error(self, message: str) -> NoReturn:
        raise InputError(self.prog, message, f"see {self.prog} --help")

    def names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]


def _overrides(rest: list[str], parser: _Parser) -> dict[str, str]:
    """Dotted options, ``--model.prior Vamp`` or ``--model.prior=Vamp``, and the refusal of everything else."""
    found: dict[str, str] = {}
    sections = ("data", "model", "objective", "training", "seed")
    items = iter(rest)
    for item in items:
        name, equals, value = item.partition("=")
        if not name.startswith("--"):
            raise InputError(parser.prog, f"{item!r} is one argument too many", f"see {parser.prog} --help")
        name = name[2:]
        if not parser.overridable or name.split(".")[0] not in sections:
            known = {*parser.names(), *(f"--{s}" for s in sections if parser.overridable)}
            raise InputError(f"--{name}", "no such option", nearest(f"--{name}", known))
        if not equals:
            value = next(items, None)
            if value is None or (value.startswith("--") and len(value) > 2):
                raise InputError(f"--{name}", "has no value", f"say --{name} VALUE")
        found[name] = value
    return found


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


# --- arguments shared by several commands


def _common(parser: _Parser, overridable: bool = False) -> None:
    parser.overridable = overridable
    parser.add_argument("--data-root", metavar="DIR", help="folder with the named data sets (else TAUT_DATA)")
    parser.add_argument("--trust", action="append", default=[], metavar="MODULE",
                        help="module outside the package whose parts may be used; naming it runs its code")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="print only results and errors")
    parser.add_argument("--force", action="store_true", help="overwrite what exists")


def _run_arguments(parser: _Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder that `taut train` made")
    _common(parser)
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of all draws")


def _seed(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"is {text}; give 0 to {2**31 - 1}")
    return int(text)


def _output(parser: _Parser, what: str, required: bool = False) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", required=required, help=what)


def _training_arguments(parser: _Parser) -> None:
    parser.add_argument("data", metavar="DATA", nargs="?", help="a file, a folder of images, or a set by name")
    _common(parser, overridable=True)
    parser.add_argument("--recipe", metavar="NAME", help="start from a published model (taut recipes)")
    parser.add_argument("--config", metavar="FILE", help="a YAML file of options, over the recipe's")
    parser.add_argument("--seed", metavar="N", help="of weights, order and all draws [0]")
    parser.add_argument("--epochs", metavar="N", help="passes over the training data")
    parser.add_argument("--minutes", metavar="N", help="train for about so long (the pace is measured, then frozen)")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", metavar="NAME", help="32-true, bf16-mixed, 16-mixed or 64-true")
    parser.add_argument("--out", metavar="DIR", help="the run folder; a fresh numbered one under runs/ otherwise")


def _experiment(args: argparse.Namespace) -> Any:
    """Recipe, then file, then flags, then dotted options: what comes later wins."""
    from taut.api import overridden
    from taut.config import merge, parse, read_yaml
    from taut.experiment import Experiment
    from taut.recipes import read_recipe

    tree: dict[str, Any] = {}
    if args.recipe:
        tree = read_recipe(args.recipe).tree
    if args.config:
        tree = merge(tree, read_yaml(args.config))
    flags = {
        "data.source": args.data, "data.root": args.data_root, "seed": args.seed, "training.epochs": args.epochs,
        "training.minutes": args.minutes, "training.device": args.device, "training.precision": args.precision,
    }  # fmt: skip
    given = {name: value for name, value in flags.items() if value is not None} | args.overrides
    lengths = ("training.epochs", "training.minutes", "training.steps")
    if any(name in given for name in lengths) and isinstance(tree.get("training"), dict):
        # a length on the command line replaces the recipe's, whatever unit that is in
        tree["training"] = {k: v for k, v in tree["training"].items() if f"training.{k}" not in lengths}
    tree = overridden(tree, given)
    if not (tree.get("data") or {}).get("source"):
        raise InputError("DATA", "is not given", "name a file, a folder of images, or a set, such as digits")
    return parse(Experiment, tree, trust=args.trust)


# --- commands


def _train_arguments(parser: _Parser) -> None:
    parser.description = "Train a model, evaluate it on the test split, and write a run folder with a report."
    _training_arguments(parser)
    parser.add_argument("--resume", metavar="RUN", help="go on with a stopped run; nothing else need be given")
    parser.add_argument("--print_config", action="store_true", help="print the resolved configuration and stop")


def _train(args: argparse.Namespace) -> int:
    from taut.api import carry_out, resumable
    from taut.config import to_tree, write_yaml
    from taut.console import Watch, console, result_lines
    from taut.data import open_data
    from taut.experiment import resolve
    from taut.folders import new_folder, refuse_foreign
    from taut.training import Stopped

    out = console()
    if args.resume:
        if args.data or args.recipe or args.config or args.overrides or args.epochs or args.minutes or args.out:
            raise InputError("--resume", "goes on with the run as it was, so it takes no DATA and no options",
                             f"say taut train --resume {args.resume}")  # fmt: skip
        folder = Path(args.resume)
        experiment, unfinished = resumable(folder, tuple(args.trust))
        if not unfinished:
            out.print(f"{folder} is finished: there is nothing to resume")
            return 0
    else:
        experiment, folder = _experiment(args), None
    data = open_data(experiment.data)
    if not args.resume:
        if args.out and Path(args.out).exists() and not args.print_config:
            refuse_foreign(Path(args.out), args.force)
        experiment = resolve(experiment, data)
    if args.print_config:
        print(write_yaml(to_tree(experiment)), end="")
        return 0
    folder = folder or (Path(args.out) if args.out else new_folder(data.reading.name))
    if not args.quiet:
        for line in _what(experiment, data):
            out.print(line)
    watch = Watch(out, args.quiet)
    stages = {"evaluating": "evaluating on the test split …", "reporting": "drawing the report …"}

    def stage(name: str) -> None:
        if name in stages:
            watch.close()
            if not args.quiet:
                out.print(stages[name], style="dim")

    try:
        run = carry_out(experiment, data, folder, args.force, bool(args.resume), watch, stage)
    except (Stopped, KeyboardInterrupt) as stopped:
        watch.close()
        if not (folder / "checkpoint.safetensors").exists():
            return _fail("stopped before anything was worth keeping", 130)
        at = f" at {stopped}" if str(stopped) else ""
        return _fail(f"stopped{at}; everything is saved. Go on with: taut train --resume {folder}", 130)
    finally:
        watch.close()
    if not args.quiet:
        out.print()
        out.print(f"test split, {run.summary['n']:,} examples", style="dim")
    for line in result_lines(run.summary):
        out.print(line)
    out.print(f"\nrun     {folder}\nreport  {folder / 'report.html'}", soft_wrap=True)
    return 0


def _what(experiment: Any, data: Any) -> list[str]:
    """What the data are taken to be, and what is trained on them: said, not guessed in silence."""
    likelihood = experiment.model.likelihood.in_words(data.reading.support)
    lines = [f"{data.reading.name}: {data.what()}: {likelihood}; {data.splits()}"]
    lines += [f"note: {note}" for note in data.notes()]
    model, training = experiment.model, experiment.training
    layers = " → ".join(str(layer.latents) for layer in model.layers) or "no"
    prior = f"{type(model.prior).__name__} prior" + (" at the top" if len(model.layers) > 1 else "")
    objective = " + ".join(type(part).__name__ for part in (experiment.objective, *experiment.objective.penalties))
    lines.append(
        f"model: {layers} latent{'s'[: layers != '1']}, {prior}, {type(model.posterior).__name__} posterior, "
        f"{type(model.network).__name__}; {objective} for {training.steps:,} steps of {training.batch}"
    )
    return lines


def _evaluate_arguments(parser: _Parser) -> None:
    parser.description = (
        "Lower bounds of log p(x), mean over the test split, in nats per example;\n"
        "and what the codes tell of labels and factors, where the data bring some."
    )
    _run_arguments(parser)
    parser.add_argument("--data", metavar="OTHER", help="other data, read as the run's were")
    parser.add_argument("--samples", type=int, default=100, metavar="K", help="of the importance-weighted bound [100]")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N examples")
    parser.add_argument("--iw-limit", type=int, metavar="N",
                        help="take the importance-weighted gain over the ELBO on N random examples only")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _evaluate(args: argparse.Namespace) -> int:
    import json

    from taut.console import Progress, console, result_lines
    from taut.runs import finite, load

    run = load(args.run, args.trust)
    progress = Progress("evaluating", args.quiet)
    result = run.evaluate(args.data, args.samples, args.limit, args.iw_limit, args.seed, args.data_root, progress)
    if args.json:
        print(json.dumps(finite(_without(result, *PER_LATENT)), ensure_ascii=False))
        return 0
    out = console()
    out.print(f"{result['data']}, {result['split']} split, {result['n']:,} examples, {result['support']}, "
              f"{result['likelihood']}", style="dim")  # fmt: skip
    for line in result_lines(result):
        out.print(line)
    return 0


PER_LATENT = ("kl_per_dim", "information", "importance")  # long rows of numbers, which pictures show


def _without(result: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The same without some keys, in whatever depth."""
    return {k: _without(v, *keys) if isinstance(v, dict) else v for k, v in result.items() if k not in keys}


def _sample_arguments(parser: _Parser) -> None:
    parser.description = "New data: z ~ p(z), x ~ p(x|z). Pictures show E[x|z], files of numbers hold draws of x."
    _run_arguments(parser)
    parser.set_defaults(seed=None)
    parser.add_argument("-n", type=int, default=64, metavar="N", help="how many [64]")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="of the prior; below 1 likelier, less varied [1]"
    )
    parser.add_argument("--mean", action="store_true", help="write E[x|z] into files of numbers too")
    parser.add_argument("--draw", action="store_true", help="show draws of x in pictures too")
    _output(parser, "a picture (.png) or numbers (.npy, .npz, .csv, .parquet); a picture in RUN otherwise")


def _sample(args: argparse.Namespace) -> int:
    from taut.outputs import write_samples
    from taut.runs import load

    return _say(write_samples(load(args.run, args.trust), args), args)


def _reconstruct_arguments(parser: _Parser) -> None:
    parser.description = "E[x|z] at the posterior mean: of the test split, or of other data."
    _run_arguments(parser)
    parser.add_argument("data", metavar="DATA", nargs="?", help="other data, read as the run's were")
    _output(parser, "a picture (.png) or numbers (.npy, .npz, .csv, .parquet); a picture in RUN otherwise")


def _reconstruct(args: argparse.Namespace) -> int:
    from taut.outputs import write_reconstructions
    from taut.runs import load

    return _say(write_reconstructions(load(args.run, args.trust), args), args)


def _encode_arguments(parser: _Parser) -> None:
    parser.description = (
        "The posterior means of data, or what stands for them where z cannot be a mean, a row an example, with labels where "
        "there are any."
    )
    _run_arguments(parser)
    parser.add_argument("data", metavar="DATA", help="data, read as the run's were")
    parser.add_argument("--draw", action="store_true", help="draw from the posterior instead of taking its mean")
    _output(parser, ".npy, .npz, .csv or .parquet", required=True)


def _encode(args: argparse.Namespace) -> int:
    from taut.outputs import write_codes
    from taut.runs import load

    return _say(write_codes(load(args.run, args.trust), args), args)


def _interpolate_arguments(parser: _Parser) -> None:
    parser.description = "The decodings along the way between the codes of two test examples, or of several pairs."
    _run_arguments(parser)
    parser.add_argument("pair", metavar="I J", nargs="*", type=int, help="rows of the test split, counted from 0")
    parser.add_argument("--steps", type=int, default=10, help="how many, the ends counted in [10]")
    parser.add_argument("--path", choices=("linear", "spherical"), default="linear", help="through the latent space")
    _output(parser, "a picture (.png) or numbers (.npy, .npz, .csv, .parquet); a picture in RUN otherwise")


def _interpolate(args: argparse.Namespace) -> int:
    from taut.outputs import write_interpolation
    from taut.runs import load

    return _say(write_interpolation(load(args.run, args.trust), args), args)


def _traverse_arguments(parser: _Parser) -> None:
    parser.description = (
        "What each latent does: one at a time is moved from −3 to 3, those of most KL first; where z is a direction or a "
        "choice, from −1 to 1 and to the nearest value that z can take."
    )
    _run_arguments(parser)
    where = "start from this row of the test split [z = 0, or row 0 where z cannot be 0]"
    parser.add_argument("--example", type=int, metavar="I", help=where)
    parser.add_argument("--dimensions", type=int, default=10, metavar="N", help="how many latents [10]")
    parser.add_argument("--steps", type=int, default=11, help="values of each [11]")
    _output(parser, "a picture (.png) or numbers (.npy, .npz, .csv, .parquet); a picture in RUN otherwise")


def _traverse(args: argparse.Namespace) -> int:
    from taut.outputs import write_traversal
    from taut.runs import load

    return _say(write_traversal(load(args.run, args.trust), args), args)


def _say(written: tuple[Path, str], args: argparse.Namespace) -> int:
    path, what = written
    print(path if args.quiet else f"{path}: {what}")
    return 0


def _compare_arguments(parser: _Parser) -> None:
    parser.description = (
        "A plain autoencoder and a VAE with the same networks: what each rebuilds, and what lies between."
    )
    _training_arguments(parser)


def _compare(args: argparse.Namespace) -> int:
    from taut.comparison import compare
    from taut.console import Watch, comparison_lines, console
    from taut.data import open_data
    from taut.experiment import resolve
    from taut.folders import claimed, new_folder, refuse_foreign
    from taut.report.compare import publish_comparison

    out = console()
    experiment = _experiment(args)
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
            watches[name] = Watch(out, args.quiet)
        watches[name](event)

    def close() -> None:
        for watch in watches.values():
            watch.close()

    if not args.quiet:
        for line in _what(experiment, data):
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


def _recipes_arguments(parser: _Parser) -> None:
    parser.description = "Published models, ready to train: taut train DATA --recipe NAME"


def _recipes(args: argparse.Namespace) -> int:
    from taut.recipes import all_recipes

    for recipe in all_recipes():
        print(f"{recipe.name} — {recipe.summary}")
    return 0


COMMANDS: dict[str, tuple[Callable[[_Parser], None], Callable[[argparse.Namespace], int | None]]] = {
    "train": (_train_arguments, _train),
    "evaluate": (_evaluate_arguments, _evaluate),
    "sample": (_sample_arguments, _sample),
    "reconstruct": (_reconstruct_arguments, _reconstruct),
    "encode": (_encode_arguments, _encode),
    "interpolate": (_interpolate_arguments, _interpolate),
    "traverse": (_traverse_arguments, _traverse),
    "compare": (_compare_arguments, _compare),
    "recipes": (_recipes_arguments, _recipes),
}


if __name__ == "__main__":
    sys.exit(main())
