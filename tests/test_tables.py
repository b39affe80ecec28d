"""Tables of mixed types with missing cells: what columns are taken for, exact bounds, and the way there and back."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import taut
from taut.cli import main
from taut.data import Batch, Data, Reading, Statistics, Support, open_array, open_data, read_like
from taut.data.columns import fill, to_frame
from taut.errors import InputError
from taut.evaluation import Space
from taut.likelihoods import Columns, Gaussian, LogNormal, Rounded, Student, ZeroInflatedNegativeBinomial
from taut.model import Model
from taut.networks import MLP

torch.set_num_threads(1)

KINDS = ("real", "positive", "integers", "counts", "binary", "categories")


def people(n: int = 400, seed: int = 0) -> pl.DataFrame:
    """A table with a column of every kind, which one number ties together, and gaps."""
    random = np.random.RandomState(seed)
    t = random.randn(n)
    kinds = np.where(t > 0.5, "late", np.where(t < -0.5, "early", "noon"))
    frame = pl.DataFrame({
        "height": np.round(170 + 8 * t + 3 * random.randn(n), 2),
        "income": np.round(np.exp(3 + t + 0.2 * random.randn(n)), 3),
        "year": (1990 + np.round(6 * t)).astype(int),
        "visits": random.poisson(np.exp(2 + t)),
        "grade": np.clip(np.round(2 + t), 0, 4).astype(int),
        "member": t > 0,
        "time": kinds,
        "always": ["yes"] * n,
    })  # fmt: skip
    gaps = random.rand(n, 7) < 0.1
    return frame.with_columns(
        pl.when(pl.Series(gaps[:, i])).then(None).otherwise(pl.col(name)).alias(name)
        for i, name in enumerate(frame.columns[:7])
    )


@pytest.fixture(scope="module")
def run() -> taut.runs.Run:
    return taut.train(people(), epochs=150, seed=0, training={"optimiser": {"part": "Adam", "lr": 3e-3}})


def line(call, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text
    return text


def linear(columns: int, latents: int = 2, seed: int = 0, keep: list[int] | None = None) -> torch.nn.Module:
    """A table of real columns x = b + Wz + σε, the mask an input; ``keep``: the model that never had the others."""
    keep = list(range(columns)) if keep is None else keep
    support = Support("columns", columns=tuple(Support("real") for _ in keep))
    generator = torch.Generator().manual_seed(seed)
    shift, scale = torch.randn(columns, generator=generator), torch.rand(columns, generator=generator) + 0.5
    weights = torch.randn(columns, latents, generator=generator)
    told = torch.randn(2 * latents, columns, generator=generator) / 5
    spec = Model(latents=latents, network=MLP(hidden=()), likelihood=Columns(real=Gaussian("constant", scale=0.7)))
    vae = spec.build((len(keep),), support, Statistics(shift[keep], scale[keep])).double().eval()
    vae.shift, vae.scale = vae.shift.double(), vae.scale.double()
    with torch.no_grad():
        write = vae.decoder.body[0][0].weight
        write.copy_(weights[keep])
        evidence = vae.layers[0].evidence
        evidence.weight.zero_()
        evidence.weight[:, : len(keep)] = told[:, keep]
    return vae


def covariance(vae: torch.nn.Module, seen: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of the columns in the data's units, from the weights alone."""
    weights = vae.scale[:, None] * vae.decoder.body[0][0].weight
    noise = torch.diag((0.7 * vae.scale) ** 2)
    return vae.shift[seen], (weights @ weights.T + noise)[seen][:, seen]


