"""The files that commands write of a run: pictures to look at, or numbers to go on with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from taut.codec import Archive
from taut.data import Split, read_like
from taut.errors import InputError
from taut.explore import as_images, interpolate, shown, traverse
from taut.files import ARRAYS, PICTURES, check_target, fresh, write_array
from taut.runs import Run
from taut.training.checkpoint import write_atomically

__all__ = ["write_codes", "write_compressed", "write_decompressed", "write_interpolation", "write_reconstructions",
           "write_samples", "write_traversal"]  # fmt: skip


def write_samples(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """New data; pictures show means unless draws are asked for, numbers are draws unless means are."""
    path, picture = _target(run, args, "samples")
    means = run.averaged and (not args.draw if picture else args.mean)
    x = run.sample(args.n, args.temperature, args.seed, means, args.keep)
    what = f"{args.n:,} {'means of p(x|z)' if means else 'draws of x'}{', z from the prior' if run.vae.layers else ''}"
    what += f" at temperature {', '.join(f'{t:g}' for t in args.temperature)}" if args.temperature != [1] else ""
    what += f", the same z in the top {args.keep} of {len(run.vae.layers)} layers" if args.keep else ""
    if not picture:
        write_array(path, x, run.reading.columns)
        return path, what
    from taut.report import figures

    if run.reading.layout == "image":
        figures.save(figures.image_grid(as_images(run.reading, x), **_limits(run, x)), path)
    else:
        data = run.reading.restore(run.dataset(args.data_root).train.x[:5000])
        figures.save(figures.samples(x, None, None, "vector", data=data, names=run.reading.columns), path)
    return path, what


def write_reconstructions(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """The decodings of posterior means."""
    path, picture = _target(run, args, "progressive" if args.progressive else "reconstructions")
    split = _split(run, args)
    image, count = run.reading.layout == "image", len(run.vae.layers)
    told = "" if args.layers is None else f", the top {args.layers} of {count} layers told of x"
    if args.progressive and not (picture and image):
        raise InputError("--progressive", "is a picture of images", "leave it out, and say --layers K")
    if not picture:
        x = run.reconstruct(split, args.layers)
        write_array(path, x, run.reading.columns, _labels(run, split))
        return path, f"{len(x):,} reconstructions, {run.decodings} at the {run.centre}{told}"
    from taut.report import figures

    some = Split(split.x[: (12 if args.progressive else 40) if image else 500], None)
    x = shown(run, some)
    if args.progressive:
        steps = [as_images(run.reading, run.reconstruct(some, layers)) for layers in range(count + 1)]
        names = [f"{layers} of {count} layers" for layers in range(count + 1)] + ["data"]
        figures.save(figures.progress([*steps, as_images(run.reading, x)], names, **_limits(run, x)), path)
        return path, f"{len(x)} examples as {count} layers are told of them one after the other"
    rebuilt = run.reconstruct(some, args.layers)
    if image:
        figure = figures.reconstructions(
            as_images(run.reading, x), as_images(run.reading, rebuilt), "image", **_limits(run, x)
        )
    else:
        figure = figures.reconstructions(x, rebuilt, "vector", names=run.reading.columns)
    figures.save(figure, path)
    return path, f"{len(x)} examples and their reconstructions, {run.decodings} at the {run.centre}{told}"


def write_codes(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """Posterior means, or draws, a row an example."""
    path = check_target(args.output, ARRAYS, args.force)
    split = read_like(run.reading, args.data, args.data_root)
    codes = run.encode(split, sample=args.draw, seed=args.seed)
    write_array(path, codes, [f"z{i}" for i in range(codes.shape[1])], _labels(run, split))
    return (
        path,
        f"{'posterior draw' if args.draw else run.centre}s of {len(codes):,} examples, {codes.shape[1]} latents",
    )


def write_compressed(run: Run, args: argparse.Namespace, progress: Callable[[int, int], None]) -> tuple[Path, Archive]:
    """Examples in as few bytes as the model can say them in."""
    path = check_target(args.output, force=args.force)
    archive = run.compress(_split(run, args), args.seed, progress)
    write_atomically(path, archive.content)
    return path, archive


def write_decompressed(run: Run, args: argparse.Namespace, progress: Callable[[int, int], None]) -> tuple[Path, str]:
    """What was compressed, every byte as it was."""
    path = check_target(args.output, ARRAYS, args.force)
    source = Path(args.file)
    if not source.is_file():
        raise InputError(str(source), "is no file", "give one that `taut compress` made")
    x = run.decompress(source.read_bytes(), str(source), progress)
    write_array(path, x, run.reading.columns)
    return path, f"{len(x):,} examples, equal to those that were compressed"


def write_interpolation(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """The decodings between the codes of two examples."""
    path, picture = _target(run, args, "interpolation")
    if args.steps < 2:
        raise InputError("--steps", f"is {args.steps}", "give 2 or more")
    split = run.test_split(args.data_root)
    pairs = _pairs(args.pair, split, args.seed)
    codes = run.encode(Split(split.x[[i for pair in pairs for i in pair]], None))
    rows = [interpolate(codes[2 * r], codes[2 * r + 1], args.steps, args.path) for r in range(len(pairs))]
    decoded = run.decode(np.concatenate(rows))
    said = ", ".join(f"{i} to {j}" for i, j in pairs)
    what = f"{args.path} between the {run.centre}s of test examples {said}"
    return path, _write_rows(run, path, picture, decoded, len(pairs), "interpolations", what)


def write_traversal(run: Run, args: argparse.Namespace) -> tuple[Path, str]:
    """One latent moved at a time, those of most KL first."""
    path, picture = _target(run, args, "traversal")
    if args.steps < 2 or args.dimensions < 1:
        field, value = ("--steps", args.steps) if args.steps < 2 else ("--dimensions", args.dimensions)
        raise InputError(field, f"is {value}", "give 2 or more" if args.steps < 2 else "give 1 or more")
    kl = np.asarray(run.summary.get("kl_per_dim", []), dtype=float)
    width = sum(int(np.prod(layer.event)) for layer in run.vae.layers)
    center, start = np.zeros(width, dtype=np.float32), "the origin"
    if args.example is not None or not run.real:  # the origin may be no value of z
        example = args.example or 0
        split = run.test_split(args.data_root)
        _in_range("--example", example, len(split))
        center, start = run.encode(Split(split.x[[example]], None))[0], f"test example {example}"
    variables = run.variables
    known = len(kl) == len(variables)
    order = (np.argsort(-kl) if known else np.arange(len(variables)))[: args.dimensions]
    steps = min(variables[i].places(args.steps) for i in order)
    courses = [variables[i].course(run.reach, steps) for i in order]
    rows = [traverse(center, variables[i].start, values) for i, (values, _) in zip(order, courses, strict=True)]
    decoded = run.decode(np.concatenate(rows))
    marks = courses[0][1]
    way = (
        f"moved from −{run.reach:g} to {run.reach:g}"
        if variables[order[0]].values is None
        else f"at {steps} of their values"
    )
    what = f"from {start}, latents {', '.join(map(str, order))} {way}"
    extra = {"values": marks, "dimensions": [int(d) for d in order], "kl": kl[order] if known else None}
    return path, _write_rows(run, path, picture, decoded, len(order), "traversals", what, extra)


def _write_rows(
    run: Run, path: Path, picture: bool, decoded: np.ndarray, rows: int, kind: str, what: str, extra: dict | None = None
) -> str:
    if not picture:
        write_array(path, decoded, run.reading.columns)
        return what
    from taut.report import figures

    image = run.reading.layout == "image"
    x = as_images(run.reading, decoded) if image else decoded
    x = x.reshape(rows, -1, *x.shape[1:])
    limits = _limits(run, decoded) if image else {"names": run.reading.columns}
    layout = run.reading.layout
    if kind == "traversals":
        figure = figures.traversals(x, extra["values"], extra["dimensions"], layout, kl=extra["kl"], **limits)
    else:
        figure = figures.interpolations(x, layout, **limits)
    figures.save(figure, path)
    return what


def _target(run: Run, args: argparse.Namespace, name: str) -> tuple[Path, bool]:
    """Where to write and whether it is a picture; a free name in the run's folder if none was given."""
    if not args.output:
        return fresh(run.folder / f"{name}.png"), True
    path = check_target(args.output, (*PICTURES, *ARRAYS), args.force)
    return path, path.suffix.lower() in PICTURES


def _split(run: Run, args: argparse.Namespace) -> Split:
    if args.data is None:
        return run.test_split(args.data_root)
    return read_like(run.reading, args.data, args.data_root)


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


def _limits(run: Run, x: np.ndarray) -> dict[str, float]:
    low, high = run.reading.limits or tuple(np.percentile(x, [0.5, 99.5]))
    return {"vmin": float(low), "vmax": float(high)}
