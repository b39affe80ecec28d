"""The codes of a run's test examples with all that a map says of them: kept in a file, and read from it without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from taut.errors import InputError
from taut.explore.maps import Plane, plane

if TYPE_CHECKING:
    from taut.data import Split
    from taut.runs import Run

__all__ = ["Atlas", "Sheet", "charted", "fingerprint", "read_atlas"]

KINDS = 10  # as many colours as there are
ROOM = 40_000_000  # numbers of codes that are kept: 70,000 examples of 570 latents


@dataclass(frozen=True)
class Sheet:
    """What is known of a layer's latents.

    Attributes:
        size: how many columns of a code.
        prior: the name of its prior.
        standard: whether that is N(0, I).
    """

    size: int
    prior: str
    standard: bool


@dataclass(frozen=True)
class Atlas:
    """Codes and their labels.

    Attributes:
        codes: (N, latents) float32, posterior centres of the first N test examples, layers side by side.
        labels: (N,) int16 by which points are coloured, −1 where there is none; or none at all.
        names: of the labels, or none.
        by: what they are: ``label``, or the name of a column.
        sheets: a layer each, top first.
        examples: how many test examples there are.
        centre: what a code is of a posterior, in words.
        kl: (latents,) mean KL of each in nats, or none.
    """

    codes: np.ndarray
    labels: np.ndarray | None
    names: list[str] | None
    by: str
    sheets: list[Sheet]
    examples: int
    centre: str
    kl: list[float] | None

    def columns(self, layer: int) -> slice:
        """The columns of a layer.

        Raises:
            InputError: where there is no such layer.
        """
        sizes = [sheet.size for sheet in self.sheets]
        if not sizes:
            raise InputError("model.layers", "is empty, so the run has no latents and no map", "look at samples")
        if layer >= len(sizes):
            raise InputError("layer", f"is {layer}", f"give one from 0 to {len(sizes) - 1}")
        return slice(sum(sizes[:layer]), sum(sizes[: layer + 1]))

    def plane(self, layer: int, choice: tuple[int, int] | Literal["principal"] | None = None) -> Plane:
        """The plane in which the codes of a layer are drawn; see :func:`taut.explore.maps.plane`."""
        columns = self.columns(layer)
        of_layer = None if self.kl is None else np.array(self.kl, dtype=float)[columns]
        return plane(self.codes[:, columns], of_layer, choice)

    def content(self) -> bytes:
        """The content of the file that :func:`read_atlas` reads."""
        arrays = {"codes": self.codes} | ({} if self.labels is None else {"labels": self.labels})
        about = {"names": self.names, "by": self.by, "sheets": [asdict(sheet) for sheet in self.sheets],
                 "examples": self.examples, "centre": self.centre, "kl": self.kl}  # fmt: skip
        return save(arrays, {"atlas": json.dumps(about)})


def charted(run: Run, root: str | None = None) -> Atlas:
    """The atlas of a run; of fewer examples than all where their codes would need too much memory.

    Raises:
        InputError: where its data are not to be had.
    """
    from taut.explore.codes import standard_prior

    width = sum(run.sizes)
    split = run.test_split(root)
    some = split.take(slice(max(1, ROOM // max(width, 1))))
    codes = run.encode(some).astype(np.float32, copy=False) if width else np.zeros((len(some), 0), np.float32)
    labels, names, by = _coloured(run, some)
    sheets = [
        Sheet(size, type(layer.prior).__name__, standard_prior(run, i))
        for i, (size, layer) in enumerate(zip(run.sizes, run.experiment.model.layers, strict=True))
    ]
    kl = run.summary.get("kl_per_dim")
    known = kl is not None and len(kl) == width
    return Atlas(codes, labels, names, by, sheets, len(split), run.centre, kl if known else None)


def _coloured(run: Run, split: Split) -> tuple[np.ndarray | None, list[str] | None, str]:
    """The labels of examples, their names, and what they are; of a table without labels, its first column of few kinds."""
    if split.labels is not None:
        return split.labels.numpy().astype(np.int16), run.facts.get("label_names"), "label"
    for column, field in enumerate(run.reading.fields or ()):
        if 2 <= len(field.categories) <= KINDS:
            values = run.reading.restore(split.x)[:, column].astype(np.float64)
            name = (run.reading.columns or ())[column]
            return np.nan_to_num(values, nan=-1).astype(np.int16), list(field.categories), name
    return None, None, ""


def fingerprint(weights: Path, examples: Mapping[str, Any]) -> str:
    """Sixteen letters for the weights in a file and for what the examples are."""
    found = hashlib.sha256(json.dumps(examples, sort_keys=True, default=str).encode())
    with weights.open("rb") as file:
        while block := file.read(2**22):
            found.update(block)
    return found.hexdigest()[:16]


def read_atlas(path: Path) -> Atlas | None:
    """The atlas in a file; none where there is no file, or not a whole one."""
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()["atlas"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
        sheets = [Sheet(int(each["size"]), str(each["prior"]), bool(each["standard"])) for each in about["sheets"]]
        atlas = Atlas(arrays["codes"], arrays.get("labels"), about["names"], str(about["by"]), sheets,
                      int(about["examples"]), str(about["centre"]), about["kl"])  # fmt: skip
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return atlas if _whole(atlas.codes, atlas.labels, sheets, atlas.kl) else None


def _whole(codes: np.ndarray, labels: np.ndarray | None, sheets: Sequence[Sheet], kl: Any) -> bool:
    width = sum(sheet.size for sheet in sheets)
    return (
        codes.ndim == 2 and codes.dtype == np.float32 and codes.shape[1] == width and len(codes) > 0
        and (labels is None or labels.shape == (len(codes),))
        and (kl is None or (isinstance(kl, list) and len(kl) == width))
    )  # fmt: skip
