"""The report of a sweep: where its models lie between rate and distortion, their numbers along the option, and a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from taut.config import to_tree, write_yaml
from taut.data import Dataset
from taut.evaluation.tension import Place, beaten
from taut.experiment import Experiment
from taut.report import figures
from taut.report.html import Fact, Table, write_report
from taut.report.tension import Mark, Track, along, rate_distortion

__all__ = ["PICTURE", "columns", "notes", "publish_sweep"]

PICTURE = "rate_distortion.png"
BETA = "objective.beta"


def publish_sweep(record: Mapping[str, Any], data: Dataset, folder: Path, experiment: Experiment) -> Path:
    """Write ``rate_distortion.png``, ``along.png`` and ``report.html`` into a sweep's folder.

    Args:
        record: what ``sweep.json`` says.
        data: what the first point was trained on.
        folder: of the sweep.
        experiment: the first point's.

    Returns:
        The path of the page.
    """
    points = _whole(record)
    pictures = []
    option = _first(record)
    if record["least"] is not None:
        figures.save(rate_distortion(_marks(record), _word(option), record["discrete"]), folder / PICTURE)
        pictures.append((PICTURE, "Rate and distortion", _caption(record)))
    if points:
        figures.save(along(list(_tracks(record)), option), folder / "along.png")
        caption = "Means over the test examples; bars are standard errors over them. The ELBO is always at β = 1."
        pictures.append(("along.png", f"Along {option}", caption))
    header, rows = columns(record)
    return write_report(
        folder,
        f"taut: {record['data']} — a sweep of {' and '.join(record['options'])}",
        _facts(record),
        [
            Table(
                "The points",
                header,
                rows,
                "On the test split. Each point is a run of its own, in the folder of its name.",
            )
        ],
        pictures,
        [*(note + "." for note in data.notes()), *notes(record)],
        lead=f"{data.what()}: {experiment.model.likelihood.in_words(data.reading.support)}; {data.splits()}",
        config=write_yaml(to_tree(experiment)),
        commands=_commands(record, folder),
    )


def _commands(record: Mapping[str, Any], folder: Path) -> list[tuple[str, str]]:
    least = record["least"]
    best = (
        [(f"taut evaluate {os.fspath(folder / least['folder'])} --samples 1000", "A tighter bound of the best")]
        if least
        else []
    )
    return [
        *best,
        (f"taut sample {os.fspath(folder / record['points'][-1]['folder'])} -n 64", "New data from the last"),
    ]


def columns(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The table of a sweep: what heads its columns, and a row for each point."""
    told = any(point["information"] for point in record["points"])
    header = [*(name.rpartition(".")[2] for name in record["options"]), "D", "R", "ELBO", "", "IW", "", "active"]
    header += ["I(x; z)"] if told else []
    header += ["seconds"]
    rows = []
    for point in record["points"]:
        values = [f"{value:g}" for value in point["values"].values()]
        if point["distortion"] is None:
            rows.append([*values, *["–"] * (len(header) - len(values))])
            continue
        iw, units = point["iw"], f"{point['active_units']} of {point['latent_dim']}"
        row = [*values, _nats(point["distortion"]), _nats(point["rate"])]
        for value, error in ((point["elbo"], point["elbo_stderr"]), (iw["value"], iw["stderr"])):
            row += [_nats(value), "" if error is None else f"± {_nats(error)}"]
        row.append(units)
        row += [_between(point["information"])] if told else []
        rows.append([*row, f"{point['seconds']:,.0f}"])
    return header, rows


def _between(information: Mapping[str, float] | None) -> str:
    """The mutual information of a code and x, which is held from two sides."""
    if not information:
        return "–"
    low, high = (f"{max(0.0, information[side]):.1f}" for side in ("low", "high"))
    return low if low == high else f"{low}–{high}"


