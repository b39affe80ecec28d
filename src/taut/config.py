"""Parts and configurations.

A *part* is a small frozen dataclass: its fields are its configuration, and it builds its module once the data's shape
is known. A *family* (priors, posteriors, likelihoods, …) is an abstract part that its members inherit from. A
configuration is a tree of plain values, as YAML writes it, in which a member of a family is named by the key ``part``::

    model:
      latents: 40
      prior: {part: StandardNormal}     # or just `prior: StandardNormal`

:func:`parse` turns such a tree into parts and answers each mistake with one line; :func:`to_tree` is its inverse.
A name with a dot is a class path outside the package: naming one runs its code, so it is refused unless its module is
trusted by name.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import reprlib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import yaml

from taut.errors import InputError, nearest

__all__ = ["Option", "Part", "merge", "options", "override", "parse", "read_yaml", "to_tree", "write_yaml"]

_EMPTY = ("none", "null", "")


class Part:
    """Base of all parts; ``class Prior(Part, family=True)`` opens a family, its subclasses are the members.

    Members defined inside the package are known by their bare name; others by class path, with trust.
    """

    members: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls, family: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family:
            cls.members = {}
        elif cls.__module__.split(".")[0] == "taut" and not cls.__name__.startswith("_"):
            cls.members[cls.__name__] = cls


@dataclasses.dataclass(frozen=True)
class Option:
    """One line of help: the dotted name of an option, its type in words, its default, and what it does."""

    name: str
    kind: str
    default: Any
    help: str


def parse(kind: Any, value: Any, path: str = "", trust: Iterable[str] = (), default: Any = None) -> Any:
    """Turn a plain value into what the type ``kind`` asks for.

    Args:
        kind: a type: a dataclass, a family, a tuple of them, a literal, an optional, a number, a string.
        value: what YAML or the command line gave; strings are read as the type asks.
        path: the dotted name of the value, for messages.
        trust: modules outside the package whose classes may be named.
        default: the value that stands when nothing is given, whose fields a partial mapping keeps.

    Raises:
        InputError: naming the field, the value and what would do.
    """
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _parse_union(kind, value, path, trust, default)
    if isinstance(value, str) and value.startswith(("[", "{")) and kind is not str:
        value = _load(value, path)
    if origin is Literal:
        choices = get_args(kind)
        if isinstance(value, bool) and "on" in choices:  # what YAML takes these words for
            value = "on" if value else "off"
        for choice in choices:
            if isinstance(value, (str, int, float)) and str(value) == str(choice):
                return choice
        raise InputError(path, f"is {_show(value)}", nearest(_show(value).strip("'"), map(str, choices)))
    if origin is tuple:
        return _parse_tuple(kind, value, path, trust)
    if inspect.isclass(kind) and issubclass(kind, Part) and "members" in vars(kind):
        return _parse_member(kind, value, path, trust, default)
    if dataclasses.is_dataclass(kind):
        return _parse_fields(kind, value, path, trust, default)
    return _parse_scalar(kind, value, path)


def _parse_union(kind: Any, value: Any, path: str, trust: Iterable[str], default: Any) -> Any:
    arms = [arm for arm in get_args(kind) if arm is not type(None)]
    if len(arms) < len(get_args(kind)) and (value is None or (isinstance(value, str) and value.lower() in _EMPTY)):
        return None
    for arm in arms[:-1]:
        try:
            return parse(arm, value, path, trust, default)
        except InputError:
            pass
    return parse(arms[-1], value, path, trust, default)


def _parse_tuple(kind: Any, value: Any, path: str, trust: Iterable[str]) -> tuple:
    item = get_args(kind)[0]
    if isinstance(value, str):
        text = value.replace("x", ",") if item in (int, float) else value
        value = [piece.strip() for piece in text.split(",")] if text.strip() else []
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, Mapping) and "part" in value:  # one part, of which options are given
        return (parse(item, value, path, trust),)
    if not isinstance(value, (list, tuple)):
        problem = "is a list, not names" if isinstance(value, Mapping) else f"is {_show(value)}"
        raise InputError(path, problem, f"give a list, such as {_example(item)}")
    return tuple(parse(item, each, f"{path}.{i}", trust) for i, each in enumerate(value))


def _example(item: Any) -> str:
    """A list of such items, as it is given on the command line."""
    if inspect.isclass(item) and issubclass(item, Part) and "members" in vars(item):
        return f"'[{{part: {min(item.members)}}}]'"
    if dataclasses.is_dataclass(item):
        first = dataclasses.fields(item)[0]
        return f"'[{{{first.name}: {_default(first)}}}]'"
    return "256,256"


def _parse_member(family: Any, value: Any, path: str, trust: Iterable[str], default: Any) -> Any:
    if isinstance(value, family):
        return value
    if isinstance(value, str):
        value = {"part": value}
    if not isinstance(value, Mapping):
        raise InputError(path, f"is {_show(value)}", f"name one of {', '.join(sorted(family.members))}")
    given = dict(value)
    name = given.pop("part", None)
    if name is None:
        if default is None:
            names = ", ".join(sorted(family.members))
            raise InputError(path, "has options, but no part is named that they are of", f"say `part`, one of {names}")
        return _parse_fields(type(default), given, path, trust, default)
    cls = _find_member(family, name if isinstance(name, str) else _show(name), path, trust)
    return _parse_fields(cls, given, path, trust, default if type(default) is cls else None)


def _find_member(family: Any, name: str, path: str, trust: Iterable[str]) -> type:
    if "." not in name:
        if name in family.members:
            return family.members[name]
        alike = [member for known, member in family.members.items() if known.lower() == name.lower()]
        if len(alike) == 1:
            return alike[0]
        raise InputError(path, f"no part is called {name!r}", nearest(name, family.members))
    module, _, attribute = name.rpartition(".")
    if module not in set(trust):
        raise InputError(
            path,
            f"{name!r} is code outside the package, which naming it would run",
            f"say --trust {module} if you trust it",
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise InputError(path, f"{name!r} cannot be imported ({error})", "check its module and name") from None
    if not (inspect.isclass(found) and issubclass(found, family) and dataclasses.is_dataclass(found)):
        raise InputError(path, f"{name!r} is no {family.__name__}", f"make it a dataclass below {family.__name__}")
    return found


def _parse_fields(cls: Any, value: Any, path: str, trust: Iterable[str], default: Any) -> Any:
    if isinstance(value, cls):
        return value
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise InputError(path, f"is {_show(value)}", f"give options of {cls.__name__} as a mapping")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in value:
        if key not in fields:
            where = f"{path}.{key}" if path else str(key)
            inner = [name for name, hint in hints.items() if dataclasses.is_dataclass(hint)
                     and key in (field.name for field in dataclasses.fields(hint))]  # fmt: skip
            mend = nearest(str(key), fields) if fields else f"{cls.__name__} has no options"
            mend = (
                f"it is one of {inner[0]}: {inner[0]}.{key}, in Python {inner[0]}={{{str(key)!r}: …}}"
                if inner
                else mend
            )
            raise InputError(where, f"{cls.__name__} has no such option", mend)
    chosen = {}
    for name, field in fields.items():
        standing = getattr(default, name) if default is not None else _default(field)
        if name in value:
            inner = f"{path}.{name}" if path else name
            known = None if standing is dataclasses.MISSING else standing
            chosen[name] = parse(hints[name], value[name], inner, trust, known)
        elif standing is dataclasses.MISSING:
            raise InputError(f"{path}.{name}" if path else name, "is not given", "it has no default")
        else:
            chosen[name] = standing
    try:
        return cls(**chosen)
    except InputError as error:
        raise error.under(path) from None


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _parse_scalar(kind: Any, value: Any, path: str) -> Any:
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a mapping"}
    if kind is Any:
        return value
    try:
        if kind is bool:
            if isinstance(value, bool):
                return value
            if not isinstance(value, (str, int)):
                raise ValueError
            return {
                "true": True,
                "yes": True,
                "on": True,
                "1": True,
                "false": False,
                "no": False,
                "off": False,
                "0": False,
            }[str(value).lower()]
        if isinstance(value, bool) or value is None or (isinstance(value, (Mapping, list)) and kind is not dict):
            raise ValueError
        if kind is int:
            if isinstance(value, int):
                return value
            if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
                return int(value)  # not by way of a float, which holds 53 bits
            number = float(value)
            if not number.is_integer():
                raise ValueError
            return int(number)
        if kind is float:
            number = float(value)
            if math.isnan(number):
                raise ValueError
            return number
        return kind(value)
    except (KeyError, ValueError, TypeError, OverflowError):
        raise InputError(path, f"is {_show(value)}", f"give {wanted.get(kind, str(kind))}") from None


def _show(value: Any) -> str:
    """A value on one short line; YAML's aliases can make a small file a value without end."""
    return _short.repr(value)


