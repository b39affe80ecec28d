"""What `taut evaluate --ais --bdmc --exact` does: of the same draws as the bounds, kept as it comes, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import taut
from taut.cli import main
from taut.evaluation import Annealing, annealed, bounds, bracketed, integrated
from taut.evaluation.evidence import in_words

torch.set_num_threads(1)

QUICK = Annealing(chains=4, temperatures=20, leapfrogs=5)
SHORT = {"steps": 60, "batch": 64}


def trained(folder: Path | None, latents: int = 1, **options: dict) -> taut.Run:
    model = {"latents": latents, "network": {"part": "MLP", "hidden": [16]}, **options.pop("model", {})}
    return taut.train("digits", out=folder, model=model, training=SHORT, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    trained(folder, data={"binarize": "dynamic"})
    return folder


@pytest.fixture
def run(folder: Path) -> taut.Run:
    return taut.load(folder)


def test_what_is_drawn_anew_is_drawn_alike(run: taut.Run) -> None:
    """One latent, dynamic binarisation: the bound of the same bits comes within a tenth of a nat, that of others does not."""
    subject = run.subject(seed=3)
    found = integrated(subject, 12, samples=3000)
    assert found["n"] == 12 and 0 <= found["iw"]["difference"] + 0.02 < 0.1
    assert found["error"] < 1e-3 and found["gain"] > found["iw"]["difference"]
    others = bounds(run.subject(seed=4), 100, subject.some(12))
    same = bounds(run.subject(seed=3), 100, subject.some(12))
    assert float((others.importance - same.importance).abs().mean()) > 0.5
    near = annealed(subject, Annealing(8, 60), 12, samples=3000)
    assert abs(near["value"] - found["value"]) < 5 * near["error"] + 0.05
    assert 1 <= near["ess"] <= 8 and 0.4 < near["acceptance"] < 0.95


def test_a_few_examples_speak_for_all(run: taut.Run) -> None:
    whole = run.evaluate(samples=50)
    few, every = (annealed(run.subject(), QUICK, limit, 50, whole) for limit in (60, None))
    assert few["n"] == 60 and every["n"] == 180
    assert every["value"] - every["gain"] == pytest.approx(whole["elbo"], abs=1e-6)
    assert few["value"] - few["gain"] == pytest.approx(whole["elbo"], abs=1e-6)
    assert abs(few["value"] - every["value"]) < 5 * few["gain_stderr"]
    assert few["stderr"] < 2 * every["stderr"]
    alone = annealed(run.subject(), QUICK, 60, 50)
    assert alone["gain"] == few["gain"] and alone["stderr"] > few["stderr"]


def test_a_limited_evaluation_anneals_some_of_its_own_examples(run: taut.Run) -> None:
    whole = run.evaluate(samples=5, limit=30)
    subject = run.subject()
    assert int(subject.some(10, subject.first(30)).max()) < 30
    assert annealed(subject, QUICK, 10, 5, whole)["n"] == 10
    assert annealed(subject, QUICK, 100, 5, whole)["n"] == 30


def test_a_stopped_one_goes_on(run: taut.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from taut.evaluation import evidence

    monkeypatch.setattr(evidence, "ROWS", 16)  # four examples together
    how = Annealing(4, 13, leapfrogs=3)
    asked: list[int] = []
    plain = evidence.ais

    def counted(vae, how, batch, tick):
        asked.append(len(batch.x))
        if len(asked) == 3 and stop:
            raise KeyboardInterrupt
        return plain(vae, how, batch, tick)

    monkeypatch.setattr(evidence, "ais", counted)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        annealed(run.subject(), how, 14, 5)
    stop, asked = False, []
    told: list[float] = []
    found = annealed(run.subject(), how, 14, 5, progress=lambda done, total: told.append(done))
    assert asked == [4, 2] and told[0] == 8 and told == sorted(told) and told[-1] == 14
    monkeypatch.setattr("taut.runs.Ledger", lambda folder: taut.evaluation.Ledger(None))
    assert annealed(run.subject(), how, 14, 5) == found
    asked = []
    assert annealed(run.subject(seed=1), how, 14, 5)["value"] != found["value"] and len(asked) == 4


def test_who_stops_one_is_told_how_it_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(taut.Run, "evaluate", stopped)
    assert main(["evaluate", str(folder)]) == 130
    assert "kept in the run, and the same command goes on from there" in capsys.readouterr().err


def test_both_sides(run: taut.Run) -> None:
    found = bracketed(run.subject(), Annealing(8, 40), 40)
    assert found["n"] == 40 and found["gap"] == pytest.approx(found["upper"] - found["lower"])
    assert -3 * found["gap_stderr"] < found["gap"] < 1
    assert found["lower_stderr"] > found["gap_stderr"], "the sides are of the same examples"
    assert found["chains"] == 8 and found["temperatures"] == 40


def test_words() -> None:
    settings = {"chains": 16, "temperatures": 1000, "start": "prior", "ess": 8.25}
    result = {"n": 10_000,
              "ais": {"value": -85.2, "stderr": 0.31, "n": 100, **settings,
                      "iw": {"k": 5000, "difference": 0.125, "stderr": 0.03}},
              "bdmc": {"lower": -86.0, "upper": -85.9, "gap": 0.1, "gap_stderr": 0.02, "n": 50, **settings}}  # fmt: skip
    rows = in_words(result)
    assert [row[0] for row in rows] == ["AIS", "", "BDMC", ""]
    assert rows[0][1:3] == ("−85.20", "± 0.31") and "gain on 100" in rows[0][4] and "16 chains × 1,000" in rows[0][4]
    assert rows[1][1] == "0.12" and rows[1][4] == "above IW-5000 of the same 100 examples"
    assert rows[2][1] == "−86.00 to −85.90"
    assert in_words({"n": 3}) == []


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--ais-limit", "8", "--chains", "2", "--temperatures", "5", "--samples", "20"]
    command = ["evaluate", str(folder), "--ais", "--bdmc", "--exact", *options]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"value", "stderr", "ess", "acceptance", "n", "chains", "temperatures", "schedule", "start", "iw"} <= found[
        "ais"
    ].keys()
    assert {"lower", "upper", "gap", "gap_stderr", "n"} <= found["bdmc"].keys()
    assert {"value", "stderr", "multimodal", "error", "gain", "picture"} <= found["exact"].keys()
    assert Path(found["exact"]["picture"]).stat().st_size > 1000
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "\nAIS " in out and "\nBDMC " in out and "\nexact " in out and "posteriors.png" in out


@pytest.mark.parametrize(("options", "said"), [
    (["--ais", "--chains", "0"], "chains: is 0; give 1 or more"),
    (["--bdmc", "--temperatures", "1"], "temperatures: is 1; give 2 or more"),
    (["--ais", "--schedule", "cosine"], "schedule: is 'cosine'; give sigmoid, linear or power"),
    (["--ais", "--ais-limit", "0"], "--ais-limit: is 0; give 1 or more"),
    (["--samples", "0"], "samples: is 0; give 1 or more"),
])  # fmt: skip
def test_wrong_options(folder: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(folder), *options]) == 2
    assert capsys.readouterr().err == f"taut: {said}\n"


def test_models_that_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "bits", 4, model={"posterior": "Bernoulli"}, objective={"estimator": ["RLOO"], "samples": 2})
    trained(tmp_path / "three", 3)
    for name, option, said in [
        (
            "bits",
            "--ais",
            "ais: needs latents that are real numbers, and the model's are zeros and ones; take the importance",
        ),
        ("bits", "--bdmc", "bdmc: needs latents that are real"),
        (
            "three",
            "--exact",
            "exact: sums over a grid of 1 or 2 latents, and the model has 3; anneal instead (--ais), or train",
        ),
    ]:
        assert main(["evaluate", str(tmp_path / name), option, "--samples", "2"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"taut: {said}") and error.count("\n") == 1
