"""Which points a sweep has: the numbers given for options, and the experiment that each combination of them makes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from taut.api import overridden
from taut.config import parse, to_tree
from taut.data import Data, Dataset, open_data
from taut.errors import InputError
from taut.experiment import Experiment, build, resolve
from taut.objectives import Constant

__all__ = ["Plan", "Point", "Shelf", "lay_out", "split"]

WARM = 0.25
"""The share of the steps that a point takes which starts from another one's weights."""

Number = int | float


@dataclass(frozen=True)
class Point:
    """One model of a sweep.

    Attributes:
        values: of the options that are swept.
        experiment: resolved; where the weights come from is not in it yet, as they are still to be trained.
        after: the point from whose weights it starts, by its place in the plan.
    """

    values: dict[str, Number]
    experiment: Experiment
    after: int | None = None

    @property
    def name(self) -> str:
        """What it is called, and its folder: ``objective.beta=0.1``, or ``objective.beta=1,model.latents=4``."""
        return ",".join(f"{option}={written(value)}" for option, value in self.values.items())


def written(value: Number) -> str:
    """A number as a person writes it, short and without loss.

    >>> [written(value) for value in (0.1, 10.0, 3, 1e-05, 1 / 3)]
    ['0.1', '10', '3', '1e-05', '0.3333333333333333']
    """
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


class Shelf:
    """Data sets that are opened once for all points in a row that ask for the same.

    Args:
        spec, data: what is open already.
    """

    def __init__(self, spec: Data | None = None, data: Dataset | None = None) -> None:
        self._spec, self._data = spec, data

    def open(self, spec: Data) -> Dataset:
        """The data of a configuration."""
        if spec != self._spec:
            self._spec, self._data = spec, open_data(spec)
        return self._data


@dataclass(frozen=True)
class Plan:
    """A sweep before it is run.

    Attributes:
        base: the configuration of all that is not swept, as a tree; it holds the first values of what is.
        options: the values of what is swept, in the order given.
        points: all combinations, the first option's values following each other fastest.
        data: of the first point.
    """

    base: dict[str, Any]
    options: dict[str, tuple[Number, ...]]
    points: tuple[Point, ...]
    data: Dataset = field(repr=False)

    @property
    def warm(self) -> bool:
        """Whether points start from others' weights."""
        return any(point.after is not None for point in self.points)

    @property
    def chains(self) -> int:
        """How many points could be trained at once."""
        return sum(point.after is None for point in self.points)


