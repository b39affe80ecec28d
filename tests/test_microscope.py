"""One example, a training, the bounds and a sweep as the page shows them: against closed forms, and what evaluations say."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from quick import quick_run
from test_annealing import made
from test_model import hierarchy, linear

from taut.errors import InputError
from taut.evaluation import Annealing, annealed, bracketed, integrated
from taut.explore.lessons import likelihood_over, packed
from taut.explore.microscope import exact_posterior, examine, growth, log_weights, noised, posteriors_of, steps_to
from taut.explore.portrait import portrait
from taut.explore.truth import comparable, ladder, refusals
from taut.explore.watching import columns, read_from
from taut.page.answers import Question, read
from taut.page.catalogue import Catalogue
from taut.page.desk import Desk
from taut.page.frames import pack, unpack
from taut.runs import write_json

torch.set_num_threads(1)

SMALL = {"part": "MLP", "hidden": [16]}
LESSONS = Path(__file__).parents[1] / "src" / "taut" / "page" / "static" / "lessons"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of several kinds, by name."""
    root = tmp_path_factory.mktemp("microscope")
    kinds = {
        "plane": {"latents": 2},
        "layers": {"layers": [{"part": "Plain", "latents": 3}, {"part": "Plain", "latents": 4}]},
        "choices": {"latents": 4, "posterior": {"part": "Categorical", "categories": 3}},
        "sphere": {"latents": 4, "posterior": {"part": "VonMisesFisher"}},
        "point": {"latents": 2, "posterior": {"part": "Delta"}},
        "flow": {"latents": 3, "posterior": {"part": "IAF"}},
    }
    return {name: quick_run(root / name, network=SMALL, **model) for name, model in kinds.items()}


def test_bounds_rise_with_nested_groups():
    weights = np.random.default_rng(0).normal(size=64) * 3
    found = growth(weights, np.array([1, 2, 4, 8, 16, 32, 64]))
    assert (np.diff(found.mean) > 0).all()  # Jensen, group by group
    assert found.mean[0] == pytest.approx(weights.mean(), abs=1e-12)
    assert found.mean[-1] == pytest.approx(math.log(np.exp(weights).mean()), abs=1e-12)
    assert (found.low <= found.mean + 1e-12).all() and (np.diff(found.high - found.low) < 0).all()


def test_few_draws_have_few_steps():
    assert steps_to(3).tolist() == [1]
    assert steps_to(16).tolist() == [1, 2]


@pytest.mark.parametrize("make", [linear, hierarchy])
def test_weights_of_the_exact_posterior_are_all_the_evidence(make):
    vae, truth = make()
    torch.manual_seed(0)
    batch, _ = made(vae, 1)
    weights = log_weights(vae, batch, 50)
    np.testing.assert_allclose(weights, float(truth.log_prob(batch.x)), atol=1e-9)
    found = growth(weights)
    np.testing.assert_allclose(found.high - found.low, 0, atol=1e-9)


def test_the_naive_estimate_is_right_in_the_end_and_low_before():
    vae, truth = linear(1)
    torch.manual_seed(0)
    batch, _ = made(vae, 1)
    log_p = float(truth.log_prob(batch.x))
    torch.manual_seed(1)
    weights = log_weights(vae, batch, 40_000, prior=True)
    ratio = np.exp(weights - log_p)
    assert ratio.mean() == pytest.approx(1, abs=4.5 * ratio.std() / math.sqrt(len(ratio)))
    assert growth(weights, np.array([1])).mean[0] < log_p - 1


def test_posteriors_stand_beside_their_priors():
    vae, _ = linear()
    torch.manual_seed(0)
    batch, _ = made(vae, 1)
    (found,) = posteriors_of(vae, batch)
    q = vae(batch).steps[0].q
    np.testing.assert_allclose(found.mean, q.mean[0].detach(), atol=1e-12)
    np.testing.assert_allclose(found.std, q.stddev[0].detach(), atol=1e-12)
    np.testing.assert_allclose(found.prior_mean, 0, atol=0)
    kl = 0.5 * (found.mean**2 + found.std**2 - 1) - np.log(found.std)
    np.testing.assert_allclose(found.kl, kl, atol=1e-9)
    assert not found.measured


