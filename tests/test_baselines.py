"""Baselines are densities, fitted as they say, in the nats of the data; inference without an encoder gets as far as its
gradient."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from taut.api import train
from taut.cli import main
from taut.data import Support
from taut.evaluation.baselines import baselines, densities
from taut.evaluation.baselines.bernoulli import PRIOR, BernoulliMixture
from taut.evaluation.baselines.densities import BINARY, CONTINUOUS, DISCRETE, boundless
from taut.evaluation.baselines.table import _views

torch.set_num_threads(1)

BITS, REAL = Support("binary"), Support("real")


def two_kinds(n: int) -> torch.Tensor:
    """Bits that are mostly ones together, or mostly zeros."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.rand(n, 1, generator=generator) < 0.3
    return (torch.rand(n, 6, generator=generator) < torch.where(kind, 0.9, 0.2)).double()


def plane(n: int) -> torch.Tensor:
    """Two numbers of unlike units that go together, on two heaps."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(n, 2, generator=generator).double()
    heap = (torch.rand(n, 1, generator=generator) < 0.5).double()
    return (
        torch.stack([100 + 20 * z[:, 0], 0.1 * z[:, 0] + 0.05 * z[:, 1]], 1)
        + heap * torch.tensor([80.0, -0.3]).double()
    )


# --- densities -----------------------------------------------------------------------------------------------------


def test_two_steps_in_turn_never_lower_what_they_climb():
    x = two_kinds(400)

    def climbed(mixture: BernoulliMixture) -> float:
        """log p(X) and that of the prior of μ."""
        mean = mixture.logits.sigmoid()
        return float(mixture.log_prob(x).sum() + PRIOR * (mean.log() + (1 - mean).log()).sum())

    levels = [climbed(BernoulliMixture.fit(x, 3, rounds=rounds, enough=-math.inf)) for rounds in range(1, 12)]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(levels))
    assert levels[-1] > levels[0] + 10


def test_the_mixture_of_bits_finds_its_components():
    x = two_kinds(20_000)
    mixture = BernoulliMixture.fit(x, 2)
    order = mixture.log_weights.argsort()
    torch.testing.assert_close(mixture.log_weights.exp()[order], torch.tensor([0.3, 0.7]).double(), atol=0.02, rtol=0)
    means = mixture.logits.sigmoid()[order]
    torch.testing.assert_close(means, torch.tensor([[0.9], [0.2]]).double().expand(2, 6), atol=0.03, rtol=0)


@pytest.mark.parametrize(("name", "fit"), [*DISCRETE.items(), *BINARY.items()])
def test_probabilities_add_up_to_one(name, fit):
    x = two_kinds(300)
    everything = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6))).double()
    density = fit(x, x[:50], BITS)
    assert float(density.log_prob(everything).exp().sum()) == pytest.approx(1, abs=1e-5)
    if name in DISCRETE:
        three = fit((3 * torch.rand(100, 1)).floor().double(), x, Support("integers", 3))
        assert float(three.log_prob(torch.tensor([[0.0], [1.0], [2.0]])).exp().sum()) == pytest.approx(1)


@pytest.mark.parametrize("fit", CONTINUOUS.values(), ids=CONTINUOUS)
def test_densities_integrate_to_one_in_the_units_of_the_data(fit):
    x = plane(600)
    density = fit(x[:500], x[500:], REAL)
    first, second = torch.linspace(-60, 340, 401).double(), torch.linspace(-1.2, 1.0, 441).double()
    log_p = density.log_prob(torch.cartesian_prod(first, second))
    cell = float((first[1] - first[0]) * (second[1] - second[0]))
    assert float(log_p.exp().sum()) * cell == pytest.approx(1, abs=1e-3)
    assert density.note


@pytest.mark.parametrize("fit", CONTINUOUS.values(), ids=CONTINUOUS)
def test_other_units_are_other_nats_by_the_jacobian_alone(fit):
    x, scale = plane(600), torch.tensor([0.01, 7.0]).double()
    one = fit(x[:500], x[500:], REAL).log_prob(x[500:])
    other = fit(x[:500] * scale + 3, x[500:] * scale + 3, REAL).log_prob(x[500:] * scale + 3)
    torch.testing.assert_close(other, one - scale.log().sum(), atol=1e-4, rtol=0)


def test_principal_components_are_the_normal_of_tipping_and_bishop():
    torch.manual_seed(0)
    x = (torch.randn(400, 3) @ torch.randn(3, 4) + 0.3 * torch.randn(400, 4)).double()
    x = x / x.std(0)  # in their standardised units, so that the case is in closed form
    density = CONTINUOUS["PCA"](x, x, REAL)
    values, vectors = torch.linalg.eigh(x.T.cov())
    noise = values[:2].mean()  # two factors of four: the largest of the sizes that are tried
    axes = vectors[:, 2:] * (values[2:] - noise).sqrt()
    truth = MultivariateNormal(x.mean(0), axes @ axes.T + noise * torch.eye(4).double())
    assert density.note == "2 factors"
    torch.testing.assert_close(density.log_prob(x), truth.log_prob(x))


def test_more_components_are_taken_only_where_they_help():
    x = plane(1500)
    assert "full" in CONTINUOUS["Gaussian mixture, EM"](x[:1000], x[1000:], REAL).note, "which two heaps of normals are"
    alone = torch.randn(1200, 2, generator=torch.Generator().manual_seed(3)).double()
    assert CONTINUOUS["Gaussian mixture, EM"](alone[:1000], alone[1000:], REAL).note.startswith("1 component")
    used = CONTINUOUS["variational Gaussian mixture"](x[:1000], x[1000:], REAL).note
    assert int(used.split()[0]) < 30, "the others have lost their weight"


def test_whole_numbers_are_seen_whole_and_with_noise():
    x = torch.tensor([[[0.0, 16.0]], [[3.0, 7.0]]])
    support = Support("integers", 17)
    torch.manual_seed(0)
    whole, noisy = _views(x, support, noisy=False)
    assert torch.equal(whole, x.flatten(1).double()) and torch.equal(noisy.floor(), whole) and (noisy > whole).any()
    again, same = _views(noisy.float(), support, noisy=True)
    assert torch.equal(again, whole) and torch.equal(same, noisy.float().double()), (
        "the model's own noise, where it has some"
    )
    rounded, _ = _views(torch.tensor([[17.0]]), support, noisy=True)  # 16 and nearly 1, in single precision
    assert rounded.item() == 16
    real, also = _views(x, REAL, noisy=False)
    assert torch.equal(real, also)


def test_a_density_of_what_others_decide_has_no_limit():
    x = plane(100)
    assert not boundless(x) and not boundless(x[:, :1])
    assert boundless(torch.cat([x, x.sum(1, keepdim=True)], 1))
    assert boundless(torch.cat([x, torch.ones(100, 1)], 1))
    assert not boundless(torch.randn(5, 9).double()), "too few examples to tell"


@pytest.mark.parametrize("fit", CONTINUOUS.values(), ids=CONTINUOUS)
def test_one_number_alone_and_few_examples_have_a_density(fit):
    x = torch.randn(900, 1, generator=torch.Generator().manual_seed(2)).double()
    line = torch.linspace(-30, 30, 6001).double().unsqueeze(1)
    assert float(fit(x[:600], x[600:], REAL).log_prob(line).exp().sum()) * 0.01 == pytest.approx(1, abs=1e-3)
    assert torch.isfinite(fit(*torch.randn(2, 4, 130).double().unbind(), REAL).log_prob(torch.zeros(1, 130))).all()


# --- the table -----------------------------------------------------------------------------------------------------

SHORT = {"training": {"steps": 60, "batch": 64}, "model": {"latents": 3, "network": {"part": "MLP", "hidden": [16]}}}


def made(folder: Path, data: object = "digits", **model: object):
    return train(data, out=folder, **{**SHORT, "model": {**SHORT["model"], **model}})


def rows_of(run, **options) -> dict[str, dict]:
    found = baselines(run.subject(), run.dataset(), samples=5, few=4, **options)
    json.dumps(found)
    return {row["name"]: row for row in found["rows"]}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory):
    return made(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture
def few_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer sizes to choose from: the table is the case, not the fit."""
    for name, value in {"FACTORS": (1, 10), "COMPONENTS": (10,), "PRIORS": ((1, 0.8),), "FULL": 2}.items():
        monkeypatch.setattr(densities, name, value)


