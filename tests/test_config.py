"""Configurations: what is written is what is read, and every mistake is answered in one line that names its place."""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from taut.config import merge, options, override, parse, read_yaml, to_tree, write_yaml
from taut.errors import InputError, nearest
from taut.likelihoods import Gaussian, Likelihood
from taut.model import Model
from taut.networks import MLP, Conv, Network
from taut.objectives import ELBO, IWAE, Constant, DReG, Estimator, Linear, Objective, Score
from taut.priors import Prior, StandardNormal
from taut.training import SGD, Adam, Training


@dataclass(frozen=True)
class Top:
    """A whole configuration.

    Args:
        model: what is trained.
        objective: its loss.
        training: how.
        seed: of all draws,
            on every machine.
        name: text.
    """

    model: Model = field(default_factory=Model)
    objective: Objective = field(default_factory=ELBO)
    training: Training = field(default_factory=Training)
    seed: int = 0
    name: str | None = None
    flag: bool = False
    mode: Literal["a", "b"] = "a"
    anything: Any = None
    many: tuple[int, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Needy:
    """Something without a default."""

    size: int


def refused(tree: Any, *words: str, kind: Any = Top, path: str = "", **options) -> str:
    with pytest.raises(InputError) as caught:
        parse(kind, tree, path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1000
    for word in words:
        assert word in line, line
    return line


# --- what is read ------------------------------------------------------------------------------------------------


def test_nothing_gives_the_defaults():
    assert parse(Top, {}) == parse(Top, None) == Top()
    assert parse(Model, {"network": None}) == Model()
    assert parse(Top, {"model": None, "training": {}}) == Top()


def test_a_tree_is_read_into_parts():
    top = parse(
        Top,
        {
            "model": {
                "latents": 40,
                "network": {"part": "MLP", "hidden": [8, 4]},
                "likelihood": "Gaussian",
                "layers": ["Plain", {"part": "Plain", "latents": 3}],
            },
            "objective": {"part": "IWAE", "samples": 7},
            "training": {"optimiser": {"lr": "1e-4"}, "clip": "none"},
        },
    )
    assert top.model.network == MLP(hidden=(8, 4))
    assert top.model.likelihood == Gaussian()
    assert [layer.latents for layer in top.model.layers] == [None, 3]
    assert top.objective == IWAE(samples=7)
    assert top.training.optimiser == Adam(lr=1e-4)
    assert top.training.clip is None


def test_options_without_a_part_are_those_of_the_part_that_stands():
    assert parse(Top, {"objective": {"beta": 4}}).objective == ELBO(beta=4.0)
    standing = Top(objective=IWAE(samples=9))
    kept = parse(Top, {"objective": {"beta": 2}}, default=standing)
    assert kept.objective == IWAE(beta=2.0, samples=9)
    assert parse(Top, {"objective": {"part": "IWAE", "beta": 2}}, default=standing).objective == kept.objective
    assert parse(Top, {"objective": {"part": "ELBO", "beta": 2}}, default=standing).objective == ELBO(beta=2.0)
    assert parse(Training, {"optimiser": "SGD"}).optimiser == SGD()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (float, "1e-3", 1e-3),
        (float, 1, 1.0),
        (float, "inf", math.inf),
        (float, -0.5, -0.5),
        (float, " 2 ", 2.0),
        (int, "40", 40),
        (int, 40.0, 40),
        (int, "1e3", 1000),
        (int, "9007199254740993", 9007199254740993),
        (int, -3, -3),
        (int, "+5", 5),
        (bool, "true", True),
        (bool, "No", False),
        (bool, 1, True),
        (bool, False, False),
        (bool, "off", False),
        (str, "x", "x"),
        (str, 5, "5"),
        (str, "[a", "[a"),
        (str | None, "[a].npy", "[a].npy"),
        (str | None, "none", None),
        (int | None, None, None),
        (int | None, "Null", None),
        (int | None, "", None),
        (int | None, 4, 4),
        (tuple[int, ...], "256,128", (256, 128)),
        (tuple[int, ...], "28x20", (28, 20)),
        (tuple[int, ...], "[3, 4]", (3, 4)),
        (tuple[int, ...], 7, (7,)),
        (tuple[int, ...], [], ()),
        (tuple[int, ...], "", ()),
        (tuple[int, ...], "[]", ()),
        (tuple[float, ...], "0.9,0.99", (0.9, 0.99)),
        (tuple[str, ...], "xenon,box", ("xenon", "box")),
        (tuple[Estimator, ...], "Score,DReG", (Score(), DReG())),
        (tuple[Estimator, ...], {"part": "Score", "baseline": "none"}, (Score(baseline="none"),)),
        (Literal["a", "b"], "b", "b"),
        (Prior, "{part: StandardNormal}", StandardNormal()),
        (Any, [1, {"a": 2}], [1, {"a": 2}]),
        (Network, "{part: MLP, hidden: [3]}", MLP(hidden=(3,))),
        (Prior, StandardNormal(), StandardNormal()),
    ],
)
def test_values_are_read_as_their_type_asks(kind, value, expected):
    got = parse(kind, value, "here")
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (int, "1.5", ["is '1.5'", "whole number"]),
        (int, 2.5, ["is 2.5", "whole number"]),
        (int, True, ["is True", "whole number"]),
        (int, "inf", ["is 'inf'"]),
        (int, math.inf, ["is inf"]),
        (int, math.nan, ["is nan"]),
        (int, "many", ["is 'many'"]),
        (int, None, ["is None"]),
        (int, [1], ["is [1]"]),
        (int, {"a": 1}, ["is {'a': 1}"]),
        (int, "1e999", ["is '1e999'"]),
        (int, "", ["is ''"]),
        (float, "nan", ["is 'nan'", "a number"]),
        (float, math.nan, ["is nan"]),
        (float, False, ["is False"]),
        (float, "1,5", ["is '1,5'"]),
        (float, None, ["is None"]),
        (float, [0.5], ["is [0.5]"]),
        (float, "", ["is ''"]),
        (bool, "maybe", ["is 'maybe'", "true or false"]),
        (bool, 2, ["is 2"]),
        (bool, None, ["is None"]),
        (bool, [], ["is []"]),
        (bool, {}, ["is {}"]),
        (bool, 0.5, ["is 0.5"]),
        (str, True, ["is True", "text"]),
        (str, ["a"], ["is ['a']"]),
        (str, {}, ["is {}"]),
        (str, None, ["is None"]),
        (tuple[int, ...], None, ["is None", "give a list, such as 256,256"]),
        (tuple[int, ...], {"0": 3}, ["is a list, not names", "give a list, such as 256,256"]),
        (tuple[int, ...], {"a": 1}, ["give a list"]),
        (tuple[int, ...], "3,x,4", ["here.1: is ''"]),
        (tuple[int, ...], [3, "q"], ["here.1: is 'q'"]),
        (tuple[int, ...], True, ["is True", "give a list"]),
        (tuple[int, ...], "[3", ["is not YAML"]),
        (Literal["a", "b"], "A1", ["is 'A1'", "did you mean a?"]),
        (Literal["cosine", "linear"], None, ["is None"]),
        (Literal["a", "b"], ["a"], ["is ['a']"]),
        (
            Prior,
            "StandartNormal",
            ["no part is called 'StandartNormal'", "did you mean StandardNormal?", "ConditionalNormal"],
        ),
        (Prior, "zzz", ["no part is called 'zzz'", "ConditionalNormal"]),
        (Prior, 3, ["is 3", "StandardNormal"]),
        (Prior, None, ["is None", "StandardNormal"]),
        (Prior, [], ["is []"]),
        (Prior, {}, ["no part is named", "say `part`", "StandardNormal"]),
        (Prior, {"hidden": 3}, ["no part is named"]),
        (Prior, {"part": None}, ["no part is named"]),
        (Prior, {"part": 3}, ["no part is called '3'"]),
        (Prior, {"part": ["StandardNormal"]}, ["no part is called"]),
        (Prior, "", ["no part is called ''"]),
        (Prior, "{part: [}", ["is not YAML at line 1"]),
        (
            Prior,
            {"part": "StandardNormal", "hidden": 3},
            ["here.hidden: StandardNormal has no such option", "has no options"],
        ),
        (Prior, {"part": "ConditionalNormal", "hiden": 3}, ["here.hiden: ", "did you mean hidden?"]),
        (Prior, {"part": "ConditionalNormal", 3: 3}, ["here.3: ", "no such option"]),
        (Model, "MLP", ["here: is 'MLP'", "options of Model as a mapping"]),
        (Model, [1], ["is [1]"]),
        (Needy, {}, ["here.size: is not given"]),
        (int | None, "x", ["is 'x'", "whole number"]),
    ],
)
def test_bad_values_are_refused_in_one_line(kind, value, words):
    line = refused(value, *words, kind=kind, path="here")
    assert line.startswith("here")