_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxdict, _short.maxstring = 2, 4, 4, 80


def to_tree(spec: Any) -> Any:
    """The plain tree that :func:`parse` reads back: mappings, lists and scalars only."""
    if dataclasses.is_dataclass(spec):
        tree = {f.name: to_tree(getattr(spec, f.name)) for f in dataclasses.fields(spec) if f.init}
        if isinstance(spec, Part):
            cls = type(spec)
            builtin = cls.members.get(cls.__name__) is cls
            tree = {"part": cls.__name__ if builtin else f"{cls.__module__}.{cls.__name__}", **tree}
        return tree
    if isinstance(spec, (tuple, list)):
        return [to_tree(each) for each in spec]
    return spec


def merge(base: Any, over: Any) -> Any:
    """``over`` laid upon ``base``: mappings join key by key, but naming another part starts afresh.

    >>> merge({"prior": {"part": "Vamp", "components": 9}}, {"prior": {"components": 5}})
    {'prior': {'part': 'Vamp', 'components': 5}}
    >>> merge({"prior": {"part": "Vamp", "components": 9}}, {"prior": "Mixture"})
    {'prior': 'Mixture'}
    """
    if isinstance(base, str) and isinstance(over, Mapping) and "part" not in over:
        base = {"part": base}
    if isinstance(base, Mapping) and isinstance(over, str) and base.get("part") == over:
        return base
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if "part" in over and base.get("part") != over["part"]:
        return dict(over)
    joined = dict(base)
    for key, value in over.items():
        joined[key] = merge(joined[key], value) if key in joined else value
    return joined


