"""A profile says where the time goes, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from taut.cli import main
from taut.data import Dataset, open_array
from taut.errors import InputError
from taut.model import Model
from taut.networks import MLP
from taut.objectives import ELBO
from taut.objectives.schedules import Constant
from taut.spans import span, watched
from taut.training import STRETCHES, Profile, Training, fit
from taut.training.profile import Products


@pytest.fixture(scope="module")
def data() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    return open_array((torch.rand(125, 6, generator=generator) < 0.4).to(torch.uint8).numpy())


def trained(data: Dataset, profile: Profile | None, steps: int = 40, listen=lambda event: None) -> dict:
    torch.manual_seed(0)
    vae = Model(latents=2, network=MLP(hidden=(8,))).build((6,), data.reading.support, data.statistics())
    spec = Training(steps=steps, batch=16, device="cpu")
    return fit(vae, ELBO(schedule=Constant()), data, spec, steps, 0, profile=profile, listen=listen)[0].state_dict()


@pytest.mark.parametrize("steps", [4, 40])
def test_the_weights_are_those_of_a_run_without(data: Dataset, tmp_path: Path, steps: int) -> None:
    profile = Profile(tmp_path / "profile")
    watched, alone = trained(data, profile, steps), trained(data, None, steps)
    assert all(torch.equal(weight, alone[name]) for name, weight in watched.items())
    found = profile.found
    assert list(found["stretches"]) == [*STRETCHES, "rest"] and min(found["stretches"].values()) > 0
    assert sum(found["stretches"].values()) == pytest.approx(found["seconds_a_step"])
    assert found["examples_per_second"] == pytest.approx(16 / found["seconds_a_step"])
    assert found["steps"]["traced"] == (1 if steps == 4 else 5)
    trace = json.loads((tmp_path / "profile" / "trace.json").read_text())
    names = [event["name"] for event in trace["traceEvents"]]
    for name in ("step", *STRETCHES):
        assert names.count(name) == found["steps"]["traced"], name
    # three layers each way and back: their products, and the gradients of weights and of all inputs but x
    assert found["products"] >= 4 + 4 + 3


def test_too_few_steps_are_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--profile: has 3 steps to look at; train for 4 or more"):
        trained(data, Profile(tmp_path), 3)


def test_a_run_that_ends_within_it_leaves_no_profiler_behind(data: Dataset, tmp_path: Path) -> None:
    """At the log line of step 24 the profiler is at work: twice, since a second one is refused while a first is."""

    class Enough(Exception):
        pass

    def enough(event) -> None:
        if event.step >= 24:
            raise Enough

    for _ in range(2):
        profile = Profile(tmp_path)
        with pytest.raises(Enough):
            trained(data, profile, 40, enough)
        assert profile.found is None and not torch.autograd._profiler_enabled()


def test_products_are_noted_and_done_again() -> None:
    a, b = torch.randn(3, 4, requires_grad=True), torch.randn(4, 5)
    with Products() as products:
        (a @ b).tanh().sum().backward()
    shapes = [[tuple(each.shape) for each in args] for _, args, _ in products.calls]
    assert shapes == [[(3, 4), (4, 5)], [(3, 5), (5, 4)]]
    with Products() as again:
        products.run(2)
    assert len(again.calls) == 4


def test_spans_are_nothing_where_nobody_watches() -> None:
    seen = []

    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            seen.append(self.name)

        def __exit__(self, *error: object) -> None:
            pass

    with watched(Noting), span("inside"):
        pass
    with span("outside") as given:
        assert given is None
    assert seen == ["inside"] and span("a") is span("b")


def test_the_command_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr("taut.report.publish.publish", lambda run, data, folder, metrics: folder / "report.html")
    out = tmp_path / "run"
    assert main(["train", "digits", "--training.steps", "40", "--model.network", "MLP", "--profile",
                 "--out", str(out)]) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "a step of 128 examples, timed 10 times" in said and "likelihood" in said and "% of the speed" in said
    assert json.loads((out / "profile" / "profile.json").read_text())["batch"] == 128
    assert "profile" not in (out / "config.yaml").read_text()
    assert main(["train", "digits", "--training.steps", "3", "--profile", "--out", str(tmp_path / "few")]) == 2
    assert "train for 4 or more" in capsys.readouterr().err and not (tmp_path / "few").exists()