@pytest.mark.parametrize(
    ("tree", "start"),
    [
        ({"model": {"layers": [{"part": "Plain", "hidden": 0}]}}, "model.layers.0.hidden: is 0"),
        (
            {"model": {"layers": ["Plain", {"part": "Plain", "prior": {"part": "ConditionalNormal", "hidden": -1}}]}},
            "model.layers.1.prior.hidden: is -1",
        ),
        ({"model": {"latents": 0}}, "model.latents: is 0"),
        ({"model": {"network": {"part": "MLP", "hidden": "8,0"}}}, "model.network.hidden: is 0"),
        (
            {"model": {"network": {"part": "Conv", "activation": "sulu"}}},
            "model.network.activation: is 'sulu'; did you mean silu?",
        ),
        ({"objective": {"beta": -1}}, "objective.beta: is -1; give 0 or more"),
        ({"objective": {"beta": "inf"}}, "objective.beta: is inf; give 0 or more"),
        ({"objective": {"schedule": {"share": 1}}}, "objective.schedule.share: is 1"),
        (
            {"objective": {"schedule": {"part": "Constant", "share": 1}}},
            "objective.schedule.share: Constant has no such option",
        ),
        ({"training": {"optimiser": {"lr": 0}}}, "training.optimiser.lr: is 0"),
        (
            {"training": {"optimiser": {"part": "SDG"}}},
            "training.optimiser: no part is called 'SDG'; did you mean SGD?",
        ),
        ({"training": {"epochs": 3, "steps": 4}}, "training.epochs: is given with steps"),
        ({"training": {"epochs": 0}}, "training.epochs: is 0"),
        ({"trainign": {}}, "trainign: Top has no such option; did you mean training?"),
        ({"seed": "one"}, "seed: is 'one'; give a whole number"),
    ],
)
def test_nested_mistakes_carry_their_whole_path_once(tree, start):
    assert refused(tree).startswith(start)