def test_gradients_reach_the_mean_and_the_spread(runs):
    run = replace(runs["plane"], vae=runs["plane"].vae.double())
    noise = np.array([0.7, -1.3])
    found = noised(run, 5, noise)
    np.testing.assert_allclose(found.code, found.mean + found.std * noise, atol=1e-12)
    batch = run.subject().batch(torch.tensor([5]))

    def distortion(mean: np.ndarray, std: np.ndarray) -> float:
        from taut.model import follow

        z = torch.as_tensor(mean + std * noise)[None]
        return float(run.vae.generate(1, follow([z])).distortion(batch))

    step = 1e-5
    for i in range(2):
        by = step * np.eye(2)[i]
        slope = distortion(found.mean + by, found.std) - distortion(found.mean - by, found.std)
        assert found.by_code[i] == pytest.approx(slope / (2 * step), rel=1e-5, abs=1e-7)
        slope = distortion(found.mean, found.std + by) - distortion(found.mean, found.std - by)
        assert found.by_std[i] == pytest.approx(slope / (2 * step), rel=1e-5, abs=1e-7)
    assert found.distortion == pytest.approx(distortion(found.mean, found.std))
    run.vae.float()


def test_what_is_no_sum_of_noise_is_refused(runs):
    for name in ("layers", "sphere", "choices", "point", "flow"):
        with pytest.raises(InputError, match="one layer of normals"):
            noised(runs[name], 0)


def test_the_exact_posterior_is_a_density(runs):
    log_p, peaks, grid = exact_posterior(runs["plane"], 3)
    area = math.prod(float(axis[1] - axis[0]) for axis in grid.axes)
    assert np.exp(grid.posterior.astype(np.float64)).sum() * area == pytest.approx(1, abs=0.03)
    assert np.exp(grid.q.astype(np.float64)).sum() * area == pytest.approx(1, abs=0.03)
    assert peaks == 1
    # p(z|x) p(x) = p(x|z) p(z), in the middle of the grid
    middle = len(grid.axes[0]) // 2
    batch = runs["plane"].subject().batch(torch.tensor([3]))
    from taut.model import follow

    z = torch.tensor([[float(axis[middle]) for axis in grid.axes]])
    joint = runs["plane"].vae.generate(1, follow([z]))
    said = float(joint.log_likelihood(batch) + joint.log_prior())
    assert grid.posterior[middle, middle] + log_p == pytest.approx(said, abs=1e-2)
    with pytest.raises(InputError):
        exact_posterior(runs["layers"], 0)


@pytest.mark.parametrize("name", ["plane", "layers", "choices", "sphere", "point", "flow"])
def test_every_kind_can_be_examined(runs, name):
    run = runs[name]
    found = examine(run, 2, draws=3, samples=40)
    assert found.rebuilt.shape == (4, 8, 8)
    assert found.codes.shape[0] == 4 and np.isfinite(found.codes).all()
    assert [len(p.mean) for p in found.posteriors] == [math.prod(layer.event) for layer in run.vae.layers]
    assert all(np.isfinite(p.mean).all() for p in found.posteriors)
    if name == "point":
        assert found.rate is None and found.log_weights is None and "point posterior" in found.why
    else:
        assert found.log_weights.shape == (40,) and found.why == ""
        assert found.importance.mean[-1] >= found.importance.mean[0] - 1e-9
    again = examine(run, 2, draws=3, samples=40)
    np.testing.assert_array_equal(found.codes, again.codes)
    with pytest.raises(InputError, match="give one from 0"):
        examine(run, 10**6)


def test_noisy_bounds_leave_the_elbo_alone(tmp_path):
    run = quick_run(tmp_path / "noisy", network=SMALL, latents=2, prior={"part": "Diffusion"})
    found = examine(run, 0, draws=1, samples=20)
    assert found.log_weights is None and found.importance is None and found.rate is not None
    assert "exponentiate" in found.why


