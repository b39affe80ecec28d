"""A sweep's folder.

DIR/sweep.json              what is swept, and of each point its numbers on the test split
    config.yaml             the configuration of all that is not swept, with the first values of what is
    objective.beta=0.1/ …   the points, each an ordinary run folder
    rate_distortion.png  along.png  report.html     to look at
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taut.api import finished
from taut.config import read_yaml, write_yaml
from taut.errors import InputError
from taut.evaluation.tension import Place, least
from taut.folders import SWEEP
from taut.runs import CONFIG, SUMMARY, read_json, write_json
from taut.sweep.plan import Plan, lay_out
from taut.training.checkpoint import write_atomically

__all__ = ["reopen", "write_head", "write_record"]

NUMBERS = ("n", "elbo", "elbo_stderr", "distortion", "rate", "iw", "bits_per_dim", "active_units", "latent_dim",
           "steps", "epochs", "best_step", "seconds", "parameters")  # fmt: skip
"""What a sweep repeats of each point's summary."""


def write_head(folder: Path, plan: Plan, jobs: int) -> None:
    """Write what is known before the first point is trained."""
    said = f"# a sweep of {', '.join(plan.options)}: {plan.data.reading.name}, {len(plan.points)} points\n"
    write_atomically(folder / CONFIG, (said + write_yaml(plan.base)).encode())
    write_record(folder, plan, jobs, {})


def write_record(folder: Path, plan: Plan, jobs: int, failures: Mapping[int, str]) -> dict[str, Any]:
    """Write ``sweep.json`` and return what it says: numbers of the points that are finished, null for the others.

    ``least`` is the least R + D of all points, in nats, and which of them gives it: no model can lie below the entropy of the
    data, so that is at most this. ``tightest`` is the least −IW-k likewise, a tighter bound of it.
    """
    points = []
    for i, point in enumerate(plan.points):
        place = folder / point.name
        summary = read_json(place / SUMMARY) if finished(place) else {}
        objective = point.experiment.objective
        points.append({
            "folder": point.name,
            "values": point.values,
            "start": None if point.after is None else plan.points[point.after].name,
            "beta": objective.beta,
            "failure": failures.get(i),
            **{name: summary.get(name) for name in NUMBERS},
            "information": (summary.get("aggregate") or {}).get("information"),
        })  # fmt: skip
    record = {
        "data": plan.data.reading.name,
        "hash": plan.data.hash,
        "support": str(plan.data.reading.support),
        "discrete": plan.data.reading.support.discrete,
        "options": {name: list(values) for name, values in plan.options.items()},
        "warm": plan.warm,
        "jobs": jobs,
        "finished": all(finished(folder / point.name) for point in plan.points),
        **_bounds(points),
        "points": points,
    }
    write_json(folder / SWEEP, record)
    return record


def _bounds(points: list[dict[str, Any]]) -> dict[str, Any]:
    """What the points say of the entropy of the data, each the least of its kind and the point that gives it."""
    placed = [point for point in points if point["elbo"] is not None]
    weighed = [point for point in placed if point["iw"]["value"] is not None]
    found: dict[str, Any] = {"least": None, "tightest": None, "k": None}
    if placed:
        best = placed[least([Place(point["rate"], point["distortion"]) for point in placed])]
        found["least"] = {
            "value": best["rate"] + best["distortion"],
            "stderr": best["elbo_stderr"],
            "folder": best["folder"],
        }
    if weighed:
        best = max(weighed, key=lambda point: point["iw"]["value"])
        found["tightest"] = {"value": -best["iw"]["value"], "stderr": best["iw"]["stderr"], "folder": best["folder"]}
        found["k"] = best["iw"]["k"]
    return found


def reopen(folder: Path, trust: tuple[str, ...] = ()) -> tuple[Plan, int]:
    """The plan of a sweep that was begun, and how many points it trained at once.

    Raises:
        InputError: where the folder is no sweep, is damaged, or its data have changed.
    """
    if not (folder / SWEEP).is_file():
        raise InputError(str(folder), f"is no sweep ({SWEEP} is missing)", "give a folder that `taut sweep` made")
    record = read_json(folder / SWEEP)
    try:
        warm, jobs, known = (record[key] for key in ("warm", "jobs", "hash"))
        swept = {str(name): list(values) for name, values in record["options"].items()}
    except (AttributeError, KeyError, TypeError):
        raise InputError(str(folder / SWEEP), "is damaged", "restore it from a copy") from None
    plan = lay_out(read_yaml(folder / CONFIG), swept, warm, trust)
    if plan.data.hash != known:
        raise InputError("data", f"have changed since the sweep began (hash {plan.data.hash}, then {known})",
                         "put the old data back, or begin another sweep")  # fmt: skip
    return plan, jobs
