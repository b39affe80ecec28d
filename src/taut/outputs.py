"""The files that commands write of a run: pictures to look at, or numbers to go on with."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taut.codec import Archive
from taut.data import Split, read_like
from taut.data.columns import as_column, fill, table_names, widened
from taut.data.conditions import columns_of
from taut.data.counts import OBSM, with_codes
from taut.data.tables import given_frame
from taut.errors import InputError
from taut.evaluation.cells import IMPOSSIBLE
from taut.evaluation.inference import is_point
from taut.explore import as_images, interpolate, shown, traverse
from taut.files import (
    ARRAYS,
    PICTURES,
    TABLES,
    check_sounds,
    check_target,
    fresh,
    write_annotated,
    write_array,
    write_sounds,
    write_table,
)
from taut.runs import Run
from taut.training.checkpoint import write_atomically

__all__ = ["write_codes", "write_compressed", "write_decompressed", "write_imputed", "write_interpolation",
           "write_reconstructions", "write_samples", "write_scores", "write_traversal"]  # fmt: skip


def write_samples(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """New data; pictures show means unless draws are asked for, numbers are draws unless means are."""
    path, picture = _target(run, args, "samples")
    means = run.averaged and (not args.draw if picture else args.mean)
    seed = secrets.randbits(62) if args.seed is None else args.seed
    told = run.told(args.condition, max(1, args.n), seed)
    x = run.sample(args.n, args.temperature, seed, means, args.keep, told)
    what = f"{args.n:,} {'means of p(x|z)' if means else 'draws of x'}{', z from the prior' if run.vae.layers else ''}"
    what += f" at temperature {', '.join(f'{t:g}' for t in args.temperature)}" if args.temperature != [1] else ""
    what += f", the same z in the top {args.keep} of {len(run.vae.layers)} layers" if args.keep else ""
    what += f", given {args.condition}" if args.condition else ""
    if not picture:
        _write(run, path, x, condition=told)
        return path, what
    from taut.report import figures

    if run.reading.layout == "image":
        figures.save(figures.image_grid(as_images(run.reading, x), **_limits(run, x)), path)
    else:
        data = _rows(run.reading.restore(run.dataset(args.data_root).train.x[:5000]))
        figures.save(figures.samples(_rows(x), None, None, "vector", data=data, names=run.reading.titles), path)
    return path, what


def write_reconstructions(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """The decodings of posterior means."""
    path, picture = _target(run, args, "progressive" if args.progressive else "reconstructions")
    split = _split(run, args)
    image, count = run.reading.layout == "image", len(run.vae.layers)
    told = "" if args.layers is None else f", the top {args.layers} of {count} layers told of x"
    if args.progressive and not (picture and image):
        raise InputError("--progressive", "is a picture of images", "leave it out, and say --layers K")
    if args.progressive and args.layers is not None:
        raise InputError("--layers", "is one number, and --progressive shows every number of them", "leave one out")
    if not picture:
        x = run.reconstruct(split, args.layers)
        _write(run, path, x, _labels(run, split), split.condition)
        return path, f"{len(x):,} reconstructions, {run.decodings} at the {run.centre}{told}"
    from taut.report import figures

    some = split.take(slice((12 if args.progressive else 40) if image else 500))
    x = shown(run, some)
    if args.progressive:
        steps = [as_images(run.reading, run.reconstruct(some, layers)) for layers in range(count + 1)]
        names = [f"{layers} of {count} layers" for layers in range(count + 1)] + ["data"]
        figures.save(figures.progress([*steps, as_images(run.reading, x)], names, **_limits(run, x)), path)
        return path, f"{len(x)} examples as its {count} layers are told of them, one after the other"
    rebuilt = run.reconstruct(some, args.layers)
    if image:
        figure = figures.reconstructions(
            as_images(run.reading, x), as_images(run.reading, rebuilt), "image", **_limits(run, x)
        )
    else:
        figure = figures.reconstructions(_rows(x), _rows(rebuilt), "vector", names=run.reading.titles)
    figures.save(figure, path)
    return path, f"{len(x)} examples and their reconstructions, {run.decodings} at the {run.centre}{told}"


def write_codes(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """Posterior means, or draws, a row an example."""
    path = check_target(args.output, (*ARRAYS, ".h5ad"), args.force)
    annotated = path.suffix.lower() == ".h5ad"
    if annotated and not args.data.lower().endswith(".h5ad"):
        raise InputError(
            "-o", f"{path} is to hold the data too, and {args.data} is no .h5ad", f"end it in {', '.join(ARRAYS)}"
        )
    split = _split(run, args)
    codes = run.encode(split, sample=args.draw, seed=args.seed)
    if annotated:
        write_annotated(path, with_codes(Path(args.data).expanduser(), codes))
        return path, f"obsm[{OBSM!r}] has the {run.centre}s of {len(codes):,} examples, {codes.shape[1]} latents"
    write_array(path, codes, [f"z{i}" for i in range(codes.shape[1])], _labels(run, split))
    return (
        path,
        f"{'posterior draw' if args.draw else run.centre}s of {len(codes):,} examples, {codes.shape[1]} latents",
    )


def write_imputed(run: Run, args: argparse.Namespace, progress: Callable[[float, int], None]) -> tuple[Path, str]:
    """A table with its missing cells filled, and beside each column that had some how far its guesses may be off."""
    path = check_target(args.output, TABLES, args.force)
    split = _split(run, args)
    filled, spread = run.impute(split, args.samples, args.seed, args.draw, progress)
    table, names = run.frame(filled), table_names(run.reading)
    missing = np.zeros(spread.shape, bool)
    missing[:, run.reading.kept] = split.x.isnan().numpy()
    frame, kept = given_frame(args.data, run.reading), np.zeros(spread.shape, bool)
    if frame is not None and split.impossible is not None:
        kept = split.impossible.numpy()  # what stands in the table stays there
        missing, spread = missing & ~kept, np.where(kept, 0, spread)
    before = 0 if frame is None else _empty(frame)
    frame = table if frame is None else fill(frame, table)
    told = [f"{names[i]}.spread" for i in np.flatnonzero(missing.any(0))]
    if taken := [name for name in told if name in frame.columns]:
        raise InputError("data", f"{args.data} has a column {taken[0]!r}, which would be written over", "rename it")
    for i in np.flatnonzero(missing.any(0)):
        frame = frame.with_columns(as_column(f"{names[i]}.spread", spread[:, i]))
    write_table(path, frame)
    way = "one draw each of what they may be" if args.draw else "means, and of categories the likeliest"
    what = f"{missing.sum():,} missing cells of {len(table):,} rows filled: {way}; NAME.spread says how sure"
    put = before - _empty(frame) - int(missing.sum())
    what += f"; {put:,} of columns that were constant are put back" if put > 0 else ""
    if is_point(run.vae):
        what += " (of x given one z, so it is too small)"
    return path, what + f"; {kept.sum():,} that the model holds impossible stay as they are" * bool(kept.any())


def _empty(frame: Any) -> int:
    """How many cells of a table have nothing in them."""
    return sum(column.null_count() for column in frame)


def write_scores(run: Run, args: argparse.Namespace, progress: Callable[[float, int], None]) -> tuple[Path, str]:
    """How odd each row is, and which columns are to blame."""
    path = check_target(args.output, (*TABLES, ".npz"), args.force)
    split = _split(run, args)
    found = run.score(split, args.samples, args.seed, progress)
    bound = {"elbo": (-found.cost).tolist()} if run.proper else {"distortion": found.cost.tolist()}
    extra: dict[str, Sequence] = {**bound, "rate": found.rate.tolist()}
    if found.blame is not None and run.reading.layout == "vector":
        extra["because"] = found.because(table_names(run.reading))
    known, marks = np.isfinite(found.score), found.score[:, None]
    if path.suffix.lower() in TABLES and not known.all():
        extra = {"score": [float(v) if v == v else None for v in found.score], **extra}
        marks = marks[:, :0]  # no number stands where there is none
    write_array(path, marks, ["score"][: marks.shape[1]], extra | (_labels(run, split) or {}))
    what = "−ELBO" if run.proper else "distortion"
    what = "distance from what the model draws," if found.drawn else what
    worst = [i for i in np.argsort(-found.score)[:3].tolist() if known[i]]
    told = f"{what} of {len(split):,} rows, nats, the higher the odder"
    told += ": first " + ", ".join(f"row {i} ({found.score[i]:.1f})" for i in worst) if worst else ""
    if odd := int((found.impossible > 0).sum()):
        told += f"; {odd:,} of them with cells that the model holds impossible, each {IMPOSSIBLE:.0f} nats"
    if nothing := int((~known).sum()):
        told += f"; {nothing:,} of which nothing is known have no score"
    return path, told


def _told(split: Split, args: argparse.Namespace) -> Split:
    """The same, its notes said."""
    if not args.quiet:
        for note in split.notes:
            print(f"note: {note}", file=sys.stderr)
    return split


def _write(
    run: Run,
    path: Path,
    x: np.ndarray,
    extra: dict[str, Sequence] | None = None,
    condition: torch.Tensor | None = None,
) -> None:
    """Examples in the form that the file's name asks for; a table's rows with its types and names of categories, and what
    they were conditioned on beside them; sounds of the rate and the depth of those that were read."""
    if _sounds(run, path):
        return write_sounds(path, x, run.reading.options["rate"], run.reading.raw_dtype)
    if path.suffix.lower() not in TABLES or not (run.reading.fields or run.reading.options.get("order")):
        told = {} if condition is None else columns_of(run.reading.conditions, condition)
        return write_array(path, x, run.reading.columns, told | (extra or {}))
    frame = run.frame(x, condition)
    for note in widened(frame.select(table_names(run.reading)), run.reading.fields or ()):
        print(f"note: {note}", file=sys.stderr)
    write_table(path, frame.with_columns(*(as_column(name, values) for name, values in (extra or {}).items())))


def write_compressed(run: Run, args: argparse.Namespace, progress: Callable[[int, int], None]) -> tuple[Path, Archive]:
    """Examples in as few bytes as the model can say them in."""
    path = check_target(args.output, force=args.force)
    archive = run.compress(_split(run, args), args.seed, progress)
    write_atomically(path, archive.content)
    return path, archive


def write_decompressed(run: Run, args: argparse.Namespace, progress: Callable[[int, int], None]) -> tuple[Path, str]:
    """What was compressed, every byte as it was."""
    path = _checked(run, args, ARRAYS)
    source = Path(args.file)
    if not source.is_file():
        raise InputError(str(source), "is no file", "give one that `taut compress` made")
    x = run.decompress(source.read_bytes(), str(source), progress)
    _write(run, path, x)
    return path, f"{len(x):,} examples, equal to those that were compressed"


def write_interpolation(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """The decodings between the codes of two examples."""
    path, picture = _target(run, args, "interpolation")
    if args.steps < 2:
        raise InputError("--steps", f"is {args.steps}", "give 2 or more")
    split = run.test_split(args.data_root)
    pairs = _pairs(args.pair, split, args.seed)
    ends = _conditioned(run, split.take(torch.tensor([i for pair in pairs for i in pair])), args)
    codes = run.encode(ends)
    rows = [interpolate(codes[2 * r], codes[2 * r + 1], args.steps, args.path) for r in range(len(pairs))]
    told = None if ends.condition is None else ends.condition[::2].repeat_interleave(args.steps, 0)
    decoded = run.decode(np.concatenate(rows), told)
    said = ", ".join(f"{i} to {j}" for i, j in pairs)
    what = f"{args.path} between the {run.centre}s of test examples {said}"
    return path, _write_rows(run, path, picture, decoded, len(pairs), "interpolations", what)


def write_traversal(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """One latent moved at a time, those of most KL first."""
    run.require_latents()
    path, picture = _target(run, args, "traversal")
    if args.steps < 2 or args.dimensions < 1:
        field, value = ("--steps", args.steps) if args.steps < 2 else ("--dimensions", args.dimensions)
        raise InputError(field, f"is {value}", "give 2 or more" if args.steps < 2 else "give 1 or more")
    kl = np.asarray(run.summary.get("kl_per_dim", []), dtype=float)
    width = sum(int(np.prod(layer.event)) for layer in run.vae.layers)
    center, start = np.zeros(width, dtype=np.float32), "the origin"
    told = None
    if args.example is not None or not run.real or run.usual:  # the origin may be no value of z
        example = args.example or 0
        split = run.test_split(args.data_root)
        _in_range("--example", example, len(split))
        some = _conditioned(run, split.take(torch.tensor([example])), args)
        center, start, told = run.encode(some)[0], f"test example {example}", some.condition
        center = run.seen_from_prior(center[None], told)[0]
    variables = run.variables
    known = len(kl) == len(variables)
    order = (np.argsort(-kl) if known else np.arange(len(variables)))[: args.dimensions]
    steps = min(variables[i].places(args.steps) for i in order)
    courses = [variables[i].course(variables[i].reach, steps) for i in order]
    rows = [traverse(center, variables[i].start, values) for i, (values, _) in zip(order, courses, strict=True)]
    decoded = run.decode(run.placed_by_prior(np.concatenate(rows), told), told)
    marks = np.stack([marks for _, marks in courses])
    names = [run.latent_names[i] for i in order]
    ways: dict[str, list[str]] = {}  # latents that are moved alike are told of together
    for i, name in zip(order, names, strict=True):
        reach, real = variables[i].reach, variables[i].real
        way = f"moved from −{reach:g} to {reach:g}{' deviations of their priors' * real}"
        ways.setdefault(way if variables[i].values is None else f"at {steps} of their values", []).append(name)
    told_of = ", and ".join(f"{'; '.join(some)} {way}" for way, some in ways.items())
    what = f"from {start}, latents {told_of}"
    what += ", layers counted from the top" if len(run.vae.layers) > 1 else ""
    extra = {"values": marks, "latents": names, "kl": kl[order] if known else None}
    return path, _write_rows(run, path, picture, decoded, len(order), "traversals", what, extra)


def _write_rows(
    run: Run, path: Path, picture: bool, decoded: np.ndarray, rows: int, kind: str, what: str, extra: dict | None = None
) -> str:
    if not picture:
        _write(run, path, decoded)
        return what
    from taut.report import figures

    image = run.reading.layout == "image"
    x = as_images(run.reading, decoded) if image else _rows(decoded)
    x = x.reshape(rows, -1, *x.shape[1:])
    limits = _limits(run, decoded) if image else {"names": run.reading.columns}
    layout = "image" if image else "vector"
    if kind == "traversals":
        figure = figures.traversals(x, extra["values"], extra["latents"], layout, kl=extra["kl"], **limits)
    else:
        figure = figures.interpolations(x, layout, **limits)
    figures.save(figure, path)
    return what


def _target(run: Run, args: argparse.Namespace, name: str) -> tuple[Path, bool]:
    """Where to write and whether it is a picture; a free name in the run's folder if none was given."""
    if not args.output:
        return fresh(run.folder / f"{name}.png"), True
    path = _checked(run, args, (*PICTURES, *ARRAYS))
    return path, path.suffix.lower() in PICTURES


