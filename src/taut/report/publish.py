"""The report of a run: its pictures as files and one page that shows them; what is shown is the same at each call."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from taut.advice import idleness, remedies
from taut.config import to_tree, write_yaml
from taut.data import Dataset, Reading, Split
from taut.data.reading import channel_axis
from taut.evaluation import draws
from taut.evaluation.exact import MOST
from taut.evaluation.neighbours import nearest
from taut.evaluation.quality import in_words
from taut.evaluation.space import Space
from taut.explore import interpolate, plane, traverse
from taut.priors import StandardNormal
from taut.report import figures
from taut.report.charts import SIGNAL
from taut.report.html import Table, key_numbers, write_report
from taut.report.images import per_row
from taut.report.posteriors import exact_posteriors

if TYPE_CHECKING:
    from taut.runs import Run, Variable

__all__ = ["Canvas", "on_the_map", "publish", "standard"]

CODES = 5000  # examples on a map, at most
FEW = 1000  # test examples, below which those of the validation are put on the map too
COMPARED = 20_000  # training examples among which neighbours are sought, at most
PATHS, STEPS = 6, 9  # pairs of examples, and pictures from the one to the other
MOVED, PLACES = 8, 7  # dimensions that are moved, and where to
POSTERIORS = 3  # exact ones that are shown
INFORMATIVE = 0.01  # nats below which a dimension says nothing
BROUGHT = "brought to the nearest values that the latents can take"


@dataclass(frozen=True)
class Canvas:
    """Arrays of one data set as the pictures take them: images (N, H, W[, C]) with their range, or vectors (N, D).

    Attributes:
        reading: how the data were read.
        vmin, vmax: what is drawn black and white.
    """

    reading: Reading
    vmin: float
    vmax: float

    @classmethod
    def of(cls, data: Dataset) -> Canvas:
        """The canvas of a data set; the range of real-valued images is that of all but their wildest pixels."""
        return cls(data.reading, *(data.reading.limits or np.quantile(data.seen.x[:1000].numpy(), [0.005, 0.995])))

    @property
    def image(self) -> bool:
        """Whether examples are drawn as images."""
        return self.reading.layout == "image"

    @property
    def signal(self) -> bool:
        """Whether examples are drawn as lines over their columns."""
        return not self.image and math.prod(self.reading.raw_shape) > SIGNAL

    @property
    def style(self) -> dict[str, Any]:
        """What every picture of data is told."""
        return {"layout": "image" if self.image else "vector", "vmin": float(self.vmin), "vmax": float(self.vmax)}

    def draw(self, raw: np.ndarray) -> np.ndarray:
        """Examples as the user stores them (N, *raw shape) as the pictures take them."""
        raw = np.asarray(raw, dtype=np.float64)
        if not self.image:
            return raw.reshape(len(raw), -1)
        if raw.ndim == 4 and channel_axis(self.reading.raw_shape) == -3:
            raw = np.moveaxis(raw, 1, -1)
        return raw[..., 0] if raw.ndim == 4 and raw.shape[-1] == 1 else raw

    def across(self, margin: int) -> int:
        """How many images stand in a row beside a margin in pixels."""
        return per_row(self.draw(np.zeros((1, *self.reading.raw_shape))), margin)


def publish(run: Run, data: Dataset, folder: str | Path, metrics: Sequence[dict[str, Any]]) -> Path:
    """Draw a run's pictures into ``figures/`` of a folder, and write its ``report.html``.

    Args:
        run: with the bounds of its test split in ``run.summary``.
        data: what it was trained on.
        folder: where pictures and page go; made if it is not there.
        metrics: the rows of ``metrics.jsonl``.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    book = _Book(run, data, folder)
    for draw in (_samples, _reconstructions, _map, _posteriors, _interpolations, _traversals, _factors, _kl, _aggregate,
                 _curves):  # fmt: skip
        draw(book, metrics)
    summary = run.summary
    return write_report(
        folder,
        f"taut: {data.reading.name} — {_kind(run)}",
        key_numbers(summary),
        [*_codes(summary), *_draws(summary), Table("The run", ("", ""), _facts(run, data))],
        book.pictures,
        book.notes,
        lead=f"{data.what()}: {run.experiment.model.likelihood.in_words(run.reading.support)}; {data.splits()}",
        config=write_yaml(to_tree(run.experiment)),
        commands=_commands(run, folder),
    )