# --- code from outside -------------------------------------------------------------------------------------------

OUTSIDE = '''
import sys
sys.taut_test_ran = True
from dataclasses import dataclass
from taut.priors import Prior, StandardNormal

@dataclass(frozen=True)
class Mine(Prior):
    """A prior from outside."""
    width: int = 3
    def build(self, event, state):
        return StandardNormal().build(event, state)

class Plain(Prior):
    """No dataclass."""

@dataclass(frozen=True)
class Other:
    """No prior."""

value = 3
'''


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module of the user's own, importable and not yet imported."""
    name = f"outside_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OUTSIDE)
    (tmp_path / f"{name}_broken.py").write_text("def (")
    (tmp_path / f"{name}_raising.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delattr(sys, "taut_test_ran", raising=False)
    yield name
    for module in [m for m in sys.modules if m.startswith(name)]:
        del sys.modules[module]


def test_outside_code_is_not_run_unless_trusted(outside):
    for trust in ((), ("os",), (outside[:-1],), (f"{outside}.Mine",)):
        line = refused(
            f"{outside}.Mine", "which naming it would run", f"--trust {outside}", kind=Prior, path="p", trust=trust
        )
        assert line.startswith("p: ")
        assert outside not in sys.modules
        assert not hasattr(sys, "taut_test_ran")
    refused({"model": {"prior": f"{outside}.Mine"}}, "model.prior: ", "--trust")
    refused("os.system", "--trust os", kind=Prior, path="p")
    refused("builtins.eval", "--trust builtins", kind=Prior, path="p")
    assert not hasattr(sys, "taut_test_ran")


def test_trusted_code_is_a_part_like_any_other(outside):
    name = f"{outside}.Mine"
    spec = parse(Prior, {"part": name, "width": 5}, trust=[outside])
    assert (type(spec).__name__, spec.width) == ("Mine", 5)
    assert sys.taut_test_ran
    assert "Mine" not in Prior.members
    tree = to_tree(Model(prior=spec))
    assert tree["prior"] == {"part": name, "width": 5}
    assert parse(Model, tree, trust=[outside]) == Model(prior=spec)
    refused(tree, "--trust", kind=Model)
    refused(
        {"part": name, "widht": 5},
        "p.widht: Mine has no such option",
        "did you mean width?",
        kind=Prior,
        path="p",
        trust=[outside],
    )


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (".Missing", "cannot be imported"),
        (".value", "is no Prior"),
        (".Other", "is no Prior"),
        (".Plain", "is no Prior"),
        ("_none.Mine", "cannot be imported"),
        ("_broken.Mine", "cannot be imported"),
        ("_raising.Mine", "cannot be imported"),
    ],
)
def test_trusted_names_that_are_no_parts(outside, ending, words):
    name = outside + ending
    refused(name, words, kind=Prior, path="p", trust=[name.rpartition(".")[0]])