def notes(record: Mapping[str, Any]) -> list[str]:
    """What a reader must know of a sweep."""
    found = [f"{point['folder']} failed: {point['failure']}." for point in record["points"] if point["failure"]]
    if any(name.startswith("data.") for name in record["options"]):
        found.append("Points differ in their data, so they may be measured on different test examples.")
    if record["warm"]:
        found.append(
            "All but the first of a line start from the weights of the point before, and train for fewer steps."
        )
    for points in _series(record).values():
        placed = [point for point in points if point["elbo"] is not None]
        if BETA not in record["options"] or not placed:
            continue
        betas = [point["beta"] for point in placed]
        for i, (j, by) in beaten([_place(point) for point in placed], betas).items():
            found.append(
                f"{placed[j]['folder']} does better at D + {betas[i]:g} R than the model that was trained for it, by "
                f"{_nats(by)} nats: the latter had too few steps, got stuck, or has learnt its training examples by heart."
            )
    return found


def _facts(record: Mapping[str, Any]) -> dict[str, Fact]:
    names = {"least": "Least R + D", "tightest": f"Least −IW-{record['k']}"}
    hints = {"least": "The data's entropy H is at most this", "tightest": "A tighter bound of H"}
    return {
        names[key]: Fact(
            _nats(record[key]["value"]), f"± {_nats(record[key]['stderr'])} nats", f"{hints[key]}; by {record[key]['folder']}.",
            main=True,
        )
        for key in names if record[key] is not None
    }  # fmt: skip


def _caption(record: Mapping[str, Any]) -> str:
    least = record["least"]
    words = (
        f"Each point is a model; {_whole(record)[0]['n']:,} test examples, bars: the standard error of R + D. R + D is "
        f"−ELBO, and in expectation never below the data's entropy H. The line is the least that was measured, "
        f"{_nats(least['value'])} nats; H lies on it or below. Filled points span what models and mixtures of them can reach; "
        "a mixture of two does at least as well as a hollow one. "
    )
    if record["discrete"]:
        return words + "At R = 0 the code says nothing (autodecoding), at D = 0 everything (autoencoding)."
    return words + "The likelihood is a density, so D has no lower end, and H is a differential entropy."


def _whole(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [point for point in record["points"] if point["distortion"] is not None]


def _place(point: Mapping[str, Any]) -> Place:
    return Place(point["rate"], point["distortion"], point["elbo_stderr"] or 0.0)


def _first(record: Mapping[str, Any]) -> str:
    """The option along which pictures go: β if it is swept, else the first."""
    return BETA if BETA in record["options"] else next(iter(record["options"]))


def _word(option: str) -> str:
    return "β" if option == BETA else option.rpartition(".")[2]


def _series(record: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The points that are there by the value of the other option, if there is one."""
    first = _first(record)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for point in _whole(record):
        other = [f"{_word(name)} = {value:g}" for name, value in point["values"].items() if name != first]
        found.setdefault(" ".join(other), []).append(point)
    return found


def _marks(record: Mapping[str, Any]) -> dict[str, list[Mark]]:
    first = _first(record)
    series = {
        name: [Mark(_place(p), f"{p['values'][first]:g}", first == BETA and p["values"][first] == 1)
               for p in points if p["elbo"] is not None]
        for name, points in _series(record).items()
    }  # fmt: skip
    return {name: marks for name, marks in series.items() if marks}


def _tracks(record: Mapping[str, Any]) -> Iterator[Track]:
    first, series = _first(record), _series(record)

    def lines(number: str, error: str | None = None) -> dict[str, np.ndarray]:
        return {
            name: np.array(sorted((p["values"][first], _found(p, number), _found(p, error) or 0.0) for p in points))
            for name, points in series.items()
        }

    points = _whole(record)
    if all(point["elbo"] is not None for point in points):
        weighed = all(point["iw"]["value"] is not None and point["iw"]["k"] > 1 for point in points)
        bound = lines("iw.value", "iw.stderr") if weighed else None
        title = f"ELBO, and dashed IW-{points[0]['iw']['k']}, nats" if weighed else "ELBO, nats"
        yield Track(title, lines("elbo", "elbo_stderr"), bound)
        yield Track("rate R, nats", lines("rate"))
    yield Track("distortion D, nats", lines("distortion"))
    yield Track("active units", lines("active_units"), whole=True)


def _found(point: Mapping[str, Any], path: str | None) -> Any:
    """A number of a point by its dotted name."""
    value: Any = point
    for key in path.split(".") if path else ():
        value = value[key]
    return value if path else None


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}".replace("-", "−")