def test_a_journal_is_read_a_few_lines_at_a_time(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_from(path, 0) == ([], 0, False)
    path.write_text('{"step": 1, "split": "valid"}\n{"step": 2, "spl')
    rows, offset, again = read_from(path, 0)
    assert [row["step"] for row in rows] == [1] and not again
    path.write_text('{"step": 1, "split": "valid"}\n{"step": 2, "split": "valid"}\nnonsense\n[1]\n')
    rows, offset, again = read_from(path, offset)
    assert [row["step"] for row in rows] == [2] and not again and offset == path.stat().st_size
    path.write_text('{"step": 1, "split": "valid"}\n')  # a run that goes on from a checkpoint
    rows, offset, again = read_from(path, offset)
    assert [row["step"] for row in rows] == [1] and again


def test_columns_of_a_journal():
    rows = [
        {"step": 5, "split": "train", "distortion": 9.0, "rate": 1.0},
        {"step": 5, "split": "valid", "elbo": None, "distortion": 8.0, "rate": 2.0, "kl": [[0.5, 1.5], [0.25]]},
        {"step": 9, "split": "valid", "elbo": -7.0, "distortion": 5.0, "rate": 2.0, "kl": [[1.0, 1.0], [0.5]]},
    ]
    found = columns(rows)
    assert found["step"].tolist() == [5, 9] and np.isnan(found["elbo"][0]) and found["elbo"][1] == -7
    assert found["train_distortion"].tolist() == [9]
    np.testing.assert_allclose(found["kl"], [[0.5, 1.5, 0.25], [1.0, 1.0, 0.5]])
    assert found["layer"].tolist() == [0, 0, 1]
    assert columns([])["kl"].shape == (0, 0)


def test_the_ladder_is_what_evaluations_say(tmp_path):
    run = quick_run(tmp_path / "run", network=SMALL, latents=2)
    run.summary = run.evaluate(samples=20)
    write_json(run.folder / "summary.json", run.summary)
    before = ladder(run.summary, run.folder)
    assert [rung["name"] for rung in before["rungs"]] == ["ELBO", "IW-20"]
    assert before["missing"] == ["ais", "exact", "bdmc", "gaps"]
    how, subject = Annealing(chains=4, temperatures=8, leapfrogs=2), run.subject()
    ais = annealed(subject, how, 6, 20, run.summary)
    exact = integrated(subject, 4, 20, run.summary)
    both = bracketed(subject, how, 4)
    # what a search for a q of each example would leave, without the search
    parts = {"elbo": [1.0, 2.0, 3.0], "family": [2.0, 2.5, 3.0], "importance": [2.0, 4.5, 4.0]}
    bounds = {key: torch.tensor(values) for key, values in parts.items()}
    subject.measure("gaps", {"k": 20}, lambda batch, tick: bounds, torch.arange(3))
    found = ladder(run.summary, run.folder)
    by = {rung["name"]: rung for rung in found["rungs"]}
    assert list(by) == ["ELBO", "IW-20", "AIS", "exact"]
    assert by["ELBO"]["value"] == run.summary["elbo"]
    assert by["IW-20"]["value"] == pytest.approx(run.summary["iw"]["value"], abs=1e-9)
    for name, told in (("AIS", ais), ("exact", exact)):
        assert by[name]["value"] == pytest.approx(told["value"], abs=0.5)  # by the ELBO of as many or more draws
        assert by[name]["n"] == told["n"]
    assert found["sandwich"]["gap"]["value"] == pytest.approx(both["gap"], abs=1e-9)
    assert [found["gaps"][name]["value"] for name in ("amortisation", "approximation")] == [0.5, 1.0]
    assert found["missing"] == []
    json.dumps(found)
    with torch.no_grad():
        next(run.vae.parameters()).add_(1.0)
    run.write()  # other weights: nothing that was measured is theirs
    assert ladder(run.summary, run.folder)["missing"] == ["ais", "exact", "bdmc", "gaps"]


def test_refusals_say_why(runs):
    assert refusals(runs["plane"].vae) == {}
    assert "latents" in refusals(runs["layers"].vae)["exact"]
    assert set(refusals(runs["sphere"].vae)) >= {"ais", "bdmc", "exact"}


def test_only_like_is_compared_with_like():
    own = {"support": "values {0, 1}", "bits_per_dim": 0.2, "elbo": -1.0}
    others = [
        {"facts": {"hash": "a"}, "summary": own},
        {"facts": {"hash": "b"}, "summary": own},
        {"facts": {"hash": "a"}, "summary": own | {"bits_per_dim": None}},
        {"facts": {"hash": "a"}, "summary": own | {"elbo": None}},
    ]
    reasons = comparable({"hash": "a"}, own, others)
    assert reasons[0] == "" and all(reasons[1:])
    assert "density" in reasons[2] and "point" in reasons[3]
    assert comparable({"hash": "a"}, own | {"elbo": None}, others[:1]) == ["this run has no bound"]


@pytest.mark.parametrize("name", ["plane", "layers", "choices", "sphere", "point"])
def test_a_portrait_of_each_kind(runs, name):
    run = runs[name]
    few = run.test_split().take(slice(3))
    found = portrait(run, run.encode(run.test_split()), few, across=4)
    assert found.grid.shape == (16, 8, 8) and found.rebuilt.shape == found.samples.shape == (3, 8, 8)
    assert found.codes.shape == (180, 2) and found.reach > 0


def test_the_plane_of_a_lesson_is_the_likelihood(runs):
    from taut.model import follow

    run = runs["plane"]
    found = likelihood_over(run, 4, 2.0, 5)
    batch = run.subject().batch(torch.tensor([4]))
    said = run.vae.generate(1, follow([torch.tensor([[-1.0, 2.0]])])).log_likelihood(batch)
    assert found[1, 4] == pytest.approx(float(said), abs=1e-3)


def test_packed_arrays_come_back():
    values = np.array([[1, -2], [300, 4]], dtype=np.int16)
    held = packed(values)
    assert held["shape"] == [2, 2] and held["dtype"] == "int16"
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(held["base64"]), "<i2").reshape(2, 2), values)