# --- trees -------------------------------------------------------------------------------------------------------

SPECS = [
    Top(),
    Top(model=Model(latents=3, network=Conv(channels=(4, 8)), likelihood=Gaussian(spread="shared"), layers=())),
    Top(objective=IWAE(samples=3, schedule=Constant()), training=Training(optimiser=SGD(lr=1e-5), steps=7, clip=1e300)),
    Top(objective=ELBO(schedule=Linear(epochs=1.5)), seed=2**40, name="null", flag=True, mode="b", many=(1, 2)),
    Top(name="1e-3"),
    Top(name="yes"),
    Top(name="a: [b"),
    Top(name="ü\n#"),
    Top(name=""),
]


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_what_is_written_is_what_is_read(spec, tmp_path):
    tree = to_tree(spec)
    if spec.name != "":  # an empty text is none, on the command line as in a file
        assert parse(Top, tree) == (spec if spec.name != "null" else parse(Top, tree))
    with (tmp_path / "c.yaml").open("w", encoding="utf-8") as file:
        write_yaml(tree, file)
    assert read_yaml(tmp_path / "c.yaml") == tree
    text = write_yaml(tree)
    assert "!!" not in text
    assert "&" not in text
    assert "\ttraining" not in text


def test_yaml_is_written_for_people():
    text = write_yaml(to_tree(Top(many=(1, 2))))
    assert "many: [1, 2]" in text
    assert text.index("model:") < text.index("objective:") < text.index("seed:")


def test_merge():
    assert merge({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}) == {"a": 1, "b": {"c": 2, "d": 3}}
    assert merge({"b": {"c": 2}}, {"b": 5}) == {"b": 5}
    assert merge({"p": {"part": "A", "x": 1}}, {"p": "A"}) == {"p": {"part": "A", "x": 1}}
    assert merge({"p": {"part": "A", "x": 1}}, {"p": {"part": "B"}}) == {"p": {"part": "B"}}
    assert merge({"p": {"part": "A", "x": 1}}, {"p": {"part": "A", "y": 2}}) == {"p": {"part": "A", "x": 1, "y": 2}}
    assert merge({"p": "A"}, {"p": {"x": 2}}) == {"p": {"part": "A", "x": 2}}
    assert merge({"p": None}, {"p": {"x": 2}}) == {"p": {"x": 2}}
    assert merge({"l": [1, 2]}, {"l": [3]}) == {"l": [3]}
    base = {"a": {"b": 1}}
    merge(base, {"a": {"c": 2}})
    assert base == {"a": {"b": 1}}, "what is merged is left as it was"


def test_override():
    tree = {"objective": {"part": "ELBO", "beta": 1.0}}
    assert override(tree, "objective.beta", "4") == {"objective": {"part": "ELBO", "beta": "4"}}
    assert override(tree, "objective", "IWAE") == {"objective": "IWAE"}
    both = override(override(tree, "objective", "IWAE"), "objective.samples", "9")
    assert parse(Top, both).objective == IWAE(samples=9)
    assert override({}, "a.b.c", 1) == {"a": {"b": {"c": 1}}}
    assert tree == {"objective": {"part": "ELBO", "beta": 1.0}}


