"""The report of a comparison: an autoencoder and a variational one side by side in one picture, and the numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from taut.comparison import PLACES, Comparison, Nearness, Side
from taut.config import to_tree, write_yaml
from taut.data import Dataset, Split
from taut.evaluation.space import Space
from taut.explore import plane
from taut.report import figures
from taut.report.html import Fact, Table, write_report
from taut.report.publish import Canvas, on_the_map, standard

__all__ = ["publish_comparison"]

SHOWN = 300  # decodings that are handed to the picture, at most

NEARNESS: tuple[tuple[str, str, Callable[[Nearness], str]], ...] = (
    (
        "Mismatch with the data",
        "How far the distribution of draws is from that of validation examples: 0% is the same, 100% no better than "
        "the average training example shown again and again (energy distance, without bias: it may fall below zero).",
        lambda near: _percent(near.mismatch),
    ),
    (
        "Coverage of the data",
        "The share of validation examples that are the nearest one to some of as many draws. Real data do not reach "
        "100% either; low is a model that leaves out part of them.",
        lambda near: f"{near.coverage:.0%}",
    ),
    (
        "Distance to the data",
        "The median distance to the nearest training example, over that of test examples. 1 is as near as real data; "
        "of images of many pixels it says little, as all are about as far from one another.",
        lambda near: "–" if near.distance is None else f"{near.distance:.2f}",
    ),
)


def publish_comparison(comparison: Comparison, data: Dataset, folder: str | Path) -> Path:
    """Write ``figures/comparison.png``, ``comparison.json`` and ``report.html`` into a folder.

    Args:
        comparison: of :func:`taut.comparison.compare`.
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
    shown = f"{'shown' if canvas.image else 'points'} are {comparison.vae.run.decodings}"
    caption = (
        f"The same networks, trained alike; left without a rate, right with it. {shown[0].upper() + shown[1:]}, the "
        f"numbers are of draws of x. Maps: codes of {len(split):,} {whose} examples on their principal axes; "
        "nothing ties the autoencoder's codes to N(0, I), which stands in for its prior."
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
        "mismatch of draws of x with the data, 0% is none:": "",
        **{f"   {words}": _percent(side.near[place].mismatch) for place, words in PLACES.items()},
        "data covered by draws from the prior": f"{side.near['prior'].coverage:.0%}",
    }
    recon = canvas.draw(side.run.reconstruct(some))
    history = np.array(side.history, dtype=np.float64)
    circles = standard(side.run)
    return figures.Side(side.name, recon, seen.coordinates, between, drawn, numbers, seen.axes, circles, history)


def _nats(value: float) -> str:
    return f"{value:,.1f}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{value:.1%}".replace("-", "−").replace("−0.0%", "0.0%")


def _facts(comparison: Comparison) -> dict[str, Fact]:
    """What to remember, the autoencoder's number before the other's."""
    a, b = comparison.sides
    real = comparison.data
    return {
        "Draws cover of the data": Fact(
            f"{a.near['prior'].coverage:.0%} | {b.near['prior'].coverage:.0%}", "",
            f"Decoded draws from the prior: autoencoder | variational. Test examples cover {real.coverage:.0%}.",
            main=True,
        ),
        "Mismatch with the data": Fact(
            f"{_percent(a.near['prior'].mismatch)} | {_percent(b.near['prior'].mismatch)}", "",
            "Of the same draws. 0% is the distribution of the data, 100% no better than their average.", main=True,
        ),
        "Overfitting": Fact(
            f"{_nats(a.overfitting_at_end)} | {_nats(b.overfitting_at_end)}", "nats",
            "How much worse new data are rebuilt than training data, at the end of training.", main=True,
        ),
    }  # fmt: skip


def _tables(comparison: Comparison) -> list[Table]:
    sides = comparison.sides
    names = [side.name for side in sides]

    def row(words: str, text: Callable[[Side], str]) -> tuple[str, ...]:
        return words, *map(text, sides)

    rows = [
        row("Training data, nats", lambda side: _nats(side.train_distortion)),
        row("Test data, nats", lambda side: _nats(side.test_distortion)),
        row("Overfitting: test − training, nats", lambda side: _nats(side.overfitting)),
        row("The same at the end of training, nats", lambda side: _nats(side.overfitting_at_end)),
        row("Training data, root mean squared error", lambda side: _figures(side.train_rmse)),
        row("Test data, root mean squared error", lambda side: _figures(side.test_rmse)),
        row("Weights kept", lambda side: f"of step {side.run.summary['best_step']:,}"),
    ]
    note = (
        f"Distortion −log p(x|z) at the {comparison.vae.run.centre} of z, of the weights that did best on validation data, "
        f"and, to show what that choice has spared, at the end of training. Errors are in {comparison.unit}."
    )
    tables = [Table("Reconstruction", ("", *names), rows, note)]
    for title, words, text in NEARNESS:
        rows = [("none: test examples themselves", *[text(comparison.data)] * len(sides))]
        rows += [
            row(what, lambda side, place=place, text=text: text(side.near[place])) for place, what in PLACES.items()
        ]
        tables.append(Table(title, ("Codes decoded", *names), rows, words))
    return tables


def _figures(value: float) -> str:
    return f"{value:.3g}"