@pytest.mark.usefixtures("few_sizes")
def test_all_ways_in_one_table(digits, capsys: pytest.CaptureFixture) -> None:
    told = []
    rows = rows_of(digits, limit=60, progress=lambda done, total: told.append((done, total)))
    assert set(DISCRETE) | set(CONTINUOUS) < set(rows) and not set(BINARY) & set(rows)
    elbo = rows["this model, ELBO"]
    assert elbo["difference"] == 0 and elbo["n"] == 60
    for name in (*DISCRETE, *CONTINUOUS):
        row = rows[name]
        assert row["n"] == 60 and row["seconds"] >= 0 and "examples" in row["what"]
        assert row["difference"] == pytest.approx(row["value"] - elbo["value"])
        assert row["difference_stderr"] > 0
        assert ("dequantised" in row["what"]) == (name in CONTINUOUS)
    best, worst = rows["q by gradient through z"], rows["q by score function alone"]
    assert best["n"] == worst["n"] == 4
    assert best["difference"] > 0 > worst["difference"], "each with a q of its own, so far as its gradient leads"
    assert best["value"] >= rows["q by score function, RLOO"]["value"] >= worst["value"]
    assert told[-1][0] == told[-1][1] and all(done <= total for done, total in told)
    folder = str(digits.folder)
    assert (
        main(["evaluate", folder, "--samples", "5", "--limit", "60", "--baselines", "--gaps-limit", "4", "--quiet"])
        == 0
    )
    out = capsys.readouterr().out
    assert all(name in out for name in rows)
    assert (
        main(["evaluate", folder, "--samples", "5", "--limit", "60", "--baselines", "--gaps-limit", "4", "--json"]) == 0
    )
    again = json.loads(capsys.readouterr().out)["baselines"]["rows"]
    assert [row["value"] for row in again] == [row["value"] for row in rows.values()], "the same, whoever asks"