def test_options_list_all_with_their_help():
    listed = {option.name: option for option in options(Top)}
    assert {
        "model.latents",
        "objective",
        "objective.beta",
        "objective.schedule",
        "objective.schedule.share",
        "training.optimiser",
        "training.optimiser.lr",
        "seed",
    } <= set(listed)
    assert listed["seed"].help == "of all draws, on every machine."
    assert listed["seed"].kind == "int"
    assert listed["seed"].default == 0
    assert listed["mode"].kind == "a|b"
    assert listed["name"].kind == "text or none"
    assert listed["many"].kind == "list of int"
    assert "ELBO" in listed["objective"].kind
    assert listed["model.network"].kind.endswith("or none")
    assert listed["objective.schedule.share"].default == 0.1


# --- files -------------------------------------------------------------------------------------------------------


def refuse_file(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    for word in words:
        assert word in line, line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no mapping"),
        ("- 1\n- 2", "holds no mapping"),
        ("just text", "holds no mapping"),
        ("null", "holds no mapping"),
        ("a: [1", "is not YAML at line"),
        ("a: 1\nb: : 2", "is not YAML at line 2"),
        ("a: b: c", "is not YAML"),
        ("\tx: 1", "is not YAML"),
        ("a: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("a: !!python/name:os.system", "is not YAML"),
        ("!!python/object:taut.model.Model {}", "is not YAML"),
        ("a: !mine 3", "is not YAML"),
        ("a: *nobody", "is not YAML"),
        ("a: 2026-13-45", "is not YAML"),
        ("a: !!int 'x'", "is not YAML"),
        ("a: \x00", "is not YAML"),
        ("? [1]\n: 2", "is not YAML"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("{a: " * 3000 + "1" + "}" * 3000, "nested too deeply"),
        ("a: 1\n---\nb: 2", "is not YAML"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    refuse_file(tmp_path / "c.yaml", words)


def test_files_that_cannot_be_read(tmp_path):
    refuse_file(tmp_path / "none.yaml", "cannot be read", "No such file")
    refuse_file(tmp_path, "cannot be read")
    (tmp_path / "b.yaml").write_bytes(b"a: \xff\xfe\x80")
    refuse_file(tmp_path / "b.yaml", "cannot be read")


def test_python_tags_run_nothing(tmp_path):
    (tmp_path / "c.yaml").write_text(f"a: !!python/object/apply:pathlib.Path.touch [{tmp_path}/ran]")
    refuse_file(tmp_path / "c.yaml", "is not YAML")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "place",
    [
        "seed: *z",
        "model: {latents: *z}",
        "model: {prior: *z}",
        "model: {layers: *z}",
        "model: {network: {part: MLP, hidden: *z}}",
        "mode: *z",
        "objective: {part: *z}",
        "flag: *z",
        "name: *z",
        "model: *z",
    ],
)
def test_a_small_file_that_unfolds_without_end_is_refused_at_once(tmp_path, place):
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = ["bomb:", "  - &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"  - &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in itertools.pairwise(letters)]
    (tmp_path / "c.yaml").write_text("\n".join([*lines, place]))
    tree = read_yaml(tmp_path / "c.yaml")
    tree.pop("bomb")
    refused(tree)


def test_a_tree_that_holds_itself_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("model: &m\n  layers: &l [*l]\n  prior: *m\n")
    refused(read_yaml(tmp_path / "c.yaml"))
    (tmp_path / "c.yaml").write_text("model: &m\n  prior: {part: *m}\n")
    refused(read_yaml(tmp_path / "c.yaml"))


def test_deep_text_on_the_command_line_is_refused():
    refused("[" * 5000, "nested too deeply", kind=tuple[int, ...], path="here")
    refused("{a: " * 3000, "here", kind=Prior, path="here")


# --- errors ------------------------------------------------------------------------------------------------------


def test_errors_know_their_place():
    error = InputError("beta", "is -1", "give 0 or more")
    assert str(error.under("objective")) == "objective.beta: is -1; give 0 or more"
    assert str(error.under("objective").under("objective")) == "objective.beta: is -1; give 0 or more"
    assert error.under("") is error
    assert isinstance(error, ValueError)


def test_suggestions():
    assert nearest("gausian", Likelihood.members).startswith("did you mean Gaussian?")
    assert nearest("qqqq", ["a", "B"]) == "Known: a, B"
