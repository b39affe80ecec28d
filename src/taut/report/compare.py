"""The report of a comparison: an autoencoder and a variational one side by side in one picture, and the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from taut.config import to_tree, write_yaml
from taut.data import Dataset, Split
from taut.evaluation.compare import PLACES, Comparison, Nearness, Side
from taut.evaluation.space import Space
from taut.explore import plane
from taut.report import figures
from taut.report.html import Fact, Table, write_report
from taut.report.publish import Canvas, on_the_map

__all__ = ["publish_comparison"]

SHOWN = 300  # decodings that are handed to the picture, at most

NEARNESS: tuple[tuple[str, str, Callable[[Nearness], str]], ...] = (
    (
        "Told from real data", "the share of draws and validation examples that a nearest-neighbour rule tells apart; "
        "50% is chance, 100% gibberish", lambda near: f"{near.told_apart:.0%}",
    ),
    (
        "Distance to the data", "the median distance to the nearest training example, over that of test examples; 1 is "
        "as near as real data", lambda near: "–" if near.distance is None else f"{near.distance:.2f}",
    ),
    (
        "Coverage of the data", "the share of validation examples that are nearest to one of as many draws; low leaves "
        "out part of the data", lambda near: f"{near.coverage:.0%}",
    ),
)  # fmt: skip


def publish_comparison(comparison: Comparison, data: Dataset, folder: str | Path) -> Path:
    """Write ``figures/comparison.png``, ``comparison.json`` and ``report.html`` into a folder.

    Args:
        comparison: of :func:`taut.evaluation.compare.compare`.
        data: what both models were trained on.
        folder: made if it is not there.

    Returns:
        The path of the page.
    """
    from taut.runs import write_json

    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    write_json(folder / "comparison.json", comparison.to_dict())
    canvas, space = Canvas.of(data), Space.of(data)
    some = Split(data.test.x[comparison.index[:SHOWN]])
    split, whose = on_the_map(data)
    picture = figures.comparison(
        canvas.draw(space.still(some)),
        [_side(side, canvas, some, split) for side in comparison.sides],
        **canvas.style,
        labels=None if split.labels is None else split.labels.numpy(),
        label_names=data.label_names,
    )
    path = Path("figures") / "comparison.png"
    figures.save(picture, folder / path)
    shown = "shown are means of p(x|z)" if canvas.image else "points are means of p(x|z)"
    caption = (
        f"The same networks, trained alike; left without a rate, right with it. {shown[0].upper() + shown[1:]}, the "
        f"numbers are of draws of x. Maps: posterior means of {len(split):,} {whose} examples on their principal axes; "
        "nothing ties the autoencoder's codes to N(0, I)."
    )
    return write_report(
        folder,
        f"taut: {data.reading.name} — autoencoder and variational autoencoder",
        _facts(comparison),
        _tables(comparison),
        [(path, "Side by side", caption)],
        [note + "." for note in data.notes()],
        lead=f"{data.what()}; {data.splits()}",
        config=write_yaml(to_tree(comparison.vae.run.experiment)),
    )


def _side(side: Side, canvas: Canvas, some: Split, split: Split) -> figures.Side:
    codes = side.run.encode(split)
    seen = plane(codes)
    between, drawn = (canvas.draw(side.run.decode(side.places[place][:SHOWN])) for place in ("half_way", "prior"))
    numbers = {
        "distortion, nats: training / test": f"{_nats(side.train_distortion)} / {_nats(side.test_distortion)}",
        "overfitting at the end of training, nats": _nats(side.overfitting_at_end),
        "told from real data by a neighbour rule:": "",
        **{f"   {words}": f"{side.near[place].told_apart:.0%}" for place, words in PLACES.items()},
    }
    recon = canvas.draw(side.run.reconstruct(some))
    return figures.Side(
        side.name, recon, seen.coordinates, between, drawn, numbers, seen.axes, np.array(side.history, dtype=np.float64)
    )


def _nats(value: float) -> str:
    return f"{value:,.1f}".replace("-", "−")


def _facts(comparison: Comparison) -> dict[str, Fact]:
    """What to remember, the autoencoder's number before the other's."""
    a, b = comparison.sides
    real = comparison.data
    return {
        "Draws told from real data": Fact(
            f"{a.near['prior'].told_apart:.0%} | {b.near['prior'].told_apart:.0%}", "",
            "Decoded draws from N(0, I): autoencoder | variational. Chance is 50%; test examples give "
            f"{real.told_apart:.0%}.", main=True,
        ),
        "Half-way points told from data": Fact(
            f"{a.near['half_way'].told_apart:.0%} | {b.near['half_way'].told_apart:.0%}", "",
            "Decoded points half-way between the codes of two test examples.", main=True,
        ),
        "Overfitting": Fact(
            f"{_nats(a.overfitting_at_end)} | {_nats(b.overfitting_at_end)}", "nats",
            "How much worse new data are rebuilt than training data, at the end of training.", main=True,
        ),
    }  # fmt: skip


def _tables(comparison: Comparison) -> list[Table]:
    a, b = comparison.sides
    rows = [("Training data, nats", _nats(a.train_distortion), _nats(b.train_distortion))]
    rows += [("Test data, nats", _nats(a.test_distortion), _nats(b.test_distortion))]
    rows += [("Test − training, nats", _nats(a.overfitting), _nats(b.overfitting))]
    rows += [("The same at the end of training, nats", _nats(a.overfitting_at_end), _nats(b.overfitting_at_end))]
    rows += [("Training data, root mean squared error", _figures(a.train_rmse), _figures(b.train_rmse))]
    rows += [("Test data, root mean squared error", _figures(a.test_rmse), _figures(b.test_rmse))]
    kept = [f"of step {side.run.summary['best_step']:,}" for side in (a, b)]
    rows += [("Weights kept, by validation", *kept)]
    tables = [Table(f"Reconstruction, at the posterior mean (errors in {comparison.unit})", ("", *_names(a, b)), rows)]
    for title, words, text in NEARNESS:
        rows = [("test examples", text(comparison.data), text(comparison.data))]
        rows += [(what, text(a.near[place]), text(b.near[place])) for place, what in PLACES.items()]
        tables.append(Table(f"{title}: {words}", ("Draws of x decoded from", *_names(a, b)), rows))
    return tables


def _names(*sides: Side) -> Sequence[str]:
    return [side.name for side in sides]


def _figures(value: float) -> str:
    return f"{value:.3g}"
