"""A compiled step: the losses of the plain one by the same noise, gone on with to the bit; nothing is lost where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from taut.api import carry_out, reopen
from taut.cli import main
from taut.config import merge, parse
from taut.data import Dataset, Feed, open_data
from taut.data.spec import Data
from taut.errors import InputError
from taut.experiment import Experiment, build, resolve, train
from taut.objectives import Learner
from taut.training import Event, Stopped, Training, compiling

MODEL = {"network": {"part": "MLP", "hidden": [16]}, "latents": 3}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return open_data(Data("digits", binarize="dynamic"))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a compiler but the last part of it, which takes a quarter of a minute."""
    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "_compiler", lambda graphs: {"backend": "aot_eager"})


def settings(compile: str, **options: Any) -> Experiment:
    tree = {"data": {"source": "digits", "binarize": "dynamic"}, "model": MODEL,
            "training": {"steps": 40, "batch": 64, "device": "cpu", "validations": 2, "compile": compile}}  # fmt: skip
    return parse(Experiment, merge(tree, options))


def trained(data: Dataset, compile: str, **options: Any) -> tuple[dict[str, torch.Tensor], list[Event], torch.Tensor]:
    events: list[Event] = []
    spec = resolve(settings(compile, **options), data)
    torch._dynamo.utils.counters.clear()
    vae, _ = train(spec, data, listen=events.append)
    return vae.state_dict(), events, torch.get_rng_state()


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


CASES: dict[str, tuple[dict[str, Any], bool]] = {  # whether all of a step is one graph
    "plain": ({}, True),
    "a running baseline": ({"objective": {"estimator": ["Score"]}}, True),
    "weights with a path of their own": ({"objective": {"part": "IWAE", "estimator": ["DReG"]}}, False),
    "two layers, free bits": (
        {"model": {"layers": [{"part": "Plain", "latents": 2}, {"part": "Plain", "latents": 3}]},
         "objective": {"free_bits": 0.1}}, True),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_losses_and_draws_are_those_of_the_plain_step(data: Dataset, traced: None, case: str) -> None:
    options, one = CASES[case]
    plain, told, state = trained(data, "off", **options)
    assert graphs() == 0
    compiled, again, after = trained(data, "on", **options)
    assert graphs() == 1 if one else graphs() > 1
    assert torch.equal(state, after), "the generator is where it would be"
    for a, b in zip(told, again, strict=True):
        assert a.train == pytest.approx(b.train, rel=1e-5) and a.note == b.note == ""
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, rtol=1e-4, atol=1e-5)


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taut.report.publish.publish", lambda run, data, folder, metrics: folder / "report.html")


def test_a_stopped_run_goes_on_bit_for_bit(data: Dataset, traced: None, without_pictures: None, tmp_path: Path) -> None:
    experiment = resolve(settings("on", training={"checkpoint": 1e-9}), data)
    whole = carry_out(experiment, data, tmp_path / "whole")

    def stop(event: Event) -> None:
        if event.step >= 22:
            raise Stopped("here")

    with pytest.raises(Stopped):
        carry_out(experiment, data, tmp_path / "run", listen=stop)
    torch._dynamo.reset()
    again = carry_out(*reopen(tmp_path / "run"), tmp_path / "run", resume=True)
    other = whole.vae.state_dict()
    assert all(torch.equal(weight, other[name]) for name, weight in again.vae.state_dict().items())