class _Book:
    """What the pictures of one run share: data, canvas, codes; and the pictures and notes gathered so far."""

    def __init__(self, run: Run, data: Dataset, folder: Path) -> None:
        self.run, self.data, self.folder = run, data, folder
        self.canvas, self.space = Canvas.of(data), Space.of(data)
        self.names = data.reading.titles
        self.pictures: list[tuple[Path, str, str]] = []
        self.variables = run.variables
        self.latents = len(self.variables)
        blocks = (size // layer.q.block for layer, size in zip(run.vae.layers, run.sizes, strict=True))
        self.layers = [i for i, count in enumerate(blocks, 1) for _ in range(count)]  # of each latent, from the top
        self.proper = run.summary.get("elbo") is not None
        self.standard = standard(run)
        test = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))
        self.shown = test.numpy()  # the order in which test examples are chosen to be shown
        self.split, self.whose = on_the_map(data)
        self.codes = run.encode(self.split) if self.latents else np.zeros((len(self.split), 0), np.float32)
        kl = np.asarray(run.summary.get("kl_per_dim") or [], dtype=np.float64)
        self.kl = kl if self.proper and len(kl) == self.latents else None
        active = run.summary.get("active_per_dim") or []
        self.active = active if len(active) == self.latents else None
        self.notes = _notes(self)

    def add(self, name: str, picture: Any, title: str, caption: str) -> None:
        """Keep a picture as figures/NAME.png and show it on the page."""
        path = Path("figures") / f"{name}.png"
        figures.save(picture, self.folder / path)
        self.pictures.append((path, title, caption))

    def test(self, count: int) -> Split:
        """So many test examples, or all there are."""
        return self.data.test.take(torch.as_tensor(self.shown[:count]))


def standard(run: Run) -> bool:
    """Whether the prior of every layer is N(0, I)."""
    return all(isinstance(layer.prior, StandardNormal) for layer in run.experiment.model.layers)


def on_the_map(data: Dataset) -> tuple[Split, str]:
    """The examples whose codes are drawn on a map, none of them trained on, and which they are in words."""
    test, valid, words = data.test, data.valid, "test"
    if len(test) < FEW:
        both = zip(valid.parts, test.parts, strict=True)
        test = Split(*(None if a is None or b is None else torch.cat([a, b]) for a, b in both))
        words = "validation and test"
    return test.take(slice(CODES)), words


def _samples(book: _Book, metrics: Sequence[dict]) -> None:
    if not book.proper and book.latents:
        return
    run, canvas = book.run, book.canvas
    pool = np.sort(np.random.default_rng(1).permutation(len(book.data.seen))[:COMPARED])
    training = book.space.still(book.data.seen, pool)
    if not canvas.image and not canvas.signal:
        drawn = run.sample(max(1000, min(len(training), CODES)), seed=0, condition=run.usual)
        picture = figures.samples(canvas.draw(drawn), None, None, "vector", data=training[:CODES], names=book.names)
        caption = "Each column of the training data, and of draws: z from the prior p(z), then x from p(x|z)."
        return book.add("samples", picture, "New data from the prior", caption)
    drawn = run.sample(
        3 * canvas.across(120) if canvas.image else 9, seed=0, means=bool(book.latents), condition=run.usual
    )
    where, distances = nearest(book.space.points(drawn), book.space.points(training))
    picture = figures.samples(
        canvas.draw(drawn), canvas.draw(training[where.numpy()]), distances.numpy(), **canvas.style, names=book.names
    )
    among = "all" if len(pool) == len(book.data.train) else f"{len(pool):,}"
    caption = (
        f"{_drawn(book)} With each, the nearest of {among} training examples (distance in {book.space.unit}): "
        "a sample that equals its neighbour would be a copy."
    )
    book.add(
        "samples",
        picture,
        f"New data{' from the prior' if book.latents else ''}, and the nearest training examples",
        caption,
    )


