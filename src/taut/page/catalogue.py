"""Which runs there are below the folders that were named, and what their files say; no model is loaded, nor torch.

What a page is told of a run (``Entry.brief`` in the list, ``Entry.full`` alone) is JSON:

    id          twelve letters that stand for the folder: a page names runs by these alone
    name        the folder, as seen from the one that was named
    data        the name of the data set
    finished    whether the weights of a finished training are there
    elbo, rate, distortion      test split, nats; null where there is none
    active, latents             how many latents are in use, of how many
    modified    when a result or a line of the training was last written, seconds since 1970
    sweep       null, or {id, name, options} of the sweep that it is a point of, and its values
    x           what an example is: "image", "table" (columns have names), "signal" (a row of 16 or more), "vector"

and in full also

    folder      as the user would type it
    config      the resolved configuration, as config.yaml has it
    summary     summary.json, or null
    facts       data.json without the reading: description, notes, label_names, factor_names, …
    reading     how data are read: shape, raw_shape, support, columns, …
    layers      [{part, latents, prior, posterior}], top first, as configured
    failure     null, or why the folder cannot be read
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taut.config import read_yaml
from taut.errors import InputError

__all__ = ["Catalogue", "Entry"]

CONFIG, DATA, METRICS, SUMMARY, WEIGHTS, SWEEP = (
    "config.yaml", "data.json", "metrics.jsonl", "summary.json", "model.safetensors", "sweep.json"
)  # fmt: skip
DEEPEST = 5  # folders below the named ones that are looked through
SIGNAL = 16  # from so many elements on, a row without names is drawn as a line


@dataclass(frozen=True)
class Entry:
    """A run by its folder; every property reads the files anew, so that a training can be followed."""

    id: str
    name: str
    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, plain values."""
        return _kept(self.folder / CONFIG, read_yaml)

    @property
    def data(self) -> dict[str, Any]:
        """data.json: ``reading`` and the facts of the data."""
        return _kept(self.folder / DATA, _json)

    @property
    def summary(self) -> dict[str, Any] | None:
        """The bounds on the test split; None while there are none."""
        with contextlib.suppress(InputError):
            return _kept(self.folder / SUMMARY, _json)
        return None

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """A row for each validation and split, as far as they are written."""
        rows = []
        with contextlib.suppress(OSError):
            for line in (self.folder / METRICS).read_text().splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    break  # a line that is being written
        return rows

    @property
    def finished(self) -> bool:
        """Whether there are weights and a summary."""
        return (self.folder / WEIGHTS).is_file() and (self.folder / SUMMARY).is_file()

    @property
    def sweep(self) -> dict[str, Any] | None:
        """The sweep that this is a point of, with its values."""
        record = self.folder.parent / SWEEP
        if not record.is_file():
            return None
        with contextlib.suppress(InputError, KeyError, TypeError):
            for point in _kept(record, _json)["points"]:
                if point["folder"] == self.folder.name:
                    parent = self.folder.parent
                    return {"id": identity(parent), "name": parent.name, "options": point.get("values") or {}}
        return None

    def brief(self) -> dict[str, Any]:
        """What the list of runs says of it."""
        summary = self.summary or {}
        try:
            reading = self.data["reading"]
            name, x = reading["name"], example_kind(reading)
        except (InputError, KeyError, TypeError):
            name, x = "", "vector"
        times = [path.stat().st_mtime for file in (SUMMARY, METRICS) if (path := self.folder / file).is_file()]
        said = {key: summary.get(key) for key in ("elbo", "rate", "distortion")}
        return {
            "id": self.id, "name": self.name, "data": name, "x": x, "finished": self.finished,
            **said, "active": summary.get("active_units"), "latents": summary.get("latent_dim"),
            "modified": max(times, default=0.0), "sweep": self.sweep,
        }  # fmt: skip

    def full(self) -> dict[str, Any]:
        """All that its files say."""
        try:
            config, facts = self.config, dict(self.data)
            reading = facts.pop("reading")
            layers = [
                {"part": layer["part"], "latents": layer.get("latents"), "prior": _part(layer.get("prior")),
                 "posterior": _part(layer.get("posterior"))}
                for layer in config["model"]["layers"]
            ]  # fmt: skip
        except InputError as error:
            return {**self.brief(), "folder": str(self.folder), "failure": str(error)}
        except (KeyError, TypeError, AttributeError):
            return {**self.brief(), "folder": str(self.folder), "failure": f"{self.folder}: its files are damaged"}
        return {
            **self.brief(), "folder": str(self.folder), "config": config, "summary": self.summary, "facts": facts,
            "reading": reading, "layers": layers, "failure": None,
        }  # fmt: skip