def _checked(run: Run, args: argparse.Namespace, suffixes: Sequence[str]) -> Path:
    path = Path(args.output)
    if _sounds(run, path):
        return check_sounds(path, args.force)
    return check_target(path, (*suffixes, ".wav") if run.reading.options.get("rate") else suffixes, args.force)


def _sounds(run: Run, path: Path) -> bool:
    """Whether a name asks for sounds: a folder, or .wav, of a run on a folder of them."""
    return bool(run.reading.options.get("rate")) and path.suffix.lower() in ("", ".wav")


def _split(run: Run, args: argparse.Namespace) -> Split:
    """The examples that a command is given, or those of the test split; what was decided in reading them is said."""
    if args.data is None:
        return _conditioned(run, run.test_split(args.data_root), args)
    return _conditioned(run, _told(read_like(run.reading, args.data, args.data_root), args), args)


def _conditioned(run: Run, split: Split, args: argparse.Namespace) -> Split:
    """The same, given the condition that was said."""
    told = getattr(args, "condition", None)
    return split if told is None else replace(split, condition=run.told(told, len(split)))


def _labels(run: Run, split: Split) -> dict[str, Sequence] | None:
    names = run.facts.get("label_names")
    if split.labels is None or not names:
        return None
    return {"label": [names[i] if i >= 0 else "" for i in split.labels.tolist()]}


