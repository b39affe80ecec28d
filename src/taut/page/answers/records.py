"""Questions about what is on record: a training, what was measured, a sweep, the runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from taut.page.answers.base import Question, Reply, text, whole

if TYPE_CHECKING:
    from taut.page.desk import Desk

__all__ = ["Beside", "Metrics", "Refusals", "Sweep", "Truth", "Whole"]

SHOWN, CODES = 10, 2000  # examples rebuilt, and codes on a map


@dataclass(frozen=True)
class Metrics(Question):
    """The lines of a training after a place in its journal."""

    kind: ClassVar[str] = "metrics"
    light: ClassVar[bool] = True

    offset: int = whole(0, 2**53, 0)

    def answer(self, desk: Desk) -> Reply:
        from taut.explore.watching import columns, read_from

        entry = desk.entry
        rows, offset, again = read_from(entry.folder / "metrics.jsonl", self.offset)
        training = entry.config.get("training", {})
        objective = entry.config.get("objective", {})
        meta = {
            "offset": offset, "again": again, "finished": entry.finished, "modified": entry.brief()["modified"],
            "steps": training.get("steps"), "beta": objective.get("beta"),
        }  # fmt: skip
        return Reply(meta, columns(rows))


@dataclass(frozen=True)
class Truth(Question):
    """The bounds that were measured of a run."""

    kind: ClassVar[str] = "truth"
    light: ClassVar[bool] = True

    def answer(self, desk: Desk) -> Reply:
        from taut.explore.truth import ladder

        entry = desk.entry
        found = ladder(entry.summary, entry.folder) if entry.finished and entry.summary else {"rungs": []}
        return Reply({"finished": entry.finished, **found})


@dataclass(frozen=True)
class Refusals(Question):
    """Which measures the model refuses, and what would help where its latents have died."""

    kind: ClassVar[str] = "refusals"

    def answer(self, desk: Desk) -> Reply:
        from taut.advice import remedies
        from taut.explore.truth import refusals

        run = desk.run
        helps = remedies(run.experiment).replace("`", "") if run.vae.layers else ""
        return Reply({"refusals": refusals(run.vae), "remedies": helps})


@dataclass(frozen=True)
class Beside(Question):
    """All runs of the page, and which numbers of theirs compare with this run's."""

    kind: ClassVar[str] = "beside"
    light: ClassVar[bool] = True

    def answer(self, desk: Desk) -> Reply:
        from taut.explore.truth import comparable

        entry, others = desk.entry, [other for other in desk.runs if other.summary]
        told = [{"facts": other.data, "summary": other.summary} for other in others]
        reasons = comparable(entry.data, entry.summary or {}, told)
        names = ("elbo", "elbo_stderr", "rate", "distortion", "active_units", "latent_dim", "iw")
        rows = [
            {"id": other.id, "name": other.name, "reason": reason, **{n: other.summary.get(n) for n in names}}
            for other, reason in zip(others, reasons, strict=True)
        ]
        return Reply({"rows": rows})


@dataclass(frozen=True)
class Sweep(Question):
    """The sweep that a run is a point of: every point's numbers, the frontier, and which point another one beats."""

    kind: ClassVar[str] = "sweep"
    light: ClassVar[bool] = True

    def answer(self, desk: Desk) -> Reply:
        from taut.evaluation.tension import Place, beaten, frontier
        from taut.runs import read_json

        path = desk.entry.folder.parent / "sweep.json"
        if not path.is_file():
            return Reply({"points": []})
        record = read_json(path)
        known = {entry.folder.resolve(): entry.id for entry in desk.runs}
        points: list[dict[str, Any]] = [
            {**point, "run": known.get((path.parent / point["folder"]).resolve())}
            for point in record["points"]
            if point["distortion"] is not None
        ]
        placed = [i for i, point in enumerate(points) if point["rate"] is not None]
        places = [Place(points[i]["rate"], points[i]["distortion"], points[i]["elbo_stderr"]) for i in placed]
        lost = beaten(places, [points[i]["beta"] for i in placed])
        head = {key: record[key] for key in ("data", "options", "finished", "least", "discrete")}
        return Reply({
            **head,
            "name": path.parent.name,
            "points": points,
            "frontier": [placed[i] for i in frontier(places)],
            "beaten": [[placed[i], placed[best], by] for i, (best, by) in lost.items()],
        })  # fmt: skip


@dataclass(frozen=True)
class Whole(Question):
    """A point of a sweep in one look: its map, reconstructions and samples."""

    kind: ClassVar[str] = "portrait"

    run: str = text(12)

    def answer(self, desk: Desk) -> Reply:
        from taut.explore.portrait import portrait

        other = desk if self.run == desk.entry.id else desk.other(self.run)
        split = other.test()
        few = split.take(slice(SHOWN))
        codes = other.atlas.codes[:CODES]
        found = portrait(other.run, codes, few)
        arrays = {
            "codes": found.codes.astype(np.float32),
            "x": other.pictures(other.run.reading.restore(few.x)),
            **{name: other.pictures(getattr(found, name)) for name in ("grid", "rebuilt", "samples")},
        }
        if split.labels is not None:
            arrays["labels"] = np.asarray(split.labels[: len(codes)])
        return Reply({"plane": found.plane, "reach": found.reach}, arrays)