def _drawn(book: _Book) -> str:
    """What new data are, in words."""
    if not book.latents:
        return "Draws from p(x)."
    if not book.run.averaged:
        return "Draws of z from the prior p(z), then of x from p(x|z)."
    return "Draws of z from the prior p(z), decoded: shown are means of p(x|z), which are smoother than draws of x."


def _reconstructions(book: _Book, metrics: Sequence[dict]) -> None:
    if not book.latents:
        return
    canvas = book.canvas
    some = book.test(3 * canvas.across(96) if canvas.image else 9 if canvas.signal else 300)
    x, recon = book.space.still(some), book.run.reconstruct(some)
    picture = figures.reconstructions(canvas.draw(x), canvas.draw(recon), **canvas.style, names=book.names)
    caption = f"Test examples, which the model has not seen, and {book.run.decodings} at the {book.run.centre}s of z."
    if not canvas.image and not canvas.signal:
        caption += " On the diagonal, a column is rebuilt exactly; a level cloud is its mean, kept by no latent."
    book.add("reconstructions", picture, "Reconstructions", caption)


def _map(book: _Book, metrics: Sequence[dict]) -> None:
    if not book.latents:
        return
    seen = plane(book.codes, book.kl if book.codes.shape[1] == book.latents else None)
    labels = None if book.split.labels is None else book.split.labels.numpy()
    picture = figures.latent_map(seen.coordinates, labels, book.data.label_names, seen.axes, circles=book.standard)
    caption = f"{book.run.centre.capitalize()}s of {len(book.codes):,} {book.whose} examples in {seen.description}, "
    caption += "coloured by label." if labels is not None else "which have no labels."
    if book.standard and book.proper:
        caption += " Dashed: the prior N(0, I) at one and two standard deviations."
    elif book.standard:
        caption += " Dashed: N(0, I) at one and two standard deviations, to which nothing ties these codes."
    book.add("latent_map", picture, "Map of the latent space", caption)


def _posteriors(book: _Book, metrics: Sequence[dict]) -> None:
    exact = book.run.summary.get("exactness", "exact") == "exact"
    if not 0 < book.latents <= MOST or not book.proper or not book.run.real or not exact:
        return
    subject = book.run.subject(book.data)
    picture, caption = exact_posteriors(book.run, subject, subject.some(POSTERIORS), POSTERIORS)
    book.add("posteriors", picture, "What the data say of z, and what q says", caption)


def _interpolations(book: _Book, metrics: Sequence[dict]) -> None:
    if not book.latents or len(book.data.test) < 2:
        return
    canvas, some = book.canvas, book.test(200)
    pairs = np.array(_pairs(some, PATHS))
    codes = book.run.encode(some)
    rows = np.stack(
        [canvas.draw(book.run.decode(interpolate(codes[i], codes[j], STEPS), _told(some, i))) for i, j in pairs]
    )
    ends = canvas.draw(book.space.still(some, pairs.ravel()))
    ends = ends.reshape(len(pairs), 2, *ends.shape[1:])
    caption = (
        f"On straight lines between the {book.run.centre}s of two test examples, in equal steps: {book.run.decodings}."
    )
    caption += "" if book.run.real else f" Codes are {BROUGHT}."
    picture = figures.interpolations(rows, **canvas.style, ends=ends, names=book.names)
    book.add("interpolations", picture, "Between two examples", caption)


def _told(split: Split, i: int) -> torch.Tensor | None:
    """What an example is conditioned on."""
    return None if split.condition is None else split.condition[i : i + 1]


def _pairs(split: Split, count: int) -> list[tuple[int, int]]:
    """Pairs of examples, of two classes where there are any."""
    pairs = []
    labels = None if split.labels is None else split.labels.tolist()
    free = list(range(len(split)))
    while len(free) > 1 and len(pairs) < count:
        i = free.pop(0)
        other = next((j for j in free if labels is None or labels[j] != labels[i]), free[0])
        free.remove(other)
        pairs.append((i, other))
    return pairs