def override(tree: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """``tree`` with the option of the dotted ``name`` set to ``value``."""
    for key in reversed(name.split(".")):
        value = {key: value}
    return merge(tree, value)


def options(cls: Any, path: str = "") -> Iterator[Option]:
    """All options below a spec, depth first, with the help that its docstring's ``Args`` give."""
    hints, docs = typing.get_type_hints(cls), _args(cls)
    for field in dataclasses.fields(cls):
        name = f"{path}.{field.name}" if path else field.name
        default, kind = _default(field), hints[field.name]
        if inspect.isclass(kind) and dataclasses.is_dataclass(kind) and not issubclass(kind, Part):
            yield from options(kind, name)
            continue
        yield Option(name, _kind_in_words(kind), default, docs.get(field.name, ""))
        if isinstance(default, Part):
            yield from options(type(default), name)


def _args(cls: Any) -> dict[str, str]:
    """What the ``Args:`` section of a docstring says of each field."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = inspect.cleandoc(base.__doc__ or "") if base is not object else ""
        current = None
        for line in text.partition("Args:")[2].splitlines():
            if line and not line.startswith(" "):
                break
            name, colon, rest = line.strip().partition(": ")
            if colon and line.startswith("    ") and not line.startswith("     ") and name.isidentifier():
                docs[name], current = rest, name
            elif current and line.strip():
                docs[current] += " " + line.strip()
    return docs


def _kind_in_words(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if arm is type(None) else _kind_in_words(arm) for arm in get_args(kind))
    if origin is Literal:
        return "|".join(map(str, get_args(kind)))
    if origin is tuple:
        return f"list of {_kind_in_words(get_args(kind)[0])}"
    if inspect.isclass(kind) and issubclass(kind, Part) and "members" in vars(kind):
        return "|".join(sorted(kind.members)) or kind.__name__
    return {int: "int", float: "float", bool: "bool", str: "text"}.get(kind, getattr(kind, "__name__", str(kind)))


def _load(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise InputError(where, "is nested too deeply", "see the recipes for the form") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: a date or a number that is none, such as 2026-13-01
        line = getattr(error, "problem_mark", None)
        place = f" at line {line.line + 1}" if line else ""
        raise InputError(where, f"is not YAML{place}", "see the recipes for the form") from None


def read_yaml(path: Any) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: where the file is missing, unreadable or holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            tree = _load(file.read(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise InputError(str(path), f"cannot be read ({reason})", "give a YAML file") from None
    if not isinstance(tree, dict):
        raise InputError(str(path), "holds no mapping", "write options as `model: {latents: 40}`")
    return tree


def write_yaml(tree: Any, file: Any = None) -> str | None:
    """YAML as a person would write it: keys in their order, short lists and flat parts on one line."""
    return yaml.dump(tree, file or None, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.Node:
        flat = all(not isinstance(each, (dict, list)) for each in sequence)
        return super().represent_sequence(tag, sequence, flow_style=flat or flow_style)