def test_shipped_lessons_hold_together():
    files = sorted(LESSONS.glob("*.json"))
    assert [path.stem for path in files] == ["collapse", "plane", "tension"]
    assert sum(path.stat().st_size for path in files) < 500_000
    collapse, plane, tension = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    assert [point["beta"] for point in tension["points"]] == sorted(point["beta"] for point in tension["points"])
    assert tension["points"][0]["elbo"] is None
    for model in (*tension["points"][1:], *collapse["runs"]):
        assert model["elbo"] == pytest.approx(-model["distortion"] - model["rate"], abs=1e-2)
    rates = [point["rate"] for point in tension["points"][1:]]
    assert rates == sorted(rates, reverse=True)
    assert {run["name"] for run in collapse["runs"]} == {"plain", "annealing", "free bits"}
    axis = np.linspace(-plane["reach"], plane["reach"], plane["points"])
    cell = 2 * math.log(axis[1] - axis[0])
    prior = -0.5 * axis**2 - 0.5 * math.log(2 * math.pi)
    for example in plane["examples"]:
        held = np.frombuffer(base64.b64decode(example["tenths"]["base64"]), "<i2").reshape(len(axis), len(axis))
        joint = held / 10 + prior[:, None] + prior[None]
        assert np.logaddexp.reduce(joint, axis=None) + cell == pytest.approx(example["log_p"], abs=0.1)


def test_questions_of_these_views_are_answered_for_every_kind(runs):
    root = runs["plane"].folder.parent
    catalogue = Catalogue([root])
    for entry in catalogue.entries():
        desk = Desk(entry, catalogue)
        for kind, fields in (
            ("metrics", {}), ("truth", {}), ("refusals", {}), ("beside", {}), ("sweep", {}),
            ("examine", {"example": 1, "samples": 20}), ("portrait", {"run": entry.id}), ("noise", {"example": 1}),
            ("exact", {"example": 1}),
        ):  # fmt: skip
            try:
                reply = read(kind, fields).answer(desk)
            except InputError as error:
                assert kind in ("noise", "exact") and str(error)
                continue
            meta, arrays = unpack(pack({"id": 1, **reply.meta}, reply.arrays))
            assert meta["id"] == 1 and set(arrays) == set(reply.arrays)
    assert {"examine", "exact", "noise", "metrics", "truth", "refusals", "beside", "sweep", "portrait"} <= set(
        Question.known
    )