def _pairs(given: Sequence[int], split: Split, seed: int) -> list[tuple[int, int]]:
    """The pair asked for, or six random pairs, of different labels where there are labels."""
    if given:
        if len(given) != 2:
            raise InputError("I J", f"is {' '.join(map(str, given))}", "give two rows of the test split, or none")
        for index in given:
            _in_range("I J", index, len(split))
        return [(given[0], given[1])]
    random = np.random.default_rng(seed)
    pairs: list[tuple[int, int]] = []
    for _ in range(200):
        i, j = (int(v) for v in random.choice(len(split), 2, replace=len(split) < 2))
        if split.labels is None or split.labels[i] != split.labels[j] or len(split) < 20:
            pairs.append((i, j))
        if len(pairs) == 6:
            break
    return pairs


def _in_range(field: str, index: int, n: int) -> None:
    if not 0 <= index < n:
        raise InputError(field, f"is {index}", f"the test split has rows 0 to {n - 1:,}")


def _rows(x: np.ndarray) -> np.ndarray:
    """Examples as rows of numbers (N, D); the channels of a signal one after the other."""
    return x.reshape(len(x), -1)


def _limits(run: Run, x: np.ndarray) -> dict[str, float]:
    low, high = run.reading.limits or tuple(np.percentile(x, [0.5, 99.5]))
    return {"vmin": float(low), "vmax": float(high)}
