"""Two runs are compared in pairs, and only if they are alike in all that makes a number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taut.api import train
from taut.cli import main
from taut.diff import difference
from taut.errors import InputError
from taut.evaluation.pairs import ALIKE, paired, require_alike
from taut.runs import load

SHORT = {"training": {"steps": 30, "batch": 64}, "model": {"latents": 4, "network": {"part": "MLP", "hidden": [16]}}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    others = {
        "one": {}, "two": {"seed": 1}, "split": {"data": {"seed": 5}}, "binary": {"data": {"binarize": "static"}},
        "drawn": {"data": {"binarize": "dynamic"}},
    }  # fmt: skip
    for name, options in others.items():
        train("digits", out=root / name, **SHORT, **options)
    train("digits", out=root / "density", **{**SHORT, "model": {**SHORT["model"], "likelihood": "Gaussian"}})
    return {path.name: path for path in root.iterdir()}


def said(capsys: pytest.CaptureFixture, *argv: object) -> tuple[int, str, str]:
    status = main([str(each) for each in argv])
    return status, *capsys.readouterr()


def test_the_difference_is_that_of_each_example(runs: dict[str, Path]) -> None:
    import taut

    one, two = taut.load(runs["one"]), taut.load(runs["two"])
    found, index = difference(one, two, samples=10, limit=50)
    from taut.evaluation import bounds

    sides = [bounds(run.subject(), 10, index).importance for run in (one, two)]
    torch.testing.assert_close(found.differences, sides[0] - sides[1])
    assert found.mean == pytest.approx(float(sides[0].mean() - sides[1].mean()))
    assert found.stderr < float(sides[0].std()) / len(index) ** 0.5, "pairing should lower the error"
    back, _ = difference(two, one, samples=10, limit=50)
    assert back.mean == pytest.approx(-found.mean) and back.wins == pytest.approx(1 - found.wins)
    same, _ = difference(one, one, samples=10, limit=50)
    assert same.mean == 0 and "no difference" in same.verdict()


def test_what_training_has_kept_is_enough(runs: dict[str, Path], capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    picture = tmp_path / "d.png"
    status, out, _ = said(capsys, "diff", runs["one"], runs["two"], "-o", picture)
    assert status == 0 and "IW-100" in out and "paired, 180 test examples" in out
    with Image.open(picture) as image:
        assert image.size[0] > 1000
    status, out, _ = said(capsys, "diff", runs["one"], runs["two"], "--json")
    found = json.loads(out)
    summaries = [json.loads((runs[name] / "summary.json").read_text()) for name in ("one", "two")]
    assert found["difference"] == pytest.approx(summaries[0]["iw"]["value"] - summaries[1]["iw"]["value"])


@pytest.mark.parametrize(
    ("other", "named"),
    [("split", "test examples"), ("binary", "test examples"), ("drawn", "support"), ("density", "kind of likelihood")],
)
def test_unlike_runs_are_refused_by_name(
    runs: dict[str, Path], capsys: pytest.CaptureFixture, other: str, named: str
) -> None:
    status, out, err = said(capsys, "diff", runs["one"], runs[other], "--samples", 2)
    assert status == 2 and not out and len(err.splitlines()) == 1
    assert named in err or "support" in err, err


def test_unlike_bounds_are_refused_by_name(runs: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    assert said(capsys, "evaluate", runs["one"], "--samples", 150, "--quiet")[0] == 0
    status, _, err = said(capsys, "diff", runs["one"], runs["two"])
    assert status == 2 and "number of samples k: 150 and 100" in err and "--samples 150" in err
    assert said(capsys, "diff", runs["one"], runs["two"], "--samples", 150)[0] == 0


@pytest.mark.parametrize(
    ("options", "said_of_it"),
    [(("--limit", 0, "--samples", 1), "limit: is 0; give 1 or more"), (("--limit", 5), "say --samples K too")],
)
def test_a_limit_is_kept_or_refused(
    runs: dict[str, Path], capsys: pytest.CaptureFixture, options: tuple, said_of_it: str
) -> None:
    status, out, err = said(capsys, "diff", runs["one"], runs["two"], *options)
    assert status == 2 and not out and said_of_it in err


def test_an_exact_log_p_is_held_against_a_bound_and_called_so(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plain = train("digits", out=tmp_path / "exact", model={"layers": []}, training={"steps": 5, "batch": 64})
    picture = tmp_path / "d.png"
    for options in ((), ("--samples", 3, "--limit", 20)):
        status, out, err = said(capsys, "diff", runs["one"], plain.folder, *options, "-o", picture, "--force")
        assert status == 0, err
        first, second = out.splitlines()[:2]
        assert ("IW-3" if options else "IW-1") in first and second.endswith("log p(x), exact")
    found, index = difference(load(runs["one"]), plain, samples=3, limit=20)
    assert found.what == "IW-3 and log p(x), exact"
    batch = plain.subject().batch(index)
    torch.testing.assert_close(found.means[1], float(plain.vae(batch).log_likelihood(batch).mean()), atol=1e-3, rtol=0)


def test_every_condition_is_held() -> None:
    alike = dict.fromkeys(ALIKE, 1) | {"data": "x"}
    require_alike(alike, dict(alike))
    for name, words in ALIKE.items():
        with pytest.raises(InputError, match=words):
            require_alike(alike, alike | {name: 2})


def test_a_verdict_needs_more_than_two_standard_errors() -> None:
    rng = np.random.default_rng(0)
    noise = torch.as_tensor(rng.standard_normal(400))
    assert "no difference" in paired(noise + 0.01, torch.zeros(400), "ELBO").verdict()
    assert paired(noise + 1, torch.zeros(400), "ELBO").verdict() == "the first is better"
    assert paired(noise - 1, torch.zeros(400), "ELBO").verdict() == "the second is better"


def test_a_point_has_no_bound(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = {**SHORT, "model": {**SHORT["model"], "posterior": "Delta"}}
    train("digits", out=tmp_path / "point", **options)
    status, _, err = said(capsys, "diff", runs["one"], tmp_path / "point", "--samples", 2)
    assert status == 2 and "point posterior" in err