def _traversals(book: _Book, metrics: Sequence[dict]) -> None:
    if not book.latents:
        return
    canvas, run = book.canvas, book.run
    spread = np.sqrt(np.add.reduceat(book.codes.var(0), [variable.start for variable in book.variables]))
    worth = book.kl if book.kl is not None else spread
    chosen = [d for d in np.argsort(-worth, kind="stable")[:MOVED].tolist() if worth[d] > INFORMATIVE]
    if not chosen:
        book.notes.append("No latent dimension says anything about x, so none is traversed")
        return
    some = book.test(201)
    codes = book.run.encode(some)
    # a code of middling length: neither the blandest nor the oddest of examples
    middling = int(np.argsort(np.linalg.norm(codes, axis=1), kind="stable")[len(codes) // 2])
    told = _told(some, middling)
    center = codes[middling]
    center = run.seen_from_prior(center[None], told)[0] if book.proper else center
    moved = [book.variables[i] for i in chosen]
    places = min(variable.places(PLACES) for variable in moved)
    courses = [variable.course(variable.reach, places) for variable in moved]
    where, values = [values for values, _ in courses], np.stack([marks for _, marks in courses])
    if not book.proper:
        means = book.codes.mean(0)
        where = [
            means[variable.start] + spread[i] * way if variable.values is None and variable.real else way
            for i, variable, way in zip(chosen, moved, where, strict=True)
        ]
    words = _moves(book, moved, places)
    ways = [traverse(center, variable.start, way) for variable, way in zip(moved, where, strict=True)]
    ways = [run.placed_by_prior(way, told) for way in ways] if book.proper else ways
    rows = np.stack([canvas.draw(run.decode(way, told)) for way in ways])
    kl = book.kl[chosen].tolist() if book.kl is not None else None
    picture = figures.traversals(
        rows, values, [book.run.latent_names[i] for i in chosen], kl=kl, **canvas.style, names=book.names
    )
    order = "the most informative by KL(q‖p)" if kl is not None else "those along which the codes vary most"
    caption = f"One latent at a time {words}, while the others stay at the code of one test example; {order}."
    caption += " Layers are counted from the top." if len(book.run.vae.layers) > 1 else ""
    caption += (
        "" if all(variable.real or variable.values is not None for variable in moved) else f" Codes are {BROUGHT}."
    )
    book.add("traversals", picture, "What single dimensions do", caption)


def _moves(book: _Book, moved: Sequence[Variable], places: int) -> str:
    """What latents do that are moved, in words; those that are one of several values apart from those that are numbers."""
    several = [variable.values for variable in moved if variable.values is not None]
    words = f"takes {'all' if all(places == len(values) for values in several) else places} of its values"
    free = [variable for variable in moved if variable.values is None]
    if not free:
        return words
    if not free[0].real:
        way = "is set to values from −1 to 1"
    elif not book.proper:
        way = "goes from −3 to 3 standard deviations of the codes about their mean"
    elif book.standard:
        way = "takes values from −3 to 3, where the prior has its mass"
    else:
        way = "goes from −3 to 3 deviations of its prior about its prior's mean, which the layers above it may move"
    return f"{way} or, where it is one of several values, {words}" if several else way


def _factors(book: _Book, metrics: Sequence[dict]) -> None:
    shares = ((book.run.summary.get("quality") or {}).get("mig") or {}).get("shares")
    if not shares:
        return
    caption = (
        "The share of each factor, in percent of its entropy, that a single latent tells: mutual information of the "
        "factor and a draw from the posterior, over the test examples. Latents that tell little are left out, and numbers "
        "below 5. Where each factor has one dark field in a column of its own, latents stand for factors."
    )
    book.add("factors", figures.factor_matrix(shares), "What single dimensions tell of the factors", caption)


def _codes(summary: dict[str, Any]) -> list[Table]:
    """What the codes are good for; nothing where the data bring neither labels nor factors."""
    found = summary.get("quality") or {}
    rows = [
        (name, f"{value} {error} {unit}".strip(), text)
        for name, value, error, unit, text in in_words(found, summary.get("rate"))
    ]
    if not rows:
        return []
    note = "Measured on test examples. No label and no factor had a part in training the model."
    return [Table("The codes", ("", "", ""), rows, note), *_of_factors(found)]


def _draws(summary: dict[str, Any]) -> list[Table]:
    """Whether draws are new, true and varied."""
    found = summary.get("draws") or {}
    rows = [(name, f"{value} {error} {unit}".strip(), text) for name, value, error, unit, text in draws.in_words(found)]
    if not rows:
        return []
    note = (
        f"Of {found['n']:,} draws of x and as many test examples, by the {found['neighbours']} nearest neighbours. In brackets "
        "what unseen examples reach in place of draws. A copy lies less than half as far from a training example as that "
        "one's own nearest fellow."
    )
    return [Table("The draws", ("", "", ""), rows, note)]


def _of_factors(found: dict[str, Any]) -> list[Table]:
    """For each factor the latent that tells most of it, and how well all do together."""
    shares = found.get("mig", {}).get("shares")
    if not shares:
        return []
    gaps, told = found["mig"]["factors"], found["dci"].get("factors", {})
    rows = [
        (name, f"z{int(np.argmax(share))}", f"{max(share):.0%}", _share(gaps[name]), _share(told.get(name)))
        for name, share in shares.items()
    ]
    note = (
        "Of each factor: the latent that tells most, the share of the factor's entropy that it tells, by how much it is "
        "ahead of the next latent (the mean of this is MIG), and the share of the error in guessing the factor that all "
        "latents together take away (informativeness)."
    )
    return [Table("The factors", ("", "latent", "tells", "ahead by", "told by all"), rows, note)]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _kl(book: _Book, metrics: Sequence[dict]) -> None:
    layers = book.run.summary.get("kl_per_layer") or []
    each = f" By layer, top first: {', '.join(f'{kl:.1f}' for kl in layers)} nats." if len(layers) > 1 else ""
    if book.kl is None and book.proper and each:
        caption = "KL(q‖p) of each layer, mean over the test examples: not of every layer does it come apart." + each
        picture = figures.kl_bars(layers, layers=range(1, len(layers) + 1), what="layer")
        book.add("kl", picture, "Where the rate goes", caption)
    if book.kl is None or not book.latents:
        return
    caption = "KL(q‖p) of each dimension, mean over the test examples."
    if book.active is not None:
        caption += (
            " Pale: not active, so that q's mean, seen from the prior's, varies with x by less than a tenth of the prior's "
            "deviation."
        )
    book.add("kl", figures.kl_bars(book.kl, book.active, book.layers), "Where the rate goes", caption + each)


def _aggregate(book: _Book, metrics: Sequence[dict]) -> None:
    if book.kl is None or not book.latents or not book.run.real:
        return
    chosen = np.argsort(-book.kl, kind="stable")[:MOVED]
    drawn = book.run.encode(book.split, sample=True)[:, chosen]
    prior = book.run.draw_codes(4 * CODES, condition=book.run.usual)[:, chosen]
    names = [book.run.latent_names[i] for i in chosen]
    picture = figures.vector_marginals(prior, drawn, names, ("prior", "aggregate posterior"))
    caption = (
        f"Draws from the posteriors of {len(drawn):,} {book.whose} examples, all together, and draws from the prior, "
        "along the latents that say most. Where the two differ, draws from the prior meet codes that no example has."
    )
    if held := (book.run.summary.get("aggregate") or {}).get("mismatch"):
        caption += (
            f" The difference, KL(q(z) ‖ p(z)), costs {max(0, held['low']):.1f} to {held['high']:.1f} nats of the rate."
        )
    book.add("aggregate", picture, "The aggregate posterior and the prior", caption)


def _curves(book: _Book, metrics: Sequence[dict]) -> None:
    if not metrics:
        return
    caption = "Nats per example, on validation data"
    caption += (
        " with one sample of z; the ELBO is always at β = 1."
        if book.latents
        else "; without latents the ELBO is log p(x)."
        if book.run.experiment.model.exactness == "exact"
        else ", of draws of times and noise anew at each; the ELBO is a lower bound of log p(x)."
    )
    book.add("curves", figures.curves(metrics), "Training", caption)


def _notes(book: _Book) -> list[str]:
    """What a reader must know before the numbers."""
    data, reading, summary = book.data, book.data.reading, book.run.summary
    notes = list(data.notes())
    if reading.binarize == "dynamic":
        notes.append("Binarised anew each time an example is used; pictures of data show the grey values")
    elif reading.binarize != "none":
        notes.append(f"Binarised once ({reading.binarize}); all numbers are of the binary data")
    if book.run.vae.dequantise:
        notes.append(
            "Whole numbers were dequantised: uniform noise in [0, 1) was added, so that the bounds are of the whole "
            "numbers' probability"
        )
    if not book.latents:
        notes.append(
            "The model has no latents: there is nothing to encode, so reconstructions, map, ways between examples and "
            "traversals are left out"
        )
    elif not book.proper:
        notes.append(
            "The posterior is a point: the model is an autoencoder with no distribution of codes to draw from, so "
            "samples and the KL of each dimension are left out"
        )
    active = summary.get("active_units")
    if book.proper and book.latents >= 4 and active is not None and active < book.latents / 4:
        notes.append(
            f"Only {active} of {book.latents} latent dimensions are in use; the others have collapsed to the prior. "
            f"That does no harm where the data need no more; if reconstructions lack detail: {remedies(book.run.experiment)}"
        )
    best, steps = summary.get("best_step"), summary.get("steps")
    if steps and 2 * summary.get("skipped", 0) > steps:
        notes.append(idleness(summary["skipped"], steps, book.run.experiment))
    if best and steps and best < steps / 2:
        notes.append(
            f"The best weights on validation data are those of step {best:,} of {steps:,}, and they were kept; from "
            "there on the model only got to know its training examples by heart"
        )
    return [note if note.endswith(".") else note + "." for note in notes]


def _kind(run: Run) -> str:
    latents = len(run.variables)
    if not latents:
        return "a model without latents"
    name = "autoencoder" if run.summary.get("elbo") is None else "variational autoencoder"
    return f"{name} with {latents} latent dimension{'s'[: latents != 1]}"


def _facts(run: Run, data: Dataset) -> list[tuple[str, str]]:
    """How the run was made, in words."""
    summary = run.summary
    parameters = sum(p.numel() for p in run.vae.parameters())
    rows = [("Parameters", f"{parameters:,}")]
    if summary.get("steps") is not None:
        length = f"{summary['steps']:,} steps"
        if summary.get("epochs") is not None:
            length += f", {summary['epochs']:,.4g} epochs"
        rows.append(("Training", length))
    if summary.get("skipped"):
        rows.append(("Steps left out", f"{summary['skipped']:,}, their gradients larger than training.skip"))
    if summary.get("best_step") is not None:
        rows.append(("Weights kept", f"of step {summary['best_step']:,}, the best on validation data"))
    if summary.get("seconds") is not None:
        rows.append(("Training took", _time(summary["seconds"])))
    counts = ", ".join(f"{data.record['counts'][part]:,} {part}" for part in data.record["counts"])
    return [*rows, ("Seed", str(run.experiment.seed)), ("Examples", counts), ("Hash of the data", data.hash)]


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{seconds:.1f} s" if seconds < 60 else f"{minutes} min {rest} s"


def _commands(run: Run, folder: Path) -> list[tuple[str, str]]:
    place = os.fspath(folder)
    always = [
        (f"taut evaluate {place} --samples 1000", "A tighter bound"),
        (f"taut sample {place} -n 64 -o samples.png", "More new data"),
    ]
    coded = [
        (f"taut interpolate {place} 3 14 -o between.png", "Between two test examples of your choice"),
        (f"taut traverse {place} -o traverse.png", "What single dimensions do"),
    ]
    return always + coded if run.vae.layers else always
