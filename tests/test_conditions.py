"""Conditions: a label or covariates that prior, encoder and decoder are told, in every model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import taut
from taut.cli import main
from taut.data import Batch, Data, Reading, Statistics, Support, open_array, open_data, read_like
from taut.data.conditions import Condition, columns_of, given
from taut.errors import InputError
from taut.evaluation import evaluate
from taut.layers import Layer, fits
from taut.likelihoods import Bernoulli, Gaussian
from taut.model import Model
from taut.networks import MLP, Network
from taut.posteriors import Posterior
from taut.priors import ConditionalNormal, Prior, StandardNormal

torch.set_num_threads(1)

SMALL = {"Vamp": {"components": 5}, "Mixture": {"components": 3}}


@pytest.fixture(scope="module")
def digits() -> taut.runs.Run:
    training = {"optimiser": {"part": "Adam", "lr": 3e-3}}
    return taut.train(
        "digits", epochs=40, data={"condition": ["labels"]}, model={"latents": 6}, training=training, seed=0
    )


def line(call, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@torch.no_grad()
def test_a_linear_model_is_exact_given_the_condition():
    """x = b + Wz + Vc + σε, z ~ N(Uc, I): log p(x|c) is a normal density, and every weight is it where q is the posterior."""
    d, k, c = 4, 2, 3
    statistics = Statistics(torch.zeros(d), torch.ones(d))
    spec = Model(
        latents=k, prior=ConditionalNormal(hidden=4), likelihood=Gaussian("constant", scale=0.6), network=MLP(())
    )
    torch.manual_seed(0)
    vae = spec.build((d,), Support("real"), statistics, conditioned=c).double().eval()
    body, prior = vae.decoder.body[0][0].weight, vae.layers[0].p.network
    for weight in (body, prior[-1].weight):
        weight.copy_(torch.randn_like(weight) / 2)
    prior[-1].weight[k:] = 0  # log σ of the prior
    condition = torch.randn(1, c, dtype=torch.float64)
    centre = vae.layers[0].p(condition).mean[0]
    told, loads = body[:, :c], body[:, c:]
    mean = vae.decoder.head.offset[0] + told @ condition[0] + loads @ centre
    noise = 0.36 * torch.eye(d, dtype=torch.float64)
    x = torch.randn(1, d, dtype=torch.float64)
    truth = torch.distributions.MultivariateNormal(mean, loads @ loads.T + noise).log_prob(x)
    precision = torch.eye(k, dtype=torch.float64) + loads.T @ loads / 0.36
    at = centre + torch.linalg.solve(precision, loads.T @ (x[0] - mean) / 0.36)
    posterior = torch.distributions.MultivariateNormal(at, precision_matrix=precision)
    batch = Batch(x, condition=condition)
    trace = vae(batch, 5)
    weights = trace.log_likelihood(batch)[:, 0] + trace.log_prior()[:, 0] - posterior.log_prob(trace.steps[0].z)
    torch.testing.assert_close(weights, truth.expand(5), rtol=1e-10, atol=1e-10)
    other = vae(batch._replace(condition=condition + 1), 5)
    assert not torch.allclose(other.log_likelihood(batch), trace.log_likelihood(batch))
    assert not torch.allclose(other.steps[0].q.mean, trace.steps[0].q.mean), "q is told too"
    many = vae(batch, 100_000).log_weight(batch)
    assert float(many.logsumexp(0) - math.log(len(many))) == pytest.approx(float(truth), abs=0.2)


PAIRS = [
    (prior, posterior)
    for prior in sorted(Prior.members)
    for posterior in sorted(Posterior.members)
    if fits(Prior.members[prior](), Posterior.members[posterior]())
]


@pytest.mark.parametrize(("prior", "posterior"), PAIRS)
def test_every_pair_takes_a_condition_or_says_why_not(prior, posterior):
    parts = {"prior": Prior.members[prior](**SMALL.get(prior, {})), "posterior": Posterior.members[posterior]()}
    spec = Model(latents=3, likelihood=Bernoulli(), network=MLP((8,)), **parts)
    build = lambda: spec.build((5,), Support("binary", 2), Statistics(torch.full((5,), 0.3), torch.ones(5)), 2)  # noqa: E731
    torch.manual_seed(0)
    if parts["prior"].reads_encoder:
        return line(build, "Vamp", "condition")
    vae = build()
    batch = Batch((torch.rand(4, 5) < 0.3).float(), condition=torch.eye(2)[[0, 1, 0, 1]])
    trace = vae(batch, 2)
    loss = (trace.distortion(batch) + trace.rate()).mean()
    assert torch.isfinite(loss)
    loss.backward()
    drawn = vae.generate(2, lambda site: taut.model.draw(site), torch.eye(2)).likelihood.sample()
    assert drawn.shape == (2, 5)
    with torch.no_grad():
        line(lambda: vae(batch._replace(condition=None)), "condition", "is not given")


@pytest.mark.parametrize("network", sorted(Network.members))
@pytest.mark.parametrize("layer", sorted(Layer.members))
def test_every_network_and_layer_tells_prior_encoder_and_decoder(network, layer):
    shape = (1, 8, 8)
    maps = Layer.members[layer].maps
    if maps and not Network.members[network].maps:
        return
    spec = Model(likelihood=Bernoulli(), network=Network.members[network](), layers=(Layer.members[layer](),))
    build = lambda: spec.build(shape, Support("binary", 2), Statistics(torch.zeros(shape), torch.ones(shape)), 3)  # noqa: E731
    torch.manual_seed(0)
    if Layer.members[layer].upwards:
        return line(build, "data.condition", "Upward")
    vae = build().double()
    with torch.no_grad():
        for weight in vae.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        batch = Batch((torch.rand(1, *shape) < 0.3).double().expand(2, -1, -1, -1), condition=torch.eye(3).double()[:2])
        trace = vae(batch, pick=taut.model.centre)
        for step in trace.steps[:1]:
            assert not torch.allclose(step.p.mean[0], step.p.mean[1]), "the prior is not told"
            assert not torch.allclose(step.q.mean[0], step.q.mean[1]), "q is not told"
        assert not torch.allclose(vae.evidence(batch)[0][0], vae.evidence(batch)[0][1]), "the encoder is not told"
        kept = [step.z[:1].expand_as(step.z) for step in trace.steps]
        means = vae.generate(2, taut.model.follow(kept), batch.condition).likelihood.mean
        assert not torch.allclose(means[0], means[1]), "the decoder is not told"


def test_without_latents_a_condition_is_all_there_is():
    run = taut.train("digits", epochs=5, data={"condition": ["labels"]}, model={"layers": []}, seed=0)
    plain = taut.train("digits", epochs=5, model={"layers": []}, seed=0)
    assert run.summary["elbo"] > plain.summary["elbo"] + 10
    zero, one = (run.sample(50, condition=label, means=True).mean(0) for label in ("0", "1"))
    assert np.abs(zero - one).mean() > 1


def test_generation_by_class(digits):
    from sklearn.neighbors import KNeighborsClassifier

    data = digits.dataset()
    judge = KNeighborsClassifier(3).fit(data.train.x.flatten(1).numpy(), data.train.labels.numpy())
    for label in (0, 3, "7"):
        drawn = digits.sample(60, seed=0, condition=label, means=True)
        assert (judge.predict(drawn.reshape(60, -1)) == int(label)).mean() > 0.7
    each = digits.sample(10, seed=0, condition=range(10), means=True)
    assert (judge.predict(each.reshape(10, -1)) == np.arange(10)).sum() >= 7
    assert digits.sample(20, condition="data").shape == (20, 8, 8)
    codes = digits.encode(data.test.take(slice(3)))
    assert not np.allclose(digits.decode(codes, condition=1), digits.decode(codes, condition=2))
    rebuilt = digits.reconstruct(data.test)
    assert np.abs(rebuilt - digits.reading.restore(data.test.x)).mean() < 2


def test_no_probe_asks_codes_for_what_the_encoder_was_told(digits):
    assert "probe" not in (digits.summary.get("quality") or {})


def test_what_is_asked_of_a_conditioned_run(digits):
    line(lambda: digits.sample(4), "condition", "labels", "--condition 0")
    line(lambda: digits.sample(4, condition="eleven"), "'eleven'", "never saw")
    line(lambda: digits.sample(4, condition={"colour": 1}), "'colour'")
    line(lambda: digits.sample(4, condition=[1, 2]), "2 values for 4")
    line(lambda: digits.encode(np.zeros((2, 8, 8))), "condition", "is not given")
    line(lambda: digits.compress(digits.dataset().test), "data.condition")
    line(lambda: taut.train("digits", epochs=1, model={"latents": 2}).sample(2, condition=1), "conditioned on nothing")
    line(lambda: open_array(np.random.rand(40, 3), spec=Data("array", condition=("labels",))), "no labels")
    assert Reading.from_dict(digits.reading.to_dict()) == digits.reading
    found = evaluate(digits.subject(), 5)
    assert found["elbo"] <= found["iw"]["value"]


def test_covariates_of_a_table(tmp_path: Path, capsys):
    random = np.random.RandomState(0)
    sex, age = random.choice(["f", "m"], 300), np.round(random.uniform(20, 80, 300), 1)
    frame = pl.DataFrame({"sex": sex, "age": age, "height": 160 + 14 * (sex == "m") + random.randn(300),
                          "weight": 40 + age / 2 + random.randn(300)})  # fmt: skip
    frame.write_csv(tmp_path / "t.csv")
    folder = str(tmp_path / "run")
    options = ["--training.optimiser.lr", "3e-3", "--data.condition", "sex,age", "--epochs", "100"]
    assert main(["train", str(tmp_path / "t.csv"), "--out", folder, *options]) == 0
    run = taut.load(folder)
    assert run.reading.columns == ("height", "weight")
    assert [condition.name for condition in run.reading.conditions] == ["sex", "age"]
    drawn = {sex: run.sample(300, seed=0, condition={"sex": sex, "age": 50})[:, 0].mean() for sex in "fm"}
    assert drawn["m"] - drawn["f"] == pytest.approx(14, abs=3)
    capsys.readouterr()
    assert main(["sample", folder, "-n", "5", "-o", str(tmp_path / "s.csv"), "--condition", "sex=m,age=30"]) == 0
    assert main(["sample", folder, "-n", "5", "-o", str(tmp_path / "s2.csv"), "--condition", "sex=m"]) == 2
    assert "age is not given" in capsys.readouterr().err
    assert main(["encode", folder, str(tmp_path / "t.csv"), "-o", str(tmp_path / "c.csv")]) == 0
    frame.drop("age").write_csv(tmp_path / "lacking.csv")
    assert main(["encode", folder, str(tmp_path / "lacking.csv"), "-o", str(tmp_path / "c2.csv")]) == 2
    split = read_like(run.reading, frame)
    assert split.condition.shape == (300, 3)
    assert main(["traverse", folder]) == main(["interpolate", folder]) == main(["reconstruct", folder]) == 0


def test_arrays_beside_the_data_are_covariates(tmp_path: Path):
    x, batch = np.random.RandomState(0).randn(60, 4), np.arange(60) % 3
    np.savez(tmp_path / "x.npz", x=x, batch=batch, dose=np.linspace(0, 1, 60))
    data = open_data(Data(str(tmp_path / "x.npz"), condition=("batch", "dose")))
    assert [condition.width for condition in data.reading.conditions] == [3, 1]
    assert data.train.condition.shape == (48, 4)
    line(lambda: open_data(Data(str(tmp_path / "x.npz"), condition=("bach",))), "data.condition", "did you mean batch")


def test_a_standard_prior_stays_one_if_it_is_asked_for():
    spec = Model(prior=StandardNormal()).resolved((5,), Support("binary", 2), 2)
    assert isinstance(spec.prior, StandardNormal)
    assert isinstance(replace(spec, prior=None).resolved((5,), Support("binary", 2), 2).layers[0].prior, StandardNormal)
    assert isinstance(Model().resolved((5,), Support("binary", 2), 2).prior, ConditionalNormal)


def test_a_condition_is_said_as_people_write_it():
    city = Condition("city", ("Paris, France", "a=b"))
    age, member = (
        Condition("age", mean=50.0, std=10.0, dtype="float"),
        Condition("member", ("False", "True"), dtype="bool"),
    )
    every = (city, age, member)
    rows = given(every, "city=Paris, France,age=40,member=true", 2)
    assert rows.tolist() == [[1, 0, -1, 0, 1]] * 2
    assert given((city,), "a=b", 1).tolist() == [[0, 1]], "an equals sign may be part of a value"
    assert given(every, {"city": "a=b", "age": [40, 60], "member": [True, False]}, 2)[1].tolist() == [0, 1, 1, 1, 0]
    assert columns_of(every, rows[:1]) == {"city": ["Paris, France"], "age": [40.0], "member": [True]}
    line(lambda: given(every, "city=a=b,age=1e99,member=true", 1), "age is 1e+99", "about 50")
    line(lambda: given(every, "city=a=b,age=old,member=true", 1), "'old' is none")
    line(lambda: given((Condition("kind", ("a", "A")),), "B", 1), "'B'", "never saw")
    line(lambda: given(every, "colour=red,age=2", 1), "'colour'")


def test_whole_numbers_are_kinds_where_they_are_few_or_numbered_through():
    def of(values: np.ndarray, *kinds: str) -> Condition:
        spec = Data("array", condition=("c",), kinds=kinds)
        frame = pl.DataFrame({"c": values, "x": np.random.rand(len(values))})
        return open_array(frame, spec=spec).reading.conditions[0]

    assert of(np.arange(200) % 10 * 7).width == 10
    assert of(np.arange(200) % 60).width == 60, "batches"
    assert of(18 + np.arange(200) % 60).width == 1, "years of age"
    assert of(18 + np.arange(200) % 60, "c=categories").width == 60
    assert of(np.arange(200) % 10, "c=real").width == 1
    line(lambda: of(np.array(list("ab") * 20), "c=real"), "data.kinds", "'a' is no number")
    line(lambda: of(np.arange(40), "c=counts"), "data.kinds", "categories or real")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, taut.runs.Run]:
    """A short run on a table, its conditions in the midst of its columns."""
    folder, random = tmp_path_factory.mktemp("people"), np.random.RandomState(0)
    frame = pl.DataFrame({"height": 170 + 10 * random.randn(80), "sex": random.choice(["f", "m"], 80),
                          "weight": 70 + 9 * random.randn(80), "age": random.randint(20, 200, 80)})  # fmt: skip
    frame.write_csv(folder / "people.csv")
    run = taut.train(
        str(folder / "people.csv"), epochs=1, data={"condition": ["sex", "age"]}, out=folder / "run", seed=0
    )
    return folder, run


def test_a_sampled_table_has_the_columns_that_it_was_conditioned_on(people, capsys):
    folder, run = people
    out = folder / "s.parquet"
    assert main(["sample", str(folder / "run"), "-n", "3", "-o", str(out), "--condition", "sex=m,age=77"]) == 0
    drawn = pl.read_parquet(out)
    assert drawn.columns == ["height", "sex", "weight", "age"]
    assert drawn["sex"].to_list() == ["m"] * 3
    assert drawn["age"].to_list() == [77] * 3
    assert drawn["age"].dtype == pl.Int64
    assert (
        main(
            [
                "sample",
                str(folder / "run"),
                "-n",
                "20",
                "-o",
                str(folder / "s.npz"),
                "--condition",
                "data",
                "--seed",
                "1",
            ]
        )
        == 0
    )
    with np.load(folder / "s.npz") as found:
        assert set(found) == {"x", "sex", "age"}
        told = run.sample(20, seed=1, condition={"sex": found["sex"], "age": found["age"]})
        np.testing.assert_allclose(found["x"], told, rtol=1e-4)
    assert main(["sample", str(folder / "run"), "-n", "3", "-o", str(folder / "no.csv")]) == 2
    assert "--condition sex=f,age=" in capsys.readouterr().err


def test_data_without_the_condition_are_told_it(people, capsys):
    folder, run = people
    plain = pl.read_csv(folder / "people.csv").drop("sex", "age").head(10)
    plain.write_csv(folder / "plain.csv")
    for command in ("encode", "score", "reconstruct"):
        words = [command, str(folder / "run"), str(folder / "plain.csv"), "-o", str(folder / f"{command}.csv")]
        assert main(words) == 2
        assert "conditioned on sex, age" in capsys.readouterr().err
        assert main([*words, "--condition", "sex=f,age=40"]) == 0
        assert main([*words, "--force", "--condition", "sex=f"]) == 2
        assert "age is not given" in capsys.readouterr().err
    whole = plain.with_columns(sex=pl.lit("f"), age=pl.lit(40))
    said = {"sex": "f", "age": 40}
    np.testing.assert_allclose(run.encode(plain, condition=said), run.encode(whole), rtol=1e-5)
    np.testing.assert_allclose(run.score(plain, condition=said).score, run.score(whole).score, rtol=1e-5)
    np.testing.assert_allclose(run.reconstruct(plain, condition=said), run.reconstruct(whole), rtol=1e-5)
    other = run.encode(whole, condition={"sex": "m", "age": 90})
    assert not np.allclose(other, run.encode(whole)), "what is said stands in place of what the data say"
    gaps = plain.with_columns(height=None)
    filled = [run.impute(gaps, 20, condition={"sex": "f", "age": age})[0][:, 0].mean() for age in (20, 199)]
    assert filled[0] != filled[1]
    found = [run.evaluate(str(folder / "plain.csv"), 2, condition={"sex": sex, "age": 40})["elbo"] for sex in "fm"]
    assert found[0] != found[1], "the ledger keeps them apart"
    for command in ("traverse", "interpolate"):
        assert (
            main([command, str(folder / "run"), "-o", str(folder / f"{command}.npy"), "--condition", "sex=f,age=40"])
            == 0
        )
    assert main(["traverse", str(folder / "run"), "-o", str(folder / "t.npy"), "--condition", "x"]) == 2
    np.save(folder / "plain.npy", plain.to_numpy())
    assert main(["encode", str(folder / "run"), str(folder / "plain.npy"), "-o", str(folder / "c.npy")]) == 2
    assert "conditioned on sex, age" in capsys.readouterr().err
