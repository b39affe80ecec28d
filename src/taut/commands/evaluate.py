"""taut evaluate: bounds of log p(x)."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from taut.commands.shared import Parser, condition, run_arguments, stop
from taut.errors import InputError

__all__ = ["arguments", "run"]

SHOWN = 6  # exact posteriors in the picture


def arguments(parser: Parser) -> None:
    parser.description = (
        "Lower bounds of log p(x), mean over the test split, in nats per example;\n"
        "and what the codes tell of labels and factors, where the data bring some."
    )
    run_arguments(parser)
    parser.add_argument("--data", metavar="OTHER", help="other data, read as the run's were")
    parser.add_argument("--samples", type=int, default=100, metavar="K", help="of the importance-weighted bound [100]")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N examples")
    parser.add_argument("--iw-limit", type=int, metavar="N",
                        help="take the importance-weighted gain over the ELBO on N random examples only")  # fmt: skip
    parser.add_argument("--draws", type=int, metavar="N",
                        help="judge N draws from the model: true to the data, varied, no copies?")  # fmt: skip
    parser.add_argument("--gaps", action="store_true",
                        help="split log p(x) − ELBO into what the family of q costs and what the encoder does")  # fmt: skip
    parser.add_argument("--baselines", action="store_true",
                        help="simpler densities of the same data, and q without an encoder, beside this model")  # fmt: skip
    parser.add_argument("--gaps-limit", type=int, default=100, metavar="N",
                        help="seek a q of their own for N random examples, in both of these [100]")  # fmt: skip
    condition(parser, "what the model is conditioned on, in place of what the data say")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _evidence_arguments(parser)


def _evidence_arguments(parser: Parser) -> None:
    group = parser.add_argument_group(
        "closer to log p(x), on a few examples; what is done is kept, and a stopped one goes on"
    )
    group.add_argument(
        "--ais", action="store_true", help="annealed importance sampling, beside IW-K of the same examples"
    )
    group.add_argument("--bdmc", action="store_true", help="log p(x) from both sides, on examples that the model makes")
    group.add_argument("--exact", action="store_true",
                       help="log p(x) by quadrature, and a picture of exact posteriors (1 or 2 latents)")  # fmt: skip
    group.add_argument("--ais-limit", type=int, default=100, metavar="N", help="on N random examples [100]")
    group.add_argument("--chains", type=int, default=16, metavar="N", help="of each example [16]")
    group.add_argument("--temperatures", type=int, default=1000, metavar="N", help="from the start to p(x, z) [1000]")
    group.add_argument("--schedule", default="sigmoid", metavar="NAME", help="sigmoid, linear or power [sigmoid]")
    group.add_argument(
        "--start", default="posterior", metavar="NAME", help="of the chains: posterior, q(z|x), or prior [posterior]"
    )
    group.add_argument("--leapfrogs", type=int, default=10, metavar="N", help="of a trajectory, one a temperature [10]")


def run(args: argparse.Namespace) -> int:
    import json

    from taut.console import baseline_lines, console, result_lines
    from taut.runs import finite, load

    run = load(args.run, args.trust)
    _refuse(run, args)
    try:
        result = _measured(run, args)
    except KeyboardInterrupt as stopped:
        return stop("stopped; what was measured is kept in the run, and the same command goes on from there", stopped)
    if args.json:
        print(json.dumps(finite(_without(result, *PER_LATENT)), ensure_ascii=False))
        return 0
    for note in result.get("notes", ()):
        print(f"note: {note}", file=sys.stderr)
    out = console()
    out.print(f"{result['data']}, {result['split']} split, {result['n']:,} examples, {result['support']}, "
              f"{result['likelihood']}", style="dim")  # fmt: skip
    for line in result_lines(result) + baseline_lines(result.get("baselines", {})):
        out.print(line)
    if args.exact:
        out.print(f"\npicture  {result['exact']['picture']}", soft_wrap=True)
    return 0


def _measured(run: Any, args: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for."""
    from taut.console import Progress

    progress = Progress("evaluating", args.quiet)
    told = args.condition
    result = run.evaluate(args.data, args.samples, args.limit, args.iw_limit, args.seed, args.data_root, progress, told)
    result |= _evidence(run, args, result)
    if args.draws is not None:
        result["draws"] = run.judge(args.draws, args.seed, args.data_root)
    return result | _beside(run, args)


def _beside(run: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Where bounds lose, and what else there is."""
    from taut.console import Progress
    from taut.evaluation import annealed_bounds, baselines, gaps

    subject, found = run.subject(args.data, args.seed, args.data_root, args.condition), {}
    if args.gaps:
        others, among = {}, subject.first(args.limit)
        if args.ais:
            index = subject.some(args.gaps_limit, among)
            others["AIS"] = annealed_bounds(subject, _annealing(args), index, Progress("annealing", args.quiet))[
                "log_p"
            ]
        watch = Progress("a q for each example", args.quiet)
        found["gaps"] = gaps(subject, args.gaps_limit, among=among, others=others, progress=watch)
    if args.baselines:
        samples = args.samples if args.iw_limit is None else 1
        watch = Progress("rows of baselines", args.quiet)
        data = run.dataset(args.data_root)
        found["baselines"] = baselines(subject, data, samples, args.limit, args.gaps_limit, watch)
    return found


def _evidence(run: Any, args: argparse.Namespace, result: dict[str, Any]) -> dict[str, Any]:
    """What was asked for beyond bounds."""
    from taut.console import Progress
    from taut.evaluation import annealed, bracketed, integrated

    subject, limit = run.subject(args.data, args.seed, args.data_root, args.condition), args.ais_limit
    found: dict[str, Any] = {}
    if args.exact:
        from taut.report.figures import save
        from taut.report.posteriors import exact_posteriors

        found["exact"] = integrated(subject, limit, args.samples, result, Progress("integrating", args.quiet))
        index = subject.some(limit, subject.first(result["n"]))
        path = run.folder / "figures" / "posteriors.png"
        path.parent.mkdir(exist_ok=True)
        save(exact_posteriors(run, subject, index, SHOWN)[0], path)
        found["exact"]["picture"] = str(path)
    if args.ais:
        found["ais"] = annealed(
            subject, _annealing(args), limit, args.samples, result, Progress("annealing", args.quiet)
        )
    if args.bdmc:
        found["bdmc"] = bracketed(subject, _annealing(args), limit, Progress("annealing both ways", args.quiet))
    return found


def _refuse(run: Any, args: argparse.Namespace) -> None:
    """What cannot be had, before anything is measured."""
    from taut.evaluation.coordinates import require_real
    from taut.evaluation.exact import require_small
    from taut.evaluation.inference import require_local

    for name in ("ais_limit", "gaps_limit"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')}", f"is {getattr(args, name)}", "give 1 or more")
    how = _annealing(args)
    for name in ("ais", "bdmc"):
        if getattr(args, name):
            require_real(run.vae, name, how.start)
    if args.exact:
        require_small(run.vae)
    if args.gaps:
        require_local(run.vae, "gaps")


def _annealing(args: argparse.Namespace) -> Any:
    from taut.evaluation import Annealing

    return Annealing(args.chains, args.temperatures, args.schedule, args.start, args.leapfrogs)


PER_LATENT = (
    "kl_per_dim",
    "active_per_dim",
    "mean",
    "std",
    "shares",
    "importance",
)  # long rows of numbers, which pictures show


def _without(result: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The same without some keys, in whatever depth."""
    return {k: _without(v, *keys) if isinstance(v, dict) else v for k, v in result.items() if k not in keys}
