"""Questions on codes: the map, decoding, what is near, ways between, draws."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from taut.errors import InputError
from taut.page.answers.base import Question, Reply, choice, condition, number, numbers, text, truth, whole, wholes

if TYPE_CHECKING:
    from taut.explore import Plane
    from taut.explore.atlas import Atlas
    from taut.page.desk import Desk

__all__ = [
    "Between",
    "Decode",
    "Detail",
    "Draw",
    "Examples",
    "Grid",
    "Kept",
    "Look",
    "Map",
    "Model",
    "Prior",
    "Read",
    "Resample",
    "Sample",
]

LARGEST = 100_000  # numbers of codes in one question
ROWS = 400  # pictures in one answer
UPLOAD = 6_000_000  # characters of a picture's file in base64
SEEDS = 2**31 - 1


@dataclass(frozen=True)
class Model(Question):
    """What only the loaded model can say: its latents one by one, and in words what codes and decodings are."""

    kind: ClassVar[str] = "model"

    def answer(self, desk: Desk) -> Reply:
        from taut.explore import standard_prior, usual_norm

        run, kl = desk.run, desk.run.summary.get("kl_per_dim")
        layers, arrays, start, first = [], {}, 0, 0
        for i, (layer, spec, size) in enumerate(
            zip(run.vae.layers, run.experiment.model.layers, run.sizes, strict=True)
        ):
            values = layer.q.values
            if values is not None:
                arrays[f"values{i}"] = values.detach().cpu().numpy()
            count = size // layer.q.block
            layers.append({
                "start": start, "size": size, "block": layer.q.block, "variables": count, "first": first,
                "choices": None if values is None else len(values), "standard": standard_prior(run, i),
                "prior": type(spec.prior).__name__, "posterior": type(spec.posterior).__name__,
                "event": list(layer.event),
            })  # fmt: skip
            start, first = start + size, first + count
        known = kl is not None and len(kl) == first
        return Reply(
            {
                "layers": layers, "latents": start, "real": run.real, "reach": run.reach, "averaged": run.averaged,
                "decodings": run.decodings, "centre": run.centre, "kl": kl if known else None,
                "active": run.summary.get("active_units"), "usual": usual_norm(start),
            },
            arrays,
        )  # fmt: skip


@dataclass(frozen=True)
class Map(Question):
    """The test examples in a plane of the codes of a layer, with their labels."""

    kind: ClassVar[str] = "map"
    plane: str = choice("auto", "principal", default="auto")
    dims: tuple[int, ...] = wholes(2, 0, 10**6, least=0, default=())
    layer: int = whole(0, 10**4, default=0)

    def answer(self, desk: Desk) -> Reply:
        return _drawn(desk, desk.atlas, self)


@dataclass(frozen=True)
class Kept(Map):
    """The same, of the atlas that was kept the last time: there before the model is; ``kept`` says whether there is one."""

    kind: ClassVar[str] = "kept"
    light: ClassVar[bool] = True

    def answer(self, desk: Desk) -> Reply:
        return Reply({"kept": False}) if desk.saved is None else _drawn(desk, desk.saved, self)


@dataclass(frozen=True)
class Prior(Question):
    """Where the prior of the top layer is in the plane, given what the model is told: its middle and its axes at 1σ."""

    kind: ClassVar[str] = "prior"
    plane: str = choice("auto", "principal", default="auto")
    dims: tuple[int, ...] = wholes(2, 0, 10**6, least=0, default=())
    layer: int = whole(0, 10**4, default=0)
    condition: tuple[str | float, ...] = condition()

    def answer(self, desk: Desk) -> Reply:
        from taut.explore.conditions import prior_normal

        seen = _plane(desk, desk.atlas, self)
        found = None if self.layer else prior_normal(desk.run, _told(desk, self.condition))
        if found is None:
            return Reply({"normal": False})
        middle, axes = seen.ellipse(*found)
        return Reply({"normal": True, "middle": middle.tolist(), "axes": axes.tolist()})


@dataclass(frozen=True)
class Look(Question):
    """What the model makes of a point in the plane: the picture, how far out it is, and the example nearest to it."""

    kind: ClassVar[str] = "look"
    at: tuple[float, ...] = numbers(2, least=2)
    plane: str = choice("auto", "principal", default="auto")
    dims: tuple[int, ...] = wholes(2, 0, 10**6, least=0, default=())
    layer: int = whole(0, 10**4, default=0)
    condition: tuple[str | float, ...] = condition()

    def answer(self, desk: Desk) -> Reply:
        from taut.explore import nearest

        told, atlas = _told(desk, self.condition), desk.atlas
        inner = _plane(desk, atlas, self).lift(np.array([self.at]))
        code = _lifted(desk, inner, self.layer, told)
        index, gap = nearest(atlas.codes[:, atlas.columns(self.layer)], inner)
        arrays = {"x": desk.pictures(desk.run.decode(code, told)), "z": code[0].astype(np.float32)}
        return Reply({"distance": float(np.linalg.norm(inner)), "nearest": int(index[0]), "gap": float(gap[0])}, arrays)


@dataclass(frozen=True)
class Grid(Question):
    """Decodings of a square grid of points in the plane, row by row from the top left."""

    kind: ClassVar[str] = "grid"
    low: tuple[float, ...] = numbers(2, least=2)
    high: tuple[float, ...] = numbers(2, least=2)
    size: int = whole(2, 24, default=16)
    plane: str = choice("auto", "principal", default="auto")
    dims: tuple[int, ...] = wholes(2, 0, 10**6, least=0, default=())
    layer: int = whole(0, 10**4, default=0)
    condition: tuple[str | float, ...] = condition()

    def answer(self, desk: Desk) -> Reply:
        told = _told(desk, self.condition)
        across = np.linspace(self.low[0], self.high[0], self.size)
        down = np.linspace(self.high[1], self.low[1], self.size)
        at = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
        codes = _lifted(desk, _plane(desk, desk.atlas, self).lift(at), self.layer, told)
        rows = max(1, min(len(codes), LARGEST // max(codes.shape[1], 1)))
        decoded = [desk.run.decode(codes[i : i + rows], told) for i in range(0, len(codes), rows)]
        return Reply({"size": self.size}, {"x": desk.pictures(np.concatenate(decoded))})


@dataclass(frozen=True)
class Examples(Question):
    """Test examples as they are, with what the model is told of them, and with their codes where asked."""

    kind: ClassVar[str] = "examples"
    index: tuple[int, ...] = wholes(ROWS, 0, 10**9)
    codes: bool = truth(default=False)

    def answer(self, desk: Desk) -> Reply:
        from taut.explore import shown
        from taut.explore.conditions import values_of

        split = desk.test()
        if max(self.index) >= len(split):
            raise InputError(
                "examples.index", f"is {max(self.index)}", f"give rows of the test split, 0 to {len(split) - 1:,}"
            )
        some = split.take(list(self.index))
        arrays = {"x": desk.pictures(shown(desk.run, some))}
        if some.labels is not None:
            arrays["labels"] = some.labels.numpy().astype(np.int16)
        if self.codes:
            arrays["z"] = desk.run.encode(some).astype(np.float32)
        told = values_of(desk.run.reading.conditions, some.condition)
        return Reply({"of": len(split), "labels": desk.run.facts.get("label_names"), "conditions": told}, arrays)


@dataclass(frozen=True)
class Decode(Question):
    """The decodings of codes, one after the other in one row of numbers."""

    kind: ClassVar[str] = "decode"
    z: tuple[float, ...] = numbers(LARGEST)
    condition: tuple[str | float, ...] = condition()

    def answer(self, desk: Desk) -> Reply:
        codes = _codes(desk, "decode.z", self.z)
        placed = codes if desk.run.real else desk.run.place(codes)
        distance = np.linalg.norm(codes, axis=1).tolist()
        return Reply(
            {"distance": distance},
            {"x": desk.pictures(desk.run.decode(codes, _told(desk, self.condition))), "z": placed},
        )


@dataclass(frozen=True)
class Resample(Question):
    """A code with its first layers kept and the others drawn anew, or put where they are expected without a seed."""

    kind: ClassVar[str] = "resample"
    z: tuple[float, ...] = numbers(LARGEST)
    keep: int = whole(0, 10**4)
    seed: int | None = whole(0, SEEDS, default=None)
    condition: tuple[str | float, ...] = condition()

    def answer(self, desk: Desk) -> Reply:
        told = _told(desk, self.condition)
        codes = desk.run.complete(_codes(desk, "resample.z", self.z), self.keep, self.seed, condition=told)
        return Reply({}, {"x": desk.pictures(desk.run.decode(codes, told)), "z": codes})


@dataclass(frozen=True)
class Draw(Question):
    """A code drawn from the prior."""

    kind: ClassVar[str] = "draw"
    seed: int = whole(0, SEEDS)
    condition: tuple[str | float, ...] = condition()

    def answer(self, desk: Desk) -> Reply:
        told = _told(desk, self.condition)
        codes = desk.run.draw_codes(1, self.seed, told)
        return Reply({}, {"x": desk.pictures(desk.run.decode(codes, told)), "z": codes})


@dataclass(frozen=True)
class Between(Question):
    """The way between two codes, decoded."""

    kind: ClassVar[str] = "between"
    a: tuple[float, ...] = numbers(LARGEST)
    b: tuple[float, ...] = numbers(LARGEST)
    steps: int = whole(2, 60, default=10)
    path: str = choice("linear", "spherical", default="linear")
    condition: tuple[str | float, ...] = condition()

    def answer(self, desk: Desk) -> Reply:
        from taut.explore import interpolate

        a, b = (_codes(desk, f"between.{name}", z)[0] for name, z in (("a", self.a), ("b", self.b)))
        codes = interpolate(a, b, self.steps, self.path)
        norms = np.linalg.norm(codes, axis=1).tolist()
        decoded = desk.run.decode(codes, _told(desk, self.condition))
        return Reply({"distance": norms}, {"x": desk.pictures(decoded), "z": codes})


@dataclass(frozen=True)
class Read(Question):
    """A picture's file as an example: resized to the model's shape, its code, and the decoding of that."""

    kind: ClassVar[str] = "read"
    file: str = text(UPLOAD)
    condition: tuple[str | float, ...] = condition()

    def answer(self, desk: Desk) -> Reply:
        from taut.data import Split
        from taut.explore import read_picture
        from taut.explore.conditions import told

        try:
            content = base64.b64decode(self.file, validate=True)
        except (binascii.Error, ValueError):
            raise InputError("read.file", "is no base64", "drop a picture") from None
        x, condition = read_picture(content, desk.run.reading, desk.limits), _told(desk, self.condition)
        codes = desk.run.encode(told(desk.run, Split(desk.run.reading.apply(x)), condition))
        again = desk.pictures(desk.run.decode(codes, condition))
        return Reply({}, {"x": desk.pictures(x), "z": codes, "again": again})


@dataclass(frozen=True)
class Sample(Question):
    """New examples, with a temperature for all layers or one for each; of a model that is told something, as often as in the
    data where nothing is said, or n of each category of the condition ``each``, of the same noise."""

    kind: ClassVar[str] = "sample"
    n: int = whole(1, ROWS, default=36)
    temperature: tuple[float, ...] = numbers(1000, 10.0, default=(1.0,))
    seed: int = whole(0, SEEDS, default=0)
    keep: int = whole(0, 10**4, default=0)
    means: bool = truth(default=True)
    condition: tuple[str | float, ...] = condition()
    each: int | None = whole(0, 100, default=None)

    def answer(self, desk: Desk) -> Reply:
        from taut.explore.conditions import each

        run = desk.run
        if self.each is None:
            rows = {"": _told(desk, self.condition) if self.condition else run.usual}
        else:
            rows = each(run.reading.conditions, self.condition, self.each)
        if len(rows) * self.n > ROWS:
            raise InputError("sample.n", f"is {self.n} for each of {len(rows)}", f"give {ROWS // len(rows)} or fewer")
        x = [run.sample(self.n, self.temperature, self.seed, self.means, self.keep, told) for told in rows.values()]
        means = self.means and run.averaged
        what = "means of p(x|z)" if means else "draws from p(x|z)"
        return Reply({"what": what, "rows": list(rows)}, {"x": desk.pictures(np.concatenate(x))})


@dataclass(frozen=True)
class Detail(Question):
    """Draws as their layers come in from the top: k layers as drawn, what is below where it is expected."""

    kind: ClassVar[str] = "detail"
    n: int = whole(1, 12, default=6)
    seed: int = whole(0, SEEDS, default=0)
    temperature: float = number(0.01, 10.0, default=1.0)
    condition: tuple[str | float, ...] = condition()

    def answer(self, desk: Desk) -> Reply:
        run, count, told = desk.run, len(desk.run.vae.layers), _told(desk, self.condition)
        blank = np.zeros((self.n, sum(run.sizes)), dtype=np.float32)
        drawn = run.complete(blank, 0, self.seed, self.temperature, told)
        depths = sorted({round(k) for k in np.linspace(0, count, min(count + 1, 9))})
        rows = [desk.pictures(run.decode(run.complete(drawn, k, condition=told), told)) for k in depths]
        return Reply({"depths": depths, "n": self.n}, {"x": np.concatenate(rows)})


def _codes(desk: Desk, field: str, z: tuple[float, ...]) -> np.ndarray:
    """Rows of codes (N, latents) of one row of numbers."""
    width = sum(desk.run.sizes)
    if not width:
        raise InputError("model.layers", "is empty, so the run has no latents and no codes", "look at samples")
    if len(z) % width or len(z) // width > ROWS:
        raise InputError(field, f"has {len(z):,} numbers", f"give 1 to {ROWS} codes of {width:,}")
    return np.array(z, dtype=np.float32).reshape(-1, width)


def _told(desk: Desk, condition: tuple[str | float, ...]) -> dict[str, Any] | None:
    from taut.explore.conditions import named

    return named(desk.run.reading.conditions, condition)


def _drawn(desk: Desk, atlas: Atlas, asked: Map) -> Reply:
    """A map of an atlas."""
    seen, sheet = _plane(desk, atlas, asked), atlas.sheets[asked.layer]
    arrays = {"at": seen.coordinates.astype(np.float32)}
    if atlas.labels is not None:
        arrays["labels"] = atlas.labels
    return Reply(
        {
            "kept": True, "description": seen.description, "axes": seen.axes, "n": len(seen.coordinates),
            "of": atlas.examples, "labels": atlas.names, "by": atlas.by, "standard": sheet.standard, "prior": sheet.prior,
            "centre": atlas.centre, "layers": len(atlas.sheets),
        },
        arrays,
    )  # fmt: skip


def _plane(desk: Desk, atlas: Atlas, asked: Map | Prior | Look | Grid) -> Plane:
    """The plane of a question, kept for the next."""
    if len(asked.dims) == 1:
        raise InputError("dims", "is one dimension", "give two, or none")
    name = ("plane", asked.plane, asked.dims, asked.layer)
    if name not in desk.kept:
        chosen = asked.dims or ("principal" if asked.plane == "principal" else None)
        desk.kept[name] = atlas.plane(asked.layer, chosen)
    return desk.kept[name]


def _lifted(desk: Desk, inner: np.ndarray, layer: int, told: dict[str, Any] | None) -> np.ndarray:
    """Codes of a layer (K, size) as codes of all (K, latents): layers above at the mean code, those below as expected."""
    atlas = desk.atlas
    if "mean" not in desk.kept:
        desk.kept["mean"] = atlas.codes.mean(axis=0)
    codes = np.repeat(desk.kept["mean"][None].astype(np.float32), len(inner), axis=0)
    codes[:, atlas.columns(layer)] = inner
    return codes if layer + 1 == len(atlas.sheets) else desk.run.complete(codes, layer + 1, condition=told)
