"""Are codes useful? Probe, MIG and DCI against cases whose answer is known."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

import taut
from taut.cli import main
from taut.console import result_lines
from taut.data import Split, open_array
from taut.evaluation import evaluate, quality
from taut.evaluation.disentanglement import binned, concentration, dci, entropy, information, mig
from taut.evaluation.probe import linear_probe
from taut.evaluation.quality import in_words as quality_in_words
from taut.runs import load

RNG = np.random.default_rng(0)
N = 2500
TURN = np.array([[1, -1], [1, 1]]) / math.sqrt(2)


def h(p: float) -> float:
    """The entropy of a coin in nats."""
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def factors(n: int = N) -> np.ndarray:
    """Two quantities and one of three kinds, independent."""
    return np.column_stack([RNG.uniform(-1, 1, (n, 2)), RNG.integers(3, size=n)])


NAMES = ("a", "b", "kind")


# --- entropy and information -------------------------------------------------------------------------------------


def test_few_values_are_kinds_and_many_are_cut_into_bins_of_equal_width():
    assert binned(np.array([3.5, -1.0, 3.5, 9.0])).tolist() == [1, 0, 1, 2]
    x = RNG.normal(size=5000)
    codes = binned(x)
    edges = np.linspace(x.min(), x.max(), 21)
    assert np.bincount(codes, minlength=20).tolist() == np.histogram(x, edges)[0].tolist()
    assert binned(np.full(9, 2.0)).tolist() == [0] * 9


def test_entropy_is_that_of_the_counts_and_a_correction():
    assert entropy(np.repeat(np.arange(8), 50)) == pytest.approx(math.log(8) + 7 / 800)
    assert entropy(np.zeros(9, int)) == 0
    p = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.08, 0.06, 0.06])
    few = [entropy(RNG.choice(8, 100, p=p)) for _ in range(4000)]
    assert np.mean(few) == pytest.approx(-(p * np.log(p)).sum(), abs=5e-3)  # uncorrected it would be 0.035 too low


def test_information_of_a_channel_that_flips_bits():
    sent = RNG.integers(2, size=200_000)
    received = sent ^ (RNG.random(len(sent)) < 0.1)
    assert information(sent, received) == pytest.approx(math.log(2) - h(0.1), abs=5e-3)
    assert information(received, sent) == pytest.approx(information(sent, received), abs=1e-12)
    assert information(sent, sent) == entropy(sent)


def test_information_of_normals_is_that_of_their_bins():
    z = RNG.normal(size=(40_000, 2))
    a, b = z[:, 0], 0.9 * z[:, 0] + math.sqrt(1 - 0.81) * z[:, 1]
    edges = [np.linspace(v.min(), v.max(), 21) for v in (a, b)]
    edges = [np.concatenate([[-9], e[1:-1], [9]]) for e in edges]
    fine = np.linspace(-9, 9, 4001)
    middle, width = (fine[1:] + fine[:-1]) / 2, fine[1] - fine[0]
    upper = norm.cdf((edges[1][None] - 0.9 * middle[:, None]) / math.sqrt(1 - 0.81))
    rows = np.diff(upper, axis=1) * norm.pdf(middle)[:, None] * width
    where = np.digitize(middle, edges[0]) - 1
    joint = np.stack([rows[where == i].sum(0) for i in range(20)])
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    truth = (joint[joint > 1e-300] * np.log(joint[joint > 1e-300] / apart[joint > 1e-300])).sum()
    assert 0.6 < truth < -0.5 * math.log(1 - 0.81)
    assert information(binned(a), binned(b)) == pytest.approx(truth, abs=0.01)


def test_independent_values_share_nothing_however_few_they_are():
    shared = [information(binned(RNG.random(1000)), binned(RNG.random(1000))) for _ in range(100)]
    assert np.mean(shared) < 0.05  # without the correction 0.18


# --- MIG ---------------------------------------------------------------------------------------------------------


def test_mig_of_the_factors_themselves_is_one():
    v = factors()
    codes = v[:, [2, 0, 1]] * [-5, 0.1, 3] + [1, 0, 0]
    found = mig(codes, v, NAMES)
    assert found["value"] > 0.98 and all(gap > 0.98 for gap in found["factors"].values())
    assert [int(np.argmax(found["shares"][name])) for name in NAMES] == [1, 2, 0]
    assert max(map(max, found["shares"].values())) == pytest.approx(1, abs=1e-12)


def test_mig_is_how_far_the_second_latent_is_behind():
    v = RNG.integers(2, size=(100_000, 1))
    noisy = v ^ (RNG.random(v.shape) < 0.2)
    found = mig(np.column_stack([noisy, v, np.ones(len(v))]), v, ("bit",))
    assert found["factors"]["bit"] == pytest.approx(h(0.2) / math.log(2), abs=0.01)
    assert found["shares"]["bit"] == pytest.approx([1 - h(0.2) / math.log(2), 1, 0], abs=0.01)
    assert mig(np.column_stack([v, v]), v, ("bit",))["value"] == 0
    assert mig(v, v, ("bit",))["value"] == pytest.approx(1)


def test_mig_of_turned_and_of_random_codes_is_none():
    v = factors()
    assert mig(v[:, :2] @ TURN, v[:, :2], NAMES[:2])["value"] < 0.03
    assert mig(RNG.normal(size=(N, 5)), v, NAMES)["value"] < 0.02


def test_what_does_not_vary_has_no_information():
    v = factors()
    v[:, 1] = 4
    found = mig(np.column_stack([v, np.zeros(N)]), v, NAMES)
    assert found["factors"]["b"] is None and found["value"] > 0.98
    assert mig(v, v[:, [1]], ("b",))["value"] is None


# --- DCI ---------------------------------------------------------------------------------------------------------


def test_concentration_is_one_less_the_entropy():
    R = np.array([[2, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [3, 1, 0, 0]])
    assert concentration(R) == pytest.approx([1, 0, 0, 1 - h(0.25) / math.log(4)])
    assert concentration(np.array([[5.0], [0.0]])).tolist() == [1, 0]


def test_dci_of_the_factors_themselves_is_one():
    v, other = factors(), factors(1000)
    found = dci(v[:, [2, 0, 1]] * 7, v, other[:, [2, 0, 1]] * 7, other, NAMES)
    assert min(found[name] for name in ("disentanglement", "completeness", "informativeness")) > 0.97
    R = np.array([found["importance"][name] for name in NAMES])
    assert R.sum(1) == pytest.approx(1) and R.argmax(1).tolist() == [1, 2, 0]


def test_turned_codes_are_informative_and_not_disentangled():
    v, other = factors()[:, :2], factors(1000)[:, :2]
    found = dci(v @ TURN, v, other @ TURN, other, NAMES[:2])
    assert found["informativeness"] > 0.9
    assert found["disentanglement"] < 0.05 and found["completeness"] < 0.05


def test_a_factor_in_two_latents_is_disentangled_and_not_complete():
    v, other = factors()[:, :2], factors(1000)[:, :2]

    def spread(v):
        return np.column_stack([v, v[:, 0]]) + 0.1 * RNG.normal(size=(len(v), 3))

    found = dci(spread(v), v, spread(other), other, NAMES[:2])
    assert found["disentanglement"] > 0.9
    assert found["completeness"] == pytest.approx((1 - math.log(2) / math.log(3) + 1) / 2, abs=0.1)


def test_random_codes_tell_nothing():
    z, other = RNG.normal(size=(N, 4)), RNG.normal(size=(1000, 4))
    found = dci(z, factors(), other, factors(1000), NAMES)
    assert found["informativeness"] < 0.02 and found["completeness"] < 0.1 and found["disentanglement"] < 0.1


def test_informativeness_is_the_explained_share_of_the_variance():
    z, other = RNG.normal(size=(6000, 1)), RNG.normal(size=(4000, 1))
    v, w = (x + 0.5 * RNG.normal(size=x.shape) for x in (z, other))
    assert dci(z, v, other, w, ("v",))["informativeness"] == pytest.approx(1 / 1.25, abs=0.03)


def test_informativeness_of_kinds_is_the_share_of_guesses_mended():
    v, w = RNG.integers(2, size=(4000, 1)), RNG.integers(2, size=(4000, 1))
    z, other = (x ^ (RNG.random(x.shape) < 0.1) for x in (v, w))
    found = dci(z, v, other, w, ("bit",))
    assert found["informativeness"] == pytest.approx(1 - 0.1 / 0.5, abs=0.04)
    assert found["disentanglement"] == found["completeness"] == 1


def test_constant_latents_and_factors_break_nothing():
    v, other = factors(), factors(500)
    v[:, 0] = other[:, 0] = 1
    found = dci(np.zeros((N, 2)), v, np.zeros((500, 2)), other, NAMES)
    assert list(found["factors"]) == ["b", "kind"] and found["informativeness"] < 0.02
    assert found["disentanglement"] == found["completeness"] == 0
    assert dci(v, v[:, :1], other, other[:, :1], ("a",))["informativeness"] is None


# --- the probe ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_probe_reaches_the_best_accuracy_there_is(scale):
    y = RNG.integers(2, size=30_000)
    z = RNG.normal(size=(len(y), 4))
    z[:, 2] += 2 * y
    z = np.column_stack([z, np.full(len(y), 3.0)]) * [1, 1, scale, 1, 1]
    found = linear_probe(z[:5000], y[:5000], z[5000:], y[5000:])
    error = math.sqrt(norm.cdf(1) * norm.cdf(-1) / 25_000)
    assert found["accuracy"] == pytest.approx(norm.cdf(1), abs=4 * error)
    assert found["stderr"] == pytest.approx(error, rel=0.01)
    assert found["majority"] == pytest.approx(0.5, abs=0.02)
    assert (found["classes"], found["n_train"], found["n"]) == (2, 5000, 25_000)


def test_words_of_a_probe_of_a_dead_code_claim_nothing_of_the_code():
    found = {"probe": {"accuracy": 0.9, "stderr": 0.02, "raw": None, "majority": 0.1, "classes": 10}}
    assert quality_in_words(found, 12.0)[0][-1] == "told by the codes (majority 10.0%)"
    for rate, nats in ((0.004, "0.00"), (1.7, "1.70")):  # by Fano 1.76 nats are behind such a guess
        said = quality_in_words(found, rate)[0][-1]
        assert said == f"read off q's means, not off draws of z, which tell {nats} nats at most (majority 10.0%)"
    assert quality_in_words(found, 1.8)[0][-1].startswith("told by the codes")


def test_the_probe_of_six_classes():
    angle = np.arange(6) * math.pi / 3
    y = RNG.integers(6, size=30_000)
    noise = RNG.normal(size=(len(y), 2))
    z = 2 * np.column_stack([np.cos(angle[y]), np.sin(angle[y])]) + noise
    # the best classifier goes by the angle, which for a normal about (2, 0) has this density
    t = np.linspace(-math.pi / 6, math.pi / 6, 2001)
    c = 2 * np.cos(t)
    density = np.exp(-2.0) / (2 * math.pi) * (1 + c * norm.cdf(c) / norm.pdf(c))
    best = np.trapezoid(density, t)
    found = linear_probe(z[:6000], y[:6000], z[6000:], y[6000:])
    assert found["accuracy"] == pytest.approx(best, abs=0.01)


def test_codes_that_say_nothing_are_worth_the_majority():
    y = (RNG.random(4000) < 0.2).astype(int)
    z = RNG.normal(size=(4000, 3))
    found = linear_probe(z[:2000], y[:2000], z[2000:], y[2000:])
    assert found["accuracy"] == pytest.approx(found["majority"], abs=0.005)
    constant = linear_probe(np.ones((2000, 2)), y[:2000], np.ones((2000, 2)), y[2000:])
    assert constant["accuracy"] == constant["majority"] == (y[2000:] == 0).mean()


def test_few_examples_and_few_of_a_class_are_probed_without_a_warning():
    y = np.array([0, 1, 2, 2, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = linear_probe(np.eye(5)[y], y, np.eye(5)[[0, 2, 3]], np.array([0, 2, 3]))
        names = linear_probe(z := RNG.normal(size=(60, 3)), np.arange(60), z, np.arange(60))
    assert found["accuracy"] == pytest.approx(2 / 3) and found["classes"] == 3
    assert names["classes"] == 60


# --- of splits and runs ------------------------------------------------------------------------------------------


def split(n: int = 600) -> Split:
    v = torch.from_numpy(factors(n)).float()
    return Split(torch.cat([v, torch.zeros(n, 1)], 1), v[:, 2].long(), v)


def whole(some: Split, sample: bool = False) -> np.ndarray:
    return some.x.numpy()


def test_quality_is_of_what_there_is():
    train, test = split(), split()
    found = quality(whole, test, train, NAMES)
    assert list(found) == ["probe", "mig", "dci"] and json.loads(json.dumps(found)) == found
    assert found["probe"]["accuracy"] == found["probe"]["raw"] == 1 and found["mig"]["value"] > 0.95
    assert list(quality(whole, replace(test, factors=None), train)) == ["probe"]
    assert list(quality(whole, replace(test, labels=None), train, NAMES)) == ["mig", "dci"]
    assert quality(whole, Split(test.x), train) == {}


def test_a_collapsed_latent_tells_nothing_though_its_mean_does():
    def encode(some: Split, sample: bool = False) -> np.ndarray:
        means = np.column_stack([some.factors[:, 0], 1e-3 * some.factors[:, 0]])
        spread = np.array([0.01, 1.0])
        return means + spread * RNG.normal(size=means.shape) if sample else means

    found = quality(encode, split(1500), split(), NAMES)["mig"]
    assert found["shares"]["a"][0] > 0.8 and found["shares"]["a"][1] < 0.03


def test_what_cannot_be_measured_says_why():
    train, test = split(), split()
    found = quality(whole, test, None, NAMES, "no training split")
    assert found["probe"] == {"accuracy": None, "why": "no training split"}
    assert found["dci"] == {"disentanglement": None, "why": "no training split"} and found["mig"]["value"] > 0.95
    one = replace(train, labels=torch.zeros(len(train), dtype=torch.int64))
    assert "fewer than two" in quality(whole, test, one, NAMES)["probe"]["why"]
    strange = replace(test, labels=torch.full((len(test),), -1))
    assert "no label" in quality(whole, strange, train, NAMES)["probe"]["why"]
    still = replace(test, factors=torch.ones(len(test), 3))
    found = quality(whole, still, train, NAMES)
    assert found["mig"]["why"] == found["dci"]["why"] == "no factor varies"
    found = quality(lambda some, **_: np.full((len(some), 2), np.inf), test, train, NAMES)
    assert all("finite" in found[name]["why"] for name in ("probe", "mig", "dci"))


def test_unknown_labels_are_passed_over():
    train, test = split(), split()
    train.labels[::3] = -1
    test.labels[:200] = -1
    found = quality(whole, test, train, NAMES)["probe"]
    assert (found["n_train"], found["n"], found["accuracy"]) == (400, 400, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality") / "run"
    small = (
        "--model.network MLP --model.network.hidden 32 --model.latents 3 --training.steps 30 --data.limit 500 --quiet"
    )
    assert main(["train", "shapes", "--out", str(folder), *small.split()]) == 0
    return load(folder)


def test_a_run_says_what_its_codes_are_worth(run):
    found = run.summary["quality"]
    assert found["probe"]["n_train"] == 500 and found["probe"]["n"] == found["mig"]["n"] == 1000
    assert list(found["mig"]["factors"]) == ["x", "y", "size", "angle", "kind"]
    bounds = evaluate(run.subject(), samples=2)
    again = run.evaluate(samples=2)
    assert again.pop("quality") == found and again == bounds, "the bounds are as they were"
    assert run.evaluate(samples=1, limit=100)["quality"]["probe"]["n"] == 100
    lines = "\n".join(result_lines(run.summary))
    for word in ("linear probe", "MIG", "disentanglement", "completeness", "informativeness"):
        assert word in lines
    page = (run.folder / "report.html").read_text("utf-8")
    assert "The codes" in page and "The factors" in page and (run.folder / "figures" / "factors.png").exists()


def test_other_data_are_asked_as_far_as_they_can_be(run):
    other = run.evaluate("shapes", samples=1)
    assert other["n"] == 10_000 and other["quality"]["probe"]["n"] == other["quality"]["mig"]["n"] == 10_000
    x = run.reading.restore(run.dataset().test.x[:200])
    strange = open_array(x, labels=[0, 1] * 100, factors=np.arange(200.0))
    assert "quality" not in run.evaluate(strange, samples=1)


def test_without_the_training_split_the_probe_is_left_out(run):
    loaded = load(run.folder)
    loaded.facts["hash"] = "another"
    found = loaded.evaluate("shapes", samples=1, limit=300)["quality"]
    assert "not at hand" in found["probe"]["why"] and "not at hand" in found["dci"]["why"]
    assert found["mig"]["n"] == 300
    assert any("not at hand" in line for line in result_lines({**run.summary, "quality": found}))


def test_nothing_is_said_of_data_without_labels_nor_of_models_without_latents():
    x, model, brief = RNG.normal(size=(60, 3)), {"network": {"part": "MLP", "hidden": [8]}}, {"steps": 3}
    assert "quality" not in taut.train(x, model=model, training=brief).summary
    assert "quality" not in taut.train(x, [0, 1] * 30, model=model | {"layers": []}, training=brief).summary


def test_factors_in_memory_are_measured():
    v = factors(400)
    x = np.column_stack([v, v.sum(1)])
    got = taut.train(
        x, factors=v, model={"latents": 2, "network": {"part": "MLP", "hidden": [8]}}, training={"steps": 5}
    )
    assert list(got.summary["quality"]["mig"]["factors"]) == ["factor 0", "factor 1", "factor 2"]