def split(
    tree: Mapping[str, Any], given: Mapping[str, str], trust: Iterable[str] = ()
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Tell the options that are swept from those that are not.

    An option is swept where its text is a list with commas that is no value of its own, and its value is a number. So a list
    for an option of lists, ``--model.network.hidden 200,200``, is its value.

    Args:
        tree: a configuration, without the options.
        given: options by dotted name, as text.
        trust: modules whose parts may be named.

    Returns:
        The configuration with all options that have one value, and the texts of the values of the others.

    Raises:
        InputError: where an option is unknown, names several parts or words, or none has several values.
    """
    base = overridden(tree, {name: text for name, text in given.items() if "," not in text})
    swept: dict[str, tuple[str, ...]] = {}
    lists: dict[str, str] = {}
    for name, text in given.items():
        if "," not in text:
            continue
        if _is_value(base, name, text, trust):
            lists[name] = text
        else:
            swept[name] = _numbers(base, name, text, trust)
    if not swept:
        own = "".join(f", and {text} is one value of {name}" for name, text in lists.items())
        raise InputError("taut sweep", f"no option has several values to sweep{own}",
                         "say which to sweep and where, such as --objective.beta 0.1,0.3,1,3,10")  # fmt: skip
    if len(swept) > 2:
        raise InputError(f"--{list(swept)[2]}", f"is the third option that is swept, after {' and '.join(list(swept)[:2])}",
                         "sweep one or two at a time")  # fmt: skip
    if "training.minutes" in swept:
        raise InputError("training.minutes", "goes by the clock, so its points could not be trained again to the same weights",
                         "sweep training.steps or training.epochs")  # fmt: skip
    return overridden(base, lists), swept


def _is_value(base: Mapping[str, Any], name: str, text: str, trust: Iterable[str]) -> bool:
    try:
        parse(Experiment, overridden(base, {name: text}), trust=trust)
    except InputError:
        return False
    return True


def _numbers(base: Mapping[str, Any], name: str, text: str, trust: Iterable[str]) -> tuple[str, ...]:
    """The pieces of a list of numbers."""
    pieces = tuple(piece.strip() for piece in text.split(","))
    if "" in pieces:
        raise InputError(name, f"is {text!r}, where a number is missing", f"give numbers, such as --{name} 1,2,3")
    for piece in pieces:
        value = _value(parse(Experiment, overridden(base, {name: piece}), trust=trust), name)
        if isinstance(value, bool) or not isinstance(value, Number):
            raise InputError(name, f"is {text!r}, and {piece} is no number; a sweep is over numbers",
                             "give one, and run a sweep for each")  # fmt: skip
    return pieces


def _value(experiment: Experiment, name: str) -> Any:
    return functools.reduce(getattr, name.split("."), experiment)


def lay_out(
    base: Mapping[str, Any],
    swept: Mapping[str, Sequence[Any]],
    warm: bool = False,
    trust: Iterable[str] = (),
) -> Plan:
    """All points of a sweep, resolved, so that whatever is refused is refused before the first is trained.

    A length in minutes is measured once and frozen into a number of steps for all.

    Args:
        base: the configuration of all that is not swept, as a tree.
        swept: the values of the options that are, one or two.
        warm: let each point along the first option start from the weights of the one before; it then trains for a quarter of
            the steps, with its β from the first on.
        trust: modules whose parts may be named.

    Raises:
        InputError: for any point that cannot be trained, or that cannot start from the one before.
    """
    shelf, names = Shelf(), list(swept)
    combinations = [dict(zip(names, reversed(each), strict=True))
                    for each in itertools.product(*(swept[name] for name in reversed(names)))]  # fmt: skip
    first = parse(Experiment, overridden(base, combinations[0]), trust=trust)
    if first.training.minutes is not None and first.training.steps is None:
        steps = resolve(first, shelf.open(first.data)).training.steps
        first = replace(first, training=replace(first.training, minutes=None, steps=steps))
    base = to_tree(first)
    data = shelf.open(first.data)
    points: list[Point] = []
    for i, combination in enumerate(combinations):
        experiment = parse(Experiment, overridden(base, combination), trust=trust)
        values = {name: _value(experiment, name) for name in names}
        if values in [point.values for point in points]:
            raise InputError(
                names[0], f"{', '.join(map(written, values.values()))} is given twice", "give each value once"
            )
        after = i - 1 if warm and i % len(swept[names[0]]) else None
        resolved = resolve(experiment, shelf.open(experiment.data))
        point = Point(values, resolved if after is None else _warmed(resolved), after)
        if after is not None:
            _require_fit(points[after], point, shelf, experiment.data)
        points.append(point)
    known = to_tree(points[0].experiment)  # with whole paths: it may be gone on with from another folder
    base["data"]["source"], base["training"]["start"] = known["data"]["source"], known["training"]["start"]
    options = {name: tuple(dict.fromkeys(point.values[name] for point in points)) for name in names}
    return Plan(base, options, tuple(points), data)


def _warmed(experiment: Experiment) -> Experiment:
    """The experiment as it goes on from a neighbour's weights: a way up from β = 0 would lead away from them."""
    training = replace(experiment.training, steps=max(1, round(WARM * experiment.training.steps)))
    return replace(experiment, training=training, objective=replace(experiment.objective, schedule=Constant()))


def _require_fit(before: Point, after: Point, shelf: Shelf, spec: Data) -> None:
    """Refuse a point whose weights have not the shapes of the one's that it starts from."""
    shapes = [
        {name: tensor.shape for name, tensor in build(point.experiment, shelf.open(spec)).state_dict().items()}
        for point in (before, after)
    ]
    if shapes[0] != shapes[1]:
        raise InputError("--warm", f"the weights of {before.name} do not fit {after.name}", "leave it out")