def test_auto_compiles_where_it_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert not Training().compiles(49_999) and Training().compiles(50_000)
    assert Training(compile="on").compiles(1) and not Training(compile="off").compiles(10**9)
    assert Training(device="cuda").compiles(1) and not Training(device="mps").compiles(10**9)
    assert not Training(devices=2, strategy="fsdp").compiles(10**9)
    assert not Training(aggressive=2).compiles(10**9)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert not Training().compiles(10**9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Training().compiles(1) and not Training(device="cpu").compiles(1)


def test_in_a_short_run_auto_is_off_and_says_nothing(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "lacking", lambda device: pytest.fail("nobody asks for a compiler"))
    assert trained(data, "auto")[1][0].note == "" and graphs() == 0


def broken(graph: Any, inputs: Any) -> None:
    raise RuntimeError("no such instruction\nat 0x0")


@pytest.mark.parametrize("how", ["missing", "broken"])
def test_without_a_compiler_that_works_the_plain_step_is_taken_and_one_line_says_so(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    options = {"objective": {"estimator": ["Score"]}}  # it keeps a running mean, which a trial must not move
    plain, _, state = trained(data, "off", **options)
    if how == "missing":
        monkeypatch.setenv("CXX", "a-compiler-that-is-not-there")
        words = "not compiled: there is no C++ compiler (a-compiler-that-is-not-there, or another by CXX)"
    else:
        monkeypatch.setattr(compiling, "lacking", lambda device: "")
        monkeypatch.setattr(compiling, "_compiler", lambda graphs: {"backend": broken})
        words = "not compiled: the compiler failed ("
    fallen, events, after = trained(data, "on", **options)
    assert events[0].note.startswith(words) and "\n" not in events[0].note
    assert not any(event.note for event in events[1:])
    assert torch.equal(state, after) and all(torch.equal(weight, fallen[name]) for name, weight in plain.items())


def test_the_line_is_shown_and_the_words_are_read_from_yaml(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, without_pictures: None
) -> None:  # fmt: skip
    monkeypatch.setattr(compiling, "lacking", lambda device: "there is none")
    (tmp_path / "c.yaml").write_text("training: {compile: on, steps: 4, device: cpu}")
    run = ["train", "digits", "--config", str(tmp_path / "c.yaml"), "--model.network", "MLP", "--out"]
    assert main([*run, str(tmp_path / "run")]) == 0
    assert "note: not compiled: there is none\n" in capsys.readouterr().out
    assert main([*run, str(tmp_path / "other"), "--compile", "off"]) == 0
    assert "not compiled" not in capsys.readouterr().out
    assert main([*run, str(tmp_path / "profiled"), "--profile"]) == 0
    assert "note: not compiled, so that the stretches of a step can be told apart" in capsys.readouterr().out
    assert main([*run, str(tmp_path / "third"), "--compile", "perhaps"]) == 2
    assert "training.compile: is 'perhaps'" in capsys.readouterr().err


def test_the_ninth_model_of_a_process_is_compiled_too(data: Dataset, traced: None) -> None:
    for latents in range(2, 12):
        trained(data, "on", model={"latents": latents}, training={"steps": 2})
        assert graphs() == 1


def test_where_parts_learn_in_turns_the_plain_step_is_taken(data: Dataset) -> None:
    _, events, _ = trained(data, "on", training={"stages": [{"learn": "codes"}, {"learn": "all"}], "steps": 4})
    assert events[0].note == "not compiled: parts of the model learn in turns" and graphs() == 0


def test_shards_of_weights_are_not_compiled() -> None:
    with pytest.raises(InputError, match=r"training\.compile: is on, and the strategy is fsdp; say ddp"):
        Training(devices=2, strategy="fsdp", compile="on").require_company()


@pytest.mark.slow
@pytest.mark.skipif(bool(compiling.lacking(torch.device("cpu"))), reason="there is no compiler")
def test_torchs_own_compiler(data: Dataset) -> None:
    plain, told, state = trained(data, "off")
    compiled, again, after = trained(data, "on")
    assert graphs() == 1 and again[0].note == "" and torch.equal(state, after)
    for a, b in zip(told, again, strict=True):
        assert a.train == pytest.approx(b.train, rel=1e-4)
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, rtol=1e-3, atol=1e-4)
    torch._dynamo.reset()
    twice, _, _ = trained(data, "on")
    assert all(torch.equal(weight, twice[name]) for name, weight in compiled.items())


HALVES: dict[str, dict[str, Any]] = {
    "normals": {},
    "two layers": {"layers": [{"part": "Plain", "latents": 2}, {"part": "Plain", "latents": 3}]},
    "a mixture": {"prior": {"part": "Mixture", "components": 5}},
    "pseudo-inputs": {"prior": {"part": "Vamp", "components": 5}},
    "correlated": {"posterior": "FullNormal"},
    "couplings": {"prior": "RealNVP"},
    "relaxed": {"posterior": "RelaxedCategorical"},
    "the sphere": {"posterior": "VonMisesFisher"},
    "levels": {"likelihood": "DiscretisedLogistic"},
    "a density": {"likelihood": "Gaussian"},
    "convolutions": {"network": "Conv"},
    "maps": {"network": "Pyramid", "layers": [{"part": "Spatial", "latents": 2, "scale": s} for s in (1, 0)]},
}  # fmt: skip


@pytest.mark.parametrize("case", HALVES)
def test_in_sixteen_bits_the_bound_stays_in_single_precision(case: str) -> None:
    """Networks multiply in bfloat16, of 8 bits; what is said of x and z is of 32, and so the bound is that of networks which
    are off by a hundredth."""
    from lightning_fabric import Fabric

    model = MODEL | HALVES[case]
    if "layers" in model:
        del model["latents"]
    grey = open_data(Data("digits"))
    spec = resolve(parse(Experiment, {"data": {"source": "digits"}, "model": model}), grey)
    learner = Learner(build(spec, grey), spec.objective)
    batch = Feed(grey.train, grey.reading, learner.vae.dequantise).batch(torch.arange(256))
    found = []
    for precision in ("32-true", "bf16-mixed"):
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
        with fabric.autocast():
            torch.manual_seed(0)
            trace = learner.vae(batch)
            terms = [trace.distortion(batch), trace.rate(), trace.log_prior()]
        assert {term.dtype for term in terms} == {torch.float32}
        found.append(torch.stack([term.mean() for term in terms]))
        torch.manual_seed(0)
        learner.zero_grad()
        fabric.backward(fabric.setup_module(learner)(batch, 1.0).loss)
        assert all(weight.grad.dtype == torch.float32 for weight in learner.parameters() if weight.grad is not None)
    plain, half = found
    assert not torch.equal(plain, half), "something was multiplied in sixteen bits"
    torch.testing.assert_close(half, plain, rtol=5e-3, atol=0.05)