class Catalogue:
    """The runs below some folders; runs that come later are found too.

    Args:
        folders: runs, sweeps, or folders that hold any.

    Raises:
        InputError: where one of them is no folder, or none holds a run.
    """

    roots: list[Path]

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self.roots = [Path(folder) for folder in folders]
        self._found: dict[str, Entry] = {}
        for root in self.roots:
            if not root.is_dir():
                raise InputError(str(root), "is no folder", "give runs that `taut train` made, or a folder of them")
        if not self.entries():
            said = ", ".join(map(str, self.roots))
            raise InputError(said, "holds no run", "train one: taut train digits")

    def entries(self) -> list[Entry]:
        """The runs that are there now, in the order of the folders given and of their names."""
        found: dict[str, Entry] = {}
        for root in self.roots:
            for folder in _runs(root, DEEPEST):
                name = root.resolve().name if folder == root else str(folder.relative_to(root))
                known = identity(folder)
                found.setdefault(known, Entry(known, name, folder))
        self._found = found
        return list(found.values())

    def entry(self, known: str) -> Entry:
        """The run of an id.

        Raises:
            InputError: where there is none such.
        """
        # folders are walked through anew only where the run was not there the last time, or is there no more
        entry = self._found.get(known)
        if entry is None or not (entry.folder / CONFIG).is_file():
            entry = next((each for each in self.entries() if each.id == known), None)
        if entry is not None:
            return entry
        raise InputError("run", f"{known[:40]!r} is none of those that are shown", "reload the page")


def identity(folder: Path) -> str:
    """Twelve letters for a folder: no path can be asked for by them."""
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]


def example_kind(reading: dict[str, Any]) -> str:
    """What an example is, and so how it is drawn: ``image``, ``table``, ``signal`` or ``vector``."""
    if reading["layout"] != "vector":
        return reading["layout"]
    if reading.get("columns"):
        return "table"
    return "signal" if math.prod(reading["raw_shape"]) >= SIGNAL else "vector"


def _runs(folder: Path, deepest: int) -> Iterator[Path]:
    """The run folders from here down; what a link leads to is not looked through."""
    if (folder / CONFIG).is_file() and (folder / DATA).is_file():
        yield folder
        return
    if deepest:
        with contextlib.suppress(OSError):
            for inner in sorted(folder.iterdir(), key=_natural):
                if not inner.name.startswith(".") and inner.is_dir() and not inner.is_symlink():
                    yield from _runs(inner, deepest - 1)


def _natural(path: Path) -> list[str | float]:
    """By the numbers in a name as numbers: β = 3 comes before β = 10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", path.name)
    return [float(part) if i % 2 else part for i, part in enumerate(parts)]


_READ: dict[Path, tuple[tuple[int, int], Any]] = {}


def _kept(path: Path, read: Any) -> Any:
    """The content of a file, read again only when it has changed."""
    try:
        state = path.stat()
    except OSError:
        raise InputError(str(path), "is missing", "give a run that `taut train` made") from None
    stamp = (state.st_mtime_ns, state.st_size)
    if path not in _READ or _READ[path][0] != stamp:
        _READ[path] = (stamp, read(path))
    return _READ[path][1]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(str(path), "is damaged", "restore it from a copy")
    return content


def _part(value: Any) -> str | None:
    return value.get("part") if isinstance(value, dict) else value