@pytest.mark.usefixtures("few_sizes")
def test_binary_data_have_their_own_mixture_and_bits_no_path(tmp_path: Path) -> None:
    x = two_kinds(400).numpy().astype(np.uint8)
    rows = rows_of(made(tmp_path / "r", x, posterior="Bernoulli"), limit=20)
    assert set(BINARY) | set(DISCRETE) | set(CONTINUOUS) < set(rows)
    mixture, apart = rows["Bernoulli mixture, EM"], rows["independent elements"]
    assert mixture["value"] > apart["value"] + 0.5 and mixture["what"].startswith("log P(x)")
    assert "q by gradient through z" not in rows and "q by score function, RLOO" in rows


@pytest.mark.usefixtures("few_sizes")
def test_densities_of_real_numbers_have_no_rows_of_probabilities(tmp_path: Path) -> None:
    rows = rows_of(made(tmp_path / "r", plane(400).numpy()), limit=20)
    assert not (set(DISCRETE) | set(BINARY)) & set(rows)
    assert all(rows[name]["what"].startswith("log p(x);") for name in CONTINUOUS)


def test_what_has_no_number_says_why(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((200, 4, 4)).astype(np.float32)
    x[:, 0, 0] = 0.5
    rows = rows_of(made(tmp_path / "r", x, posterior="Delta"), limit=20)
    assert all(rows[name]["value"] is None and "never vary" in rows[name]["what"] for name in CONTINUOUS)
    assert rows["this model, ELBO"]["value"] is None
    assert "point" in rows["q of each example"]["what"]