@torch.no_grad()
def test_a_missing_cell_is_as_if_the_model_never_had_the_column():
    keep = [0, 2, 3]
    whole, part = linear(5), linear(5, keep=keep)
    x = torch.randn(4, 5, dtype=torch.float64)
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[:, keep] = True
    bounds = []
    for vae, batch in ((whole, Batch(x.where(mask, 99.0), mask)), (part, Batch(x[:, keep]))):
        torch.manual_seed(1)
        trace = vae(batch, 7)
        bounds.append(trace.log_likelihood(batch) - trace.rate())
    torch.testing.assert_close(*bounds, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_the_bound_of_what_is_known_is_exact_where_the_posterior_is():
    """log p(x_o) of a linear model with missing cells is a normal density; q made the true posterior, each weight is it."""
    vae = linear(4)
    x = vae.shift + 0.5 * torch.randn(1, 4, dtype=torch.float64)
    for seen in ([0, 1, 2, 3], [1, 3], [2]):
        mask = torch.zeros(1, 4, dtype=torch.bool)
        mask[:, seen] = True
        batch = Batch(x.where(mask, math.nan).nan_to_num(), mask)
        mean, cov = covariance(vae, seen)
        truth = torch.distributions.MultivariateNormal(mean, cov).log_prob(x[:, seen])
        torch.manual_seed(0)
        trace = vae(batch, 200_000)
        weights = trace.log_weight(batch)
        estimate = weights.logsumexp(0) - math.log(len(weights))
        assert abs(float(estimate - truth)) < 0.05, seen
        assert float(weights.mean()) < float(truth)
        # and as a weight does not depend on z where q is the posterior, hold it there: log p(x|z) p(z) / p(z|x)
        z = trace.steps[0].z[:3]
        loads = (vae.scale[:, None] * vae.decoder.body[0][0].weight)[seen]
        noise = (0.7 * vae.scale[seen]) ** 2
        precision = torch.eye(2, dtype=torch.float64) + loads.T @ (loads / noise[:, None])
        at = torch.linalg.solve(precision, loads.T @ ((x[0, seen] - mean) / noise))
        posterior = torch.distributions.MultivariateNormal(at, precision_matrix=precision)
        direct = trace.log_likelihood(batch)[:3, 0] + trace.log_prior()[:3, 0] - posterior.log_prob(z)
        torch.testing.assert_close(direct, truth.expand(3), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_imputation_finds_the_conditional_mean_and_deviation():
    from taut.data import Feed, Split
    from taut.evaluation import impute

    vae = linear(4)
    support = Support("columns", columns=(Support("real"),) * 4)
    reading = Reading("t", "vector", (4,), (4,), "float64", support)
    x = torch.tensor([[0.3, -1.0, math.nan, math.nan]]).double()
    filled, spread = impute(vae, Feed(Split(x), reading), 40_000, 0, False)
    mean, cov = covariance(vae, [0, 1, 2, 3])
    gain = cov[2:, :2] @ torch.linalg.inv(cov[:2, :2])
    expected = mean[2:] + gain @ (x[0, :2] - mean[:2])
    deviation = (cov[2:, 2:] - gain @ cov[:2, 2:]).diagonal().sqrt()
    torch.testing.assert_close(filled[0, :2], x[0, :2].float(), check_dtype=False)
    torch.testing.assert_close(filled[0, 2:], expected, rtol=0, atol=0.05, check_dtype=False)
    np.testing.assert_allclose(spread[0], [0, 0, *deviation], atol=0.05)


@torch.no_grad()
def test_densities_of_columns_are_in_the_data_s_units():
    """Each sums or integrates to one over raw values: the Jacobian of units and logarithms is there."""
    statistics = Statistics(torch.tensor([3.0]).double(), torch.tensor([2.0]).double())
    logs = torch.tensor([[1.0], [0.5]]).double()
    grid = torch.linspace(1e-4, 60, 400_001).double()
    for part, support, x, width in (
        (LogNormal(), Support("positive"), grid, grid[1] - grid[0]),
        (Student(), Support("real"), torch.linspace(-3000, 3000, 400_001).double(), 6000 / 400_000),
        (Rounded(), Support("real", whole=True), torch.arange(-2000.0, 2000).double(), 1.0),
    ):
        head = part.build((1,), support, Statistics(statistics.mean, statistics.std, logs)).double()
        density = head(torch.tensor([[[0.3], [-0.7]]]).double())
        total = density.base.log_prob(x.view(-1, 1)).exp().sum() * width
        assert float(total) == pytest.approx(1, abs=2e-3), part
        draws = density.sample((20_000,))
        assert float(draws.mean()) == pytest.approx(float(density.mean), rel=0.1)


def test_what_columns_are_taken_for():
    data = open_array(people())
    kinds = dict(zip(data.reading.columns, (field.kind for field in data.reading.fields), strict=True))
    assert kinds == {"height": "real", "income": "positive", "year": "whole", "visits": "counts", "grade": "ordinal",
                     "member": "binary", "time": "categories", "always": "categories"}  # fmt: skip
    assert "cells are missing" in data.notes()[0]
    assert "always" in data.notes()[1]
    assert Reading.from_dict(data.reading.to_dict()) == data.reading
    other = open_array(people(), spec=Data("array", kinds=("year=real", "grade=categories", "visits=none")))
    named = {name: field.kind for name, field in zip(other.reading.columns, other.reading.fields, strict=True)}
    assert (named["year"], named["grade"], named["visits"]) == ("real", "categories", "none")
    assert other.reading.shape == (6,)


def test_a_table_comes_back_with_its_types_and_names(run):
    given, drawn = people(), run.frame(run.sample(200, seed=0))
    assert drawn.columns == given.columns
    assert drawn.dtypes == given.dtypes
    assert set(drawn["time"]) == {"early", "noon", "late"}
    assert set(drawn["always"]) == {"yes"}
    assert drawn.null_count().sum_horizontal().item() == 0
    same = run.frame(run.reading.restore(read_like(run.reading, given).x))
    assert same.equals(given)


def test_a_row_s_own_q_is_worth_many_draws_of_an_encoder_that_is_off(monkeypatch):
    from taut.data import Feed, Split
    from taut.evaluation import cells, impute

    vae = linear(6).requires_grad_(False)  # whose encoder says something at random
    reading = Reading("t", "vector", (6,), (6,), "float64", Support("columns", columns=(Support("real"),) * 6))
    mean, cov = covariance(vae, list(range(6)))
    torch.manual_seed(0)
    x = torch.distributions.MultivariateNormal(mean, cov).sample((40,))
    x[:, 4:], x[:5, 0] = math.nan, math.nan
    seen = [1, 2, 3]
    gain = cov[4:][:, [0, *seen]] @ torch.linalg.inv(cov[[0, *seen]][:, [0, *seen]])
    expected = mean[4:] + (x[5:, [0, *seen]] - mean[[0, *seen]]) @ gain.T
    before = x.clone()

    def error() -> float:
        filled, _ = impute(vae, Feed(Split(x), reading), 20, 0, False)
        return float((filled[5:, 4:] - expected).square().mean())

    near = error()
    torch.testing.assert_close(x, before, equal_nan=True)
    monkeypatch.setattr(cells, "has_local", lambda vae: False)
    assert near < error() / 3


def test_what_is_filled_is_nearer_than_the_mean_and_knows_how_near(run):
    truth, n = people(600, seed=7), 600
    hidden = truth.with_columns(pl.lit(None, truth["height"].dtype).alias("height"))
    filled, spread = run.impute(hidden, samples=50)
    height, known = truth["height"].to_numpy(), ~np.isnan(truth["height"].to_numpy())
    error = (filled[:, 0] - height)[known]
    assert np.sqrt((error**2).mean()) < 0.7 * height[known].std()
    assert 0.7 < np.std(error / spread[known, 0]) < 1.4
    assert (spread[:, 1:][~np.isnan(hidden.drop("height").to_dummies().to_numpy()[:, :1]).ravel()] >= 0).all()
    assert len(filled) == n
    several = np.stack([run.impute(hidden[:50], seed=seed, draw=True)[0][:, 0] for seed in range(20)])
    assert several.std(0).mean() == pytest.approx(spread[:50, 0].mean(), rel=0.4)


def test_odd_rows_score_high_and_the_column_is_named(run):
    rows = people(100, seed=3).drop_nulls()
    plain = run.score(rows)
    odd = rows.with_columns(pl.lit(230.0).alias("height"))
    found = run.score(odd)
    assert (found.score > plain.score).mean() > 0.95
    because = found.because(run.reading.kept_columns)
    assert np.mean([text.startswith("height") for text in because]) > 0.9
    assert np.abs(plain.blame.mean()) < 0.5


def test_the_commands(tmp_path: Path, capsys):
    table = people(200)
    source = tmp_path / "people.csv"
    table.write_csv(source)
    folder = tmp_path / "run"
    assert main(["train", str(source), "--epochs", "2", "--out", str(folder)]) == 0
    for command in (["sample", str(folder), "-n", "5"], ["impute", str(folder), str(source)],
                    ["score", str(folder), str(source)], ["encode", str(folder), str(source)],
                    ["reconstruct", str(folder), str(source)]):  # fmt: skip
        for suffix in ("csv", "parquet"):
            out = tmp_path / f"{command[0]}.{suffix}"
            assert main([*command, "-o", str(out)]) == 0
    drawn = pl.read_parquet(tmp_path / "sample.parquet")
    assert drawn.schema == pl.read_csv(source).schema
    filled = pl.read_parquet(tmp_path / "impute.parquet")
    assert filled.select(table.columns).null_count().sum_horizontal().item() == 0
    known = table["height"].is_not_null()
    assert filled["height"].filter(known).to_list() == table["height"].filter(known).to_list()
    assert (filled["height.spread"].filter(~known) > 0).all()
    scores = pl.read_csv(tmp_path / "score.csv")
    assert scores.columns == ["score", "elbo", "rate", "because"] and scores.height == 200
    loaded = taut.load(folder)
    assert loaded.reading.fields == open_data(Data(str(source))).reading.fields
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--samples", "5"]) == 0


IMPOSSIBLE = {"income": -3.0, "year": 1990.5, "visits": -1, "grade": 7, "member": 2, "time": "midnight", "always": "no"}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_the_model_holds_impossible_is_the_first_cause_of_a_score(run, name):
    """The cell has no probability: it is not told to the encoder, its row stands above all others, and no bound is given."""
    rows = people(30, seed=1)
    odd = rows.with_columns(pl.when(pl.int_range(30) == 4).then(pl.lit(IMPOSSIBLE[name])).otherwise(
        pl.col(name).cast(pl.Float64 if isinstance(IMPOSSIBLE[name], float) else pl.Int64)
        if name not in ("time", "always") else name).alias(name))  # fmt: skip
    split = read_like(run.reading, odd)
    (note,) = split.notes
    for word in (f"'{name}'", "1 cell ", "impossible", str(IMPOSSIBLE[name]).removesuffix(".0"), "row 4"):
        assert word in note
    hidden = rows.with_columns(pl.when(pl.int_range(30) != 4).then(name).alias(name)).with_columns(
        pl.col("always").fill_null("yes")
    )
    assert torch.equal(split.x, read_like(run.reading, hidden).x) or torch.equal(
        split.x.nan_to_num(99), read_like(run.reading, hidden).x.nan_to_num(99)
    )
    plain, found = run.score(hidden), run.score(odd)
    assert found.score.argmax() == 4 and np.isfinite(found.score).all()
    assert found.score[4] == pytest.approx(plain.score[4] + 149 * math.log(2), rel=1e-5)
    np.testing.assert_array_equal(np.delete(found.score, 4), np.delete(plain.score, 4))
    assert np.isinf(found.cost[4]) and np.isfinite(np.delete(found.cost, 4)).all()
    assert found.because(run.reading.columns)[4].startswith(f"{name} 103.3")
    np.testing.assert_array_equal(run.encode(odd), run.encode(hidden))
    assert found.impossible.tolist() == [int(i == 4) for i in range(30)]
    line(
        lambda: run.evaluate(odd, samples=1),
        "1 of 30 rows",
        "log p(x) = −∞",
        f"'{name}'",
        "row 4",
        "take such rows out",
    )


def test_rows_of_which_nothing_is_known_have_no_score(run):
    rows = people(20, seed=1)
    nothing = rows[:2].with_columns(pl.lit(None).alias(name) for name in rows.columns)
    assert "2 rows without a known cell" in read_like(run.reading, nothing).notes[0]
    assert np.isnan(run.score(nothing).score).all()
    assert set(run.frame(run.impute(nothing)[0])["time"]) <= {"early", "noon", "late"}


def test_columns_that_were_left_out_need_not_be_there(tmp_path: Path, capsys) -> None:
    table = people(200).with_columns(
        pl.Series("id", [f"person {i}" for i in range(200)]), pl.lit(None, pl.Int64).alias("empty")
    )
    table.write_csv(tmp_path / "people.csv")
    folder = str(tmp_path / "run")
    assert main(["train", str(tmp_path / "people.csv"), "--epochs", "1", "--out", folder]) == 0
    capsys.readouterr()
    bare = table.drop("id", "empty", "always").with_columns(pl.lit("x").alias("remark"))
    bare.write_csv(tmp_path / "bare.csv")
    for command in ("score", "encode", "impute"):
        words = [command, folder, str(tmp_path / "bare.csv"), "-o", str(tmp_path / f"{command}.csv")]
        assert main(words) == 0
        assert "column 'remark' is unknown to the model, and ignored" in capsys.readouterr().err
    filled = pl.read_csv(tmp_path / "impute.csv")
    assert "id" not in filled.columns and set(filled["always"]) == {"yes"} and set(filled["remark"]) == {"x"}
    odd = bare.with_columns(pl.lit(9).alias("grade")).with_columns(pl.when(pl.int_range(200) == 0).then(name).alias(name)
                                                                  for name in bare.columns if name != "grade")  # fmt: skip
    odd[:2].with_columns(pl.when(pl.int_range(2) == 0).then("grade").alias("grade")).write_csv(tmp_path / "odd.csv")
    assert main(["score", folder, str(tmp_path / "odd.csv"), "-o", str(tmp_path / "s.csv")]) == 0
    said = capsys.readouterr()
    assert (
        "1 of them with cells that the model holds impossible" in said.out and "1 of which nothing is known" in said.out
    )
    scores = pl.read_csv(tmp_path / "s.csv")
    assert scores.columns[:2] == ["score", "elbo"] and scores["score"].is_null().to_list() == [False, True]
    assert scores["score"][0] > 103 and scores["elbo"][0] == -math.inf
    words = ["impute", folder, str(tmp_path / "odd.csv"), "-o", str(tmp_path / "i.csv")]
    assert main(words) == 0
    filled = pl.read_csv(tmp_path / "i.csv")
    assert filled["grade"][0] == 9 and filled["grade.spread"][0] == 0, "what stands in the table stays there"
    assert main(["evaluate", folder, "--data", str(tmp_path / "odd.csv"), "--samples", "2"]) == 2
    assert "'grade'" in capsys.readouterr().err


def test_a_refused_cell_is_named_by_its_row(run) -> None:
    rows = run.reading.restore(read_like(run.reading, people(30)).x)
    rows[:9, 4], rows[9, 4] = np.nan, 7
    line(lambda: run.reading.apply(rows), "'grade'", "value 7", "index (9)")


def test_bad_tables(run):
    good = people()
    mixed = good["year"].cast(pl.String).fill_null("2000").to_list()
    mixed[3] = "about 1990"
    line(lambda: open_array(good.with_columns(pl.Series("year", mixed))), "'year'", "1 cell", "about 1990", "kinds")
    texts = open_array(good.with_columns(pl.col("year").cast(pl.String)))
    assert texts.reading.fields[2].kind == "whole"
    assert texts.reading.fields[2].dtype == "Float64"
    empty = open_array(good.with_columns(pl.lit(None).alias("visits")))
    assert any("left out" in note and "visits" in note for note in empty.notes())
    assert run.frame(run.sample(3)).width == 8
    rows = open_array(pl.concat([good, pl.DataFrame({name: [None] for name in good.columns}, schema=good.schema)]))
    assert any("1 row without a known cell is left out" in note for note in rows.notes())
    ids = good.with_columns(pl.Series("id", [f"person {i}" for i in range(400)]))
    assert any("'id'" in note and "left out" in note for note in open_array(ids).notes())
    for first in (0, 1000):
        numbers = good.with_columns(pl.Series("id", range(first, first + 400)))
        assert any("'id'" in note and "id=none" in note for note in open_array(numbers).notes())
        whole = numbers.select("id", pl.col("grade").fill_null(0))  # of one kind, so that no column has its own
        assert any("'id'" in note for note in open_array(whole).notes())
    never = open_array(good.with_columns(pl.lit(None, pl.Date).alias("left")))
    assert any("left out" in note and ": left" in note for note in never.notes())
    line(lambda: open_array(pl.DataFrame({"a": [None, None], "b": [None, None]})), "no cell", "known")
    line(lambda: open_array(good.with_columns(pl.lit([1, 2]).alias("pair"))), "'pair'", "no numbers and no text")
    line(lambda: open_array(good.with_columns(pl.lit(0).cast(pl.Date).alias("day"))), "'day'", "Date", "day=none")
    line(lambda: run.score(good.drop("income")), "no column 'income'")
    assert "'always'" in read_like(run.reading, good.with_columns(pl.lit("no").alias("always"))).notes[0]
    line(lambda: run.score(good.with_columns(pl.lit("tall").alias("height"))), "'height'", "no numbers", "tall")
    line(lambda: run.score(good.with_columns(pl.lit(math.inf).alias("height"))), "'height'", "infinite")
    line(lambda: open_array(good, spec=Data("array", kinds=("wages=real",))), "data.kinds", "'wages'")
    line(lambda: Data("array", kinds=("time=colour",)), "data.kinds", "colour")
    line(lambda: open_array(good, spec=Data("array", kinds=("height=counts",))), "height", "counts")
    line(lambda: taut.train(good, epochs=1, model={"likelihood": {"part": "Columns", "whole": "Gaussian"}}),
         "model.likelihood.whole", "Gaussian")  # fmt: skip
    line(lambda: taut.train("digits", epochs=1).impute(np.zeros((2, 8, 8))), "data.support columns")


class Pandas:
    """As much of a pandas table as is asked for."""

    def __init__(self, columns: dict[str, list], twice: bool = False) -> None:
        self.columns, self.data = [*columns] * (1 + twice), columns

    def __getitem__(self, name: str) -> np.ndarray:
        return np.array(self.data[name], dtype=object)


def test_tables_of_pandas():
    frame = to_frame(Pandas({"a": [1.5, math.nan, 2], "b": ["x", None, "y"], "c": [True, False, None]}))
    assert frame.schema == {"a": pl.Float64, "b": pl.String, "c": pl.Boolean}
    assert frame.null_count().row(0) == (1, 1, 1)
    line(lambda: to_frame(Pandas({"a": [1, "x", 2.5]})), "'a'", "mixes types", "'x'")
    line(lambda: to_frame(Pandas({"a": [1]}, twice=True)), "2 columns named 'a'")


def test_filling_keeps_what_is_known_to_the_last_digit():
    given = pl.DataFrame({"a": [2**53 + 1, None], "note": ["x", None], "b": [0.1234567891234, math.nan]})
    other = pl.DataFrame({"a": [1, 7], "b": [9.0, 2.5]})
    assert fill(given, other).rows() == [(2**53 + 1, "x", 0.1234567891234), (7, None, 2.5)]


def test_arrays_by_columns(tmp_path: Path):
    x = np.column_stack([np.random.RandomState(0).randn(60), np.arange(60) % 3, np.full(60, 7.0)])
    x[5, 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    for source in ("x.npy", "x.npz"):
        data = open_data(Data(str(tmp_path / source), support="columns"))
        assert str(data.reading.support) == "1 real, 1 ordinal"
    run = taut.train(x, epochs=1, data={"support": "columns"})
    assert run.impute(x)[0][5, 2] == 7
    assert not np.isnan(run.impute(x)[0]).any()
    line(lambda: open_array(np.zeros((9, 8, 8)), spec=Data("array", support="columns")), "rows (N, D)")


def test_adult_as_it_is_published(data_root: Path, tmp_path: Path):
    """The census table: spaces, question marks, no line of names, counts of dollars that are nearly all 0."""
    text = gzip.decompress((data_root / "tabular/adult.data.gz").read_bytes())
    path = tmp_path / "adult.csv"
    path.write_bytes(b"\n".join(text.splitlines()[:3000]))
    data = open_data(Data(str(path)))
    kinds = [field.kind for field in data.reading.fields]
    assert kinds[:5] == ["whole", "categories", "whole", "categories", "ordinal"]
    assert kinds[10] == "counts" and kinds[-1] == "categories"
    assert any("cells are missing" in note for note in data.notes())


def test_counts_of_overdispersed_columns_have_their_own_likelihood():
    head = Columns().build(
        (1,), Support("columns", columns=(Support("counts"),)), Statistics(torch.ones(1), torch.ones(1))
    )
    assert isinstance(head.heads[0].spec, ZeroInflatedNegativeBinomial)


def test_tables_with_what_pandas_has_for_nothing_are_read() -> None:
    pd = pytest.importorskip("pandas")

    table = pd.DataFrame(
        {"a": pd.array([True, None, False], dtype="boolean"), "b": pd.array(["x", None, "y"], dtype="string")}
    )
    assert to_frame(table).null_count().row(0) == (1, 1)
    assert to_frame(pl.LazyFrame({"a": [1, 2]})).rows() == [(1,), (2,)]


def test_a_column_of_the_users_own_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.RandomState(0)
    frame = pl.DataFrame({"a": rng.randn(60), "a.spread": rng.randn(60)})
    frame = frame.with_columns(pl.when(pl.Series(np.arange(60) % 7 > 0)).then("a").alias("a"))
    frame.write_csv(tmp_path / "t.csv")
    taut.train(frame, training={"steps": 3}, model={"latents": 1}).save(tmp_path / "run")
    words = ["impute", str(tmp_path / "run"), str(tmp_path / "t.csv"), "-o", str(tmp_path / "o.csv")]
    assert main(words) == 2 and "'a.spread', which would be written over; rename it" in capsys.readouterr().err
    assert main([*words, "--samples", "0"]) == 2 and "samples: is 0" in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()


def test_a_draw_larger_than_a_narrow_type_holds_is_kept() -> None:

    narrow = pl.DataFrame({"n": pl.Series([1, None], dtype=pl.UInt8)})
    assert fill(narrow, pl.DataFrame({"n": [1, 300]})).rows() == [(1,), (300,)]
    assert fill(narrow, pl.DataFrame({"n": [1, 30]})).schema["n"] == pl.UInt8


def test_columns_of_one_kind_have_a_likelihood_each_unless_they_are_many(tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    few = pl.DataFrame({"age": rng.randint(0, 90, 80), "member": rng.randint(0, 2, 80), "kids": rng.randint(0, 5, 80)})
    few.write_csv(tmp_path / "few.csv")
    assert open_data(Data(str(tmp_path / "few.csv"))).reading.fields is not None
    pl.DataFrame({f"p{i}": rng.randint(0, 17, 80) for i in range(32)}).write_csv(tmp_path / "many.csv")
    assert open_data(Data(str(tmp_path / "many.csv"))).reading.fields is None


def german(n: int = 300) -> pl.DataFrame:
    """A table as a spreadsheet writes it where a comma begins the fraction."""
    random = np.random.RandomState(0)
    t = random.randn(n)
    return pl.DataFrame({
        "preis": [f"{v:.2f}".replace(".", ",") for v in 100 * np.exp(t)],
        "miete": [f"{v:,.2f}".translate(str.maketrans(",.", ".,")) for v in 2000 * np.exp(t)],
        "alter": ["unbekannt" if random.rand() < 0.15 else str(int(40 + 10 * v)) for v in t],
        "plz": [f"{int(abs(v) * 4) * 111:05d}" for v in t],
        "stadt": np.where(t > 0, "Köln", "München"),
    })  # fmt: skip


def test_tables_of_spreadsheets_elsewhere(tmp_path: Path, capsys) -> None:
    table = german()
    semicolons, tabs = table.write_csv(separator=";"), table.write_csv(separator="\t")
    for name, content in (("utf8.csv", semicolons.encode()), ("utf16.csv", tabs.encode("utf-16")),
                          ("utf16be.tsv", b"\xfe\xff" + tabs.encode("utf-16-be")),
                          ("windows.csv", semicolons.encode("cp1252"))):  # fmt: skip
        (tmp_path / name).write_bytes(content)
    said = {}
    for name in ("utf8.csv", "utf16.csv", "utf16be.tsv", "windows.csv"):
        data = open_data(Data(str(tmp_path / name), kinds=("plz=categories",)))
        kinds = [field.kind for field in data.reading.fields]
        assert kinds == ["positive", "positive", "whole", "categories", "categories"]
        assert data.reading.fields[3].categories[:2] == ("00000", "00111")
        assert data.reading.fields[4].categories == ("Köln", "München")
        assert data.missing == (table["alter"] == "unbekannt").sum()
        x = data.reading.restore(read_like(data.reading, tmp_path / "utf8.csv").x)
        assert x[0, :2].tolist() == pytest.approx([583.60, 11672.08])
        said[name] = data.remarks
    assert "'583,60' is read as 583.60" in said["utf8.csv"][0]
    assert "'11.672,08' is read as 11672.08" in said["utf8.csv"][1]
    assert "'alter'" in said["utf8.csv"][2] and "'unbekannt'" in said["utf8.csv"][2]
    assert "Windows-1252" in said["windows.csv"][0] and said["windows.csv"][1:] == said["utf16.csv"]
    (tmp_path / "bare.csv").write_bytes(tabs.encode("utf-16-le"))
    line(lambda: open_data(Data(str(tmp_path / "bare.csv"))), "UTF-16 without its mark", "UTF-8")
    (tmp_path / "noise.csv").write_bytes(b"a,b\n\x81\xff,2\n")
    line(lambda: open_data(Data(str(tmp_path / "noise.csv"))), "cannot be read", "UTF-8")

    folder = str(tmp_path / "run")
    words = ["train", str(tmp_path / "utf8.csv"), "--data.kinds", "plz=categories", "--epochs", "1", "--out", folder]
    assert main(words) == 0
    assert main(["impute", folder, str(tmp_path / "utf16.csv"), "-o", str(tmp_path / "full.csv")]) == 0
    full = pl.read_csv(tmp_path / "full.csv", schema_overrides={"plz": pl.String})
    assert full["plz"].to_list() == table["plz"].to_list() and full["stadt"].to_list() == table["stadt"].to_list()
    known = table["alter"] != "unbekannt"
    assert full["alter"].filter(known).to_list() == [int(v) for v in table["alter"].filter(known)]
    assert full["alter"].is_not_null().all() and (full["alter.spread"].filter(~known) > 0).all()
    assert main(["sample", folder, "-n", "50", "-o", str(tmp_path / "new.csv")]) == 0
    new = pl.read_csv(tmp_path / "new.csv", schema_overrides={"plz": pl.String})
    assert set(new["plz"]) <= set(table["plz"]) and new.schema["alter"] == pl.Int64


def test_numbers_with_commas_are_told_apart(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    path = tmp_path / "a.csv"
    path.write_text("\n".join(";".join(f"{v:.2f}".replace(".", ",") for v in row) for row in random.randn(50, 3)))
    data = open_data(Data(str(path)))
    assert str(data.reading.support) == "3 real", "without a line of names too"
    path.write_text("a,b\n" + "".join(f'"{v:,}",{i % 3}\n' for i, v in enumerate(random.randint(500, 90_000, 60))))
    assert data.reading.fields[0].kind == "real" and open_data(Data(str(path))).reading.fields[0].kind == "whole"
    path.write_text("a;b\n" + "".join(f"{v:.2f};{v:.3f}\n".replace(".", ",", 1) for v in random.randn(60)))
    assert any("'b'" in note and "1.234" in note for note in open_data(Data(str(path))).notes())
    path.write_text("a;b\n" + "".join(f"{v:.2f};{i % 5}\n".replace(".", ",") if i % 6 else "unknown;1\n"
                                     for i, v in enumerate(random.randn(60))))  # fmt: skip
    data = open_data(Data(str(path)))
    assert data.reading.fields[0].kind == "real" and data.reading.fields[0].missing == "unknown" and data.missing == 10
    assert read_like(data.reading, path).x.isnan().sum() == 10
    path.write_text(path.read_text().replace("unknown", "about 1,5", 1).replace("unknown", ""))
    line(lambda: open_data(Data(str(path))), "'a'", "1 cell ", "about 1,5")
    path.write_text("a;b\n" + "".join(f"{i % 3},{i % 2},1;{i % 5}\n" for i in range(60)))
    assert open_data(Data(str(path))).reading.fields[0].kind == "categories"


def test_a_column_that_is_mostly_numbers_says_so_if_it_is_names() -> None:
    mixed = [("low", "high")[i // 6 % 2] if i % 6 == 0 else str(i % 40) for i in range(300)]
    data = open_array(pl.DataFrame({"a": mixed, "b": np.random.RandomState(0).randn(300)}))
    assert data.reading.fields[0].kind == "categories"
    assert any("'a'" in note and "most of its cells are numbers" in note and "50" in note for note in data.notes())


def test_types_come_back(tmp_path: Path, capsys) -> None:
    random = np.random.RandomState(0)
    t = random.randn(300)
    names = np.where(t > 0, "a", "b")
    frame = pl.DataFrame({
        "narrow": pl.Series((50 + 10 * t).astype(int), dtype=pl.Int8),
        "unsigned": pl.Series(random.poisson(9, 300), dtype=pl.UInt16),
        "single": pl.Series(t, dtype=pl.Float32),
        "category": pl.Series(names, dtype=pl.Categorical),
        "enumeration": pl.Series(names, dtype=pl.Enum(["z", "b", "a"])),
        "constant": pl.Series([3] * 300, dtype=pl.UInt8),
        "names": pl.Series([f"p{i}" for i in range(300)], dtype=pl.Categorical),
    })  # fmt: skip
    run = taut.train(frame, epochs=5, seed=0)
    assert Reading.from_dict(run.reading.to_dict()) == run.reading
    raw = run.sample(100, seed=0)
    drawn = run.frame(raw)
    assert drawn.schema == frame.schema and drawn["names"].null_count() == 100
    raw[0, 0] = 300
    assert run.frame(raw).schema["narrow"] == pl.Int64 and run.frame(raw)["narrow"][0] == 300, "no draw is changed"
    gaps = frame.with_columns(pl.when(pl.int_range(300) % 7 > 0).then(name).alias(name) for name in frame.columns)
    gaps.write_parquet(tmp_path / "gaps.parquet")
    run.save(tmp_path / "run")
    words = ["impute", str(tmp_path / "run"), str(tmp_path / "gaps.parquet"), "-o", str(tmp_path / "full.parquet")]
    assert main(words) == 0
    full = pl.read_parquet(tmp_path / "full.parquet").select(frame.columns)
    assert full.schema == frame.schema and full.drop("names").null_count().sum_horizontal().item() == 0


def test_types_of_pandas_come_back() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({
        "int": pd.array([1, None, 3] * 30, dtype="Int64"),
        "narrow": pd.array([1, None, 0] * 30, dtype="UInt8"),
        "float": pd.array([1.5, None, 3] * 30, dtype="Float32"),
        "category": pd.Categorical(["x", "y", None] * 30, categories=["y", "x", "w"]),
        "bool": pd.array([True, None, False] * 30, dtype="boolean"),
    })  # fmt: skip
    table = to_frame(frame)
    assert table.dtypes == [pl.Int64, pl.UInt8, pl.Float32, pl.Enum(["y", "x", "w"]), pl.Boolean]
    assert table.null_count().row(0) == (30,) * 5 and table["category"].to_list()[:3] == ["x", "y", None]
    run = taut.train(frame, epochs=1)
    assert run.frame(run.sample(5)).schema == table.schema
    for times in (pd.date_range("2020", periods=90, tz="Europe/Paris"), pd.date_range("2020", periods=90)):
        line(lambda times=times: taut.train(frame.assign(when=times), epochs=1), "'when'", "Datetime", "when=none")


def test_constant_columns_warn_of_nothing() -> None:
    random = np.random.RandomState(0)
    frame = pl.DataFrame({"a": random.randn(60), "b": np.full(60, 7.25), "c": [0.1, np.nextafter(0.1, 1)] * 30})
    assert open_array(frame).reading.fields[1].kind == "real"


def test_progress_is_told() -> None:
    told: list[tuple[float, int]] = []
    run = taut.train(people(), epochs=1)
    run.score(people(3000), samples=10, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3000, 3000) and len(told) > 4 and told == sorted(told)
    told.clear()
    run.impute(people(3000), samples=10, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3000, 3000) and len(told) > 2


def test_labels_that_are_not_known_of_every_row_are_no_hindrance_later() -> None:
    random = np.random.RandomState(0)
    t = random.randn(60)
    for labels in (np.where(t > 0, "a", "b"), t > 0, (t > 0) + 3, (t > 0) + 1.0):
        frame = pl.DataFrame({"x": t, "y": random.rand(60), "label": pl.Series(labels)})
        data = open_array(frame, spec=Data("array", labels="label"))
        known = read_like(data.reading, frame).labels
        some = frame.with_columns(pl.when(pl.int_range(60) > 0).then("label").alias("label"))
        assert read_like(data.reading, some).labels.tolist() == [-1, *known[1:].tolist()]
        line(lambda some=some: open_array(some, spec=Data("array", labels="label")), "1 missing cell")


def test_numbers_far_from_0_are_told_apart(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    near = random.randn(200, 3)
    runs = [taut.train(near + shift, training={"steps": 30}, seed=0) for shift in (0, 5e8)]
    assert runs[1].summary["elbo"] == pytest.approx(runs[0].summary["elbo"], abs=1e-4), "a shift has no Jacobian"
    np.testing.assert_allclose(runs[1].sample(9, seed=1) - 5e8, runs[0].sample(9, seed=1), atol=1e-5)
    frame = pl.DataFrame({"time": 1_700_000_000 + random.randint(0, 900, 200), "north": 5.4e6 + 0.3 * near[:, 0],
                          "kind": random.choice(["a", "b"], 200)})  # fmt: skip
    run = taut.train(frame, training={"steps": 30}, seed=0)
    run.save(tmp_path / "run")
    again = taut.load(tmp_path / "run")
    assert again.reading == run.reading and again.reading.centre is not None
    drawn = again.frame(again.sample(200, seed=0))
    assert drawn["time"].n_unique() > 100 and drawn["north"].n_unique() > 190
    assert abs(drawn["time"].mean() - frame["time"].mean()) < 200
    assert again.encode(frame).std(0).max() > 0
    points = Space.of(run.data).points(run.reading.restore(run.data.test.x))
    torch.testing.assert_close(points.std(0)[:2], torch.ones(2), rtol=0.4, atol=0)
    line(lambda: taut.train(near * 1e-300), "another unit")
    large = frame.with_columns(pl.Series("id", 2**60 + np.arange(200)))
    notes = open_array(large).notes()
    assert any("'id'" in note and "2^53" in note for note in notes)
    assert taut.train(large, training={"steps": 2}).reading.columns == ("time", "north", "kind", "id")


def test_nothing_to_fill_is_filled(run) -> None:
    whole = people(20, seed=3).drop_nulls()
    filled, spread = run.impute(whole)
    assert len(filled) == len(whole) and not spread.any()
    assert run.frame(filled)["time"].to_list() == whole["time"].to_list()


def test_what_spreadsheets_and_pandas_write(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"

    def read(text: str) -> tuple[list[str], list[str], tuple[str, ...]]:
        path.write_text(text)
        data = open_data(Data(str(path)))
        return list(data.reading.columns), data.notes(), tuple(field.kind for field in data.reading.fields)

    rows = [(i, i % 7, "xy"[i % 2], f"{i * 37 % 900 + 100:05d}") for i in range(60)]
    names, notes, _ = read(",n,kind\n" + "".join(f"{i},{n},{k}\n" for i, n, k, _ in rows))
    assert names == ["n", "kind"] and any("row numbers" in note for note in notes)
    names, _, _ = read("sep=;\nn;kind\n" + "".join(f"{n};{k}\n" for _, n, k, _ in rows))
    assert names == ["n", "kind"]
    _, notes, kinds = read("zip,n\n" + "".join(f"{z},{n}\n" for _, n, _, z in rows))
    assert (
        kinds[1] == "ordinal"
        and kinds[0] != "whole"
        and any("'zip'" in note and "begin with 0" in note for note in notes)
    )
    padded = "".join(f"{i * 41 % 1000:04d},{n}\n" for i, n, _, _ in rows)
    path.write_text("time,n\n" + padded)
    data = open_data(Data(str(path), kinds=("time=whole",)))
    assert data.reading.fields[0].kind == "whole" and not any("begin with 0" in note for note in data.notes())
    assert read_like(data.reading, str(path)).x[1, 0] == 41 and not read_like(data.reading, str(path)).notes
    dotted = [f"{1 + i % 9}.{100 + i}" if i % 3 else str(400 + i) for i in range(60)]
    body = "".join(f"{d};{i % 50},5\n" for i, d in enumerate(dotted))
    _, notes, kinds = read("umsatz;x\n" + body)
    assert any("'2.101' is read as 2101" in note for note in notes) and kinds[0] == "whole"
    learned = open_data(Data(str(path))).reading
    (tmp_path / "more.csv").write_text("umsatz;x\n3.842;7\n459;8\n")
    assert read_like(learned, str(tmp_path / "more.csv")).x[0, 0] == 3842, "as it was written where the model learned"
    _, notes, _ = read("umsatz;x\n" + body.replace(",5", ""))
    assert any("'2.101' is read as 2.101" in note and "take them out" in note for note in notes)
    _, notes, _ = read("share,n\n" + "".join(f"{n} %,{i * 13 % 47}\n" for i, n, _, _ in rows))
    assert any("'share'" in note and "plain numbers" in note for note in notes)


def test_a_word_in_a_column_of_truth_is_the_one_that_is_named(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": np.random.RandomState(0).randn(60), "yes": np.arange(60) % 3 == 0})
    run = taut.train(frame, training={"steps": 2})
    texts = frame.with_columns(pl.Series("yes", ["maybe", *(str(v) for v in frame["yes"][1:])]))
    line(lambda: run.score(texts), "'yes'", "1 cell that", "'maybe'")
    words = frame.with_columns(pl.Series("yes", [str(v).upper() for v in frame["yes"]]))
    np.testing.assert_array_equal(run.encode(words), run.encode(frame))


def test_tables_and_matrices_of_others() -> None:
    import anndata
    import pyarrow
    from scipy import sparse

    random = np.random.RandomState(0)
    frame = pl.DataFrame({"x": random.randn(40), "kind": random.choice(["a", "b"], 40)})
    assert open_array(pyarrow.Table.from_pydict(frame.to_dict(as_series=False))).reading.columns == ("x", "kind")
    counts = random.poisson(3.0, (40, 6))
    matrix = open_array(sparse.csr_matrix(counts))
    cells = open_array(anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32))))
    assert matrix.reading.library == cells.reading.library and matrix.reading.library is not None
    run = taut.train(anndata.AnnData(counts.astype(np.float32)), training={"steps": 2})
    assert run.encode(sparse.csr_matrix(counts)).shape[0] == 40
    line(lambda: taut.train(frame, steps=3), "training.steps", "training={'steps': …}")


def test_images_signals_and_conditions_far_from_0(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    waves = np.sin(np.arange(32) / 3 + random.rand(60, 1) * 6) + 0.1 * random.randn(60, 32)
    for data in ({"layout": "signal"}, {"shape": (4, 8)}):
        near, far = (taut.train(waves + shift, data=data, training={"steps": 10}, seed=0) for shift in (0, 1e8))
        assert far.summary["elbo"] == pytest.approx(near.summary["elbo"], abs=1e-3)
        np.testing.assert_allclose(far.sample(3, seed=0) - 1e8, near.sample(3, seed=0), atol=1e-5)
    far.save(tmp_path / "far")
    assert taut.load(tmp_path / "far").reading == far.reading
    near.save(tmp_path / "near")
    start = {"steps": 1, "start": {"run": str(tmp_path / "near")}}
    line(lambda: taut.train(waves + 1e8, data={"shape": (4, 8)}, training=start), "training.start.run", "1e+08")
    frame = pl.DataFrame({"x": random.randn(60), "y": random.rand(60), "t": 1e9 + random.randn(60)})
    run = taut.train(frame, data={"condition": ["t"]}, training={"steps": 2})
    told = run.told({"t": 1e9 + 1.5}, 2)
    assert run.frame(run.sample(2, condition=told), told)["t"].to_list() == [1e9 + 1.5] * 2


def test_row_numbers_are_told_from_columns_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",n,k\n" + "".join(f"{i % 5 / 7:.3f},{i % 7},{'xy'[i % 2]}\n" for i in range(60)))
    assert open_data(Data(str(path))).reading.columns == ("column_1", "n", "k")
    path.write_text("a|b\n" + "".join(f"{i % 7}|{i % 11}.5\n" for i in range(60)))
    assert open_data(Data(str(path))).reading.columns == ("a", "b")
    floats = pl.DataFrame({"id": [2.0**60 + 2**12 * i for i in range(59)] + [None], "x": np.random.rand(60)})
    assert any("'id'" in note and "2^53" in note for note in open_array(floats).notes())
    line(lambda: taut.train(floats, training={"steps": 1}).impute(floats, samples=1), "samples", "2 or more")
