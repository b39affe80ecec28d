"""Matrices of counts: sparse files, annotated files, each row's total a known scale."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

import taut
from taut.cli import main
from taut.data import Batch, Data, Reading, Statistics, Support, open_data, read_like
from taut.distributions import Factorised
from taut.errors import InputError
from taut.likelihoods import Likelihood
from taut.model import Model
from taut.networks import MLP

torch.set_num_threads(1)


def matrix(n: int = 200, d: int = 30, seed: int = 0) -> np.ndarray:
    """Cells of two kinds whose totals range over a factor of ten."""
    random = np.random.RandomState(seed)
    profile = random.dirichlet(np.full(d, 0.5), 2)
    totals = np.exp(random.uniform(4, 6.3, n))
    return random.poisson(totals[:, None] * profile[np.arange(n) % 2]).astype(np.int64)


def line(call, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def sparse_file(path: Path, x: np.ndarray, **beside: np.ndarray) -> Path:
    rows = sparse.csr_matrix(x)
    np.savez(path, data=rows.data, indices=rows.indices, indptr=rows.indptr, shape=np.array(rows.shape), **beside)
    return path


@pytest.mark.parametrize("name", sorted(n for n, member in Likelihood.members.items() if member.scales))
@torch.no_grad()
def test_a_known_scale_is_added_to_the_log_mean(name):
    """log p(x|z, l) of every count likelihood is that of a mean l times as large."""
    statistics = Statistics(torch.full((3,), 4.0), torch.full((3,), 5.0))
    torch.manual_seed(0)
    vae = Model(latents=2, likelihood=Likelihood.members[name](), network=MLP((4,))).build(
        (3,), Support("counts"), statistics
    )
    x, offset = torch.tensor([[0.0, 3.0, 9.0], [1.0, 2.0, 40.0]]), torch.tensor([[math.log(3.0)], [-1.0]])
    batch = Batch(x, offset=offset)
    trace = vae(batch, 2)
    given, plain = trace.given(batch), trace.likelihood
    torch.testing.assert_close(given.mean, plain.mean * offset.exp().repeat(2, 1))
    counts = torch.arange(3000.0).view(-1, 1, 1)
    total = given.base.log_prob(counts).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(4, 3), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(trace.log_likelihood(batch), given.log_prob(x).view(2, 2))
    assert isinstance(given, Factorised)


def test_sparse_files_are_read_as_their_dense_matrix(tmp_path: Path):
    x = matrix()
    path = sparse_file(tmp_path / "x.npz", x, genes=np.array([f"g{i}" for i in range(30)]), y=np.arange(200) % 2)
    data = open_data(Data(str(path)))
    assert str(data.reading.support) == "counts from 0" and data.reading.columns[0] == "g0"
    assert data.label_names == ("0", "1")
    assert any("total" in note for note in data.notes())
    split = read_like(data.reading, path)
    np.testing.assert_array_equal(data.reading.restore(split.x), x)
    np.testing.assert_allclose(split.offset.numpy().ravel(), np.log(x.sum(1)) - np.log(x.sum(1)).mean(), atol=1e-5)
    assert Reading.from_dict(data.reading.to_dict()) == data.reading
    sparse.save_npz(tmp_path / "scipy.npz", sparse.csc_matrix(x))
    np.testing.assert_array_equal(read_like(data.reading, tmp_path / "scipy.npz").x, split.x)
    assert open_data(Data(str(path), offset="none")).train.offset is None
    line(lambda: open_data(Data(str(sparse_file(tmp_path / "f.npz", x / 3)))), "no matrix of counts", "not whole")
    line(lambda: open_data(Data(str(sparse_file(tmp_path / "n.npz", x - 1)))), "below 0")
    np.savez(
        tmp_path / "bad.npz", data=np.ones(4), indices=np.arange(3), indptr=np.array([0, 9]), shape=np.array([1, 3])
    )
    line(lambda: open_data(Data(str(tmp_path / "bad.npz"))), "no sparse matrix")


def test_counts_in_columns_that_were_constant_are_left_aside(tmp_path: Path):
    x = matrix()
    x[0] += 1
    x[:, [3, 5]] = [0, 2]
    names = np.array([f"g{i}" for i in range(30)])
    run = taut.train(str(sparse_file(tmp_path / "x.npz", x, genes=names)), epochs=1)
    assert [i for i, _ in run.reading.dropped] == [3, 5]
    plain = read_like(run.reading, tmp_path / "x.npz")
    bare = sparse_file(tmp_path / "bare.npz", np.delete(x, [3, 5], 1), genes=np.delete(names, [3, 5]))
    assert torch.equal(read_like(run.reading, bare).x, plain.x)
    assert torch.equal(read_like(run.reading, bare).offset, plain.offset)
    odd = x.copy()
    odd[7, 3] = 400
    found = read_like(run.reading, sparse_file(tmp_path / "odd.npz", odd, genes=names))
    assert torch.equal(found.x, plain.x) and torch.equal(found.offset, plain.offset)
    assert (
        "'g3' has 1 cell" in found.notes[0]
        and "400 in row 7 (it was always 0 in training): taken as that" in found.notes[0]
    )
    np.testing.assert_array_equal(run.encode(odd), run.encode(x))
    assert run.score(odd).score.argmax() == 7 and run.score(odd).because(names)[7].startswith("g3 103.3")
    line(lambda: run.evaluate(str(tmp_path / "odd.npz"), samples=1), "1 of 200 rows", "'g3'")


def test_sparse_matrices_of_other_forms(tmp_path: Path):
    x = matrix()
    for form in (sparse.coo_matrix, sparse.coo_array, sparse.csc_array):
        sparse.save_npz(tmp_path / "x.npz", form(x))
        data = open_data(Data(str(tmp_path / "x.npz")))
        np.testing.assert_array_equal(data.reading.restore(read_like(data.reading, tmp_path / "x.npz").x), x)
    for form in (sparse.dia_matrix, sparse.bsr_matrix):
        sparse.save_npz(tmp_path / "x.npz", form(np.eye(30)))
        line(lambda: open_data(Data(str(tmp_path / "x.npz"))), "of the form", "tocsr")
    for value, word in ((np.nan, "NaN"), (np.inf, "infinite")):
        bad = x.astype(np.float64)
        bad[4, 2] = value
        line(lambda bad=bad: open_data(Data(str(sparse_file(tmp_path / "bad.npz", bad)))), word, "row 4", "1 value is")


def test_a_run_on_counts(tmp_path: Path):
    path = sparse_file(tmp_path / "x.npz", matrix(400))
    run = taut.train(str(path), epochs=20, out=tmp_path / "run", seed=0)
    plain = taut.train(str(path), epochs=20, data={"offset": "none"}, seed=0)
    assert run.summary["elbo"] > plain.summary["elbo"], "who knows the total is told less by the counts"
    again = taut.load(tmp_path / "run")
    x = matrix(20, seed=0)
    codes = again.encode(x)
    np.testing.assert_array_equal(codes, run.encode(x))
    np.testing.assert_allclose(again.reconstruct(x).sum(1), x.sum(1), rtol=0.5)
    drawn = again.sample(300, seed=0)
    assert (drawn == np.round(drawn)).all()
    assert drawn.sum(1).max() > 5 * drawn.sum(1).min(), "draws have totals as the data do"
    assert again.score(x).blame.shape == (20, 30 - len(again.reading.dropped))
    line(lambda: taut.train(str(path), epochs=1, model={"likelihood": "Gaussian"}), "data.offset", "Gaussian")
    line(lambda: taut.train("digits", epochs=1, data={"offset": "library"}), "data.offset", "counts")


anndata_missing = "anndata is an extra"


def annotated(path: Path, **options) -> Path:
    anndata = pytest.importorskip("anndata", reason=anndata_missing)
    import pandas as pd

    x = matrix()
    obs = pd.DataFrame({"batch": ["a", "b"] * 100, "kind": ["t", "u", "v", "w"] * 50, "depth": np.arange(200.0)},
                       index=[f"c{i}" for i in range(200)])  # fmt: skip
    table = anndata.AnnData(X=options.get("x", sparse.csr_matrix(x.astype(np.float32))), obs=obs,
                            layers=options.get("layers", {}))  # fmt: skip
    table.write_h5ad(path)
    return path


@pytest.mark.filterwarnings("default")
def test_annotated_matrices(tmp_path: Path, capsys):
    path = annotated(tmp_path / "cells.h5ad")
    import anndata

    out = tmp_path / "out.h5ad"
    folder = str(tmp_path / "run")
    options = ["--epochs", "2", "--data.labels", "kind", "--data.condition", "batch"]
    assert main(["train", str(path), "--out", folder, *options]) == 0
    assert main(["encode", folder, str(path), "-o", str(out)]) == 0
    table = anndata.read_h5ad(out)
    run = taut.load(folder)
    np.testing.assert_array_equal(table.obsm["X_taut"], run.encode(read_like(run.reading, path)))
    assert list(table.obs["kind"][:2]) == ["t", "u"] and table.shape == (200, 30)
    assert [condition.categories for condition in run.reading.conditions] == [("a", "b")]
    assert run.sample(3, condition="b").shape == (3, 30)
    table[:, ::-1].copy().write_h5ad(tmp_path / "turned.h5ad")
    turned = read_like(run.reading, tmp_path / "turned.h5ad")
    assert torch.equal(turned.x, read_like(run.reading, path).x), "genes are known by their names"
    one = table[:, :1].copy()
    one.var_names = ["new"]
    more = anndata.concat([table, one], axis=1, merge="same")
    more.write_h5ad(tmp_path / "more.h5ad")
    found = read_like(run.reading, tmp_path / "more.h5ad")
    assert torch.equal(found.x, read_like(run.reading, path).x) and torch.equal(found.offset, turned.offset)
    assert found.notes == ("column 'new' is unknown to the model, and ignored",)
    table[:, 1:].copy().write_h5ad(tmp_path / "fewer.h5ad")
    line(lambda: read_like(run.reading, tmp_path / "fewer.h5ad"), "has no column '0'")
    capsys.readouterr()
    assert main(["encode", folder, str(path), "-o", str(out)]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.filterwarnings("default")
def test_bad_annotated_matrices(tmp_path: Path):
    x = matrix().astype(np.float32)
    path = annotated(tmp_path / "scaled.h5ad", x=x / 3)
    line(lambda: open_data(Data(str(path))), "no matrix of counts")
    path = annotated(tmp_path / "layers.h5ad", x=x / 3, layers={"counts": x})
    assert any("layer 'counts'" in note for note in open_data(Data(str(path))).notes())
    line(lambda: open_data(Data(str(path), array="raw")), "data.array", "'raw'")
    line(lambda: open_data(Data(str(path), labels="knd")), "data.labels", "did you mean kind")
    line(lambda: open_data(Data(str(path), condition=("bach",))), "data.condition", "did you mean batch")
    (tmp_path / "noise.h5ad").write_bytes(b"no such format")
    line(lambda: open_data(Data(str(tmp_path / "noise.h5ad"))), "cannot be read")


def test_anndata_absent(tmp_path: Path, monkeypatch):
    import sys

    (tmp_path / "a.h5ad").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "anndata", None)
    line(lambda: open_data(Data(str(tmp_path / "a.h5ad"))), "anndata", "pip install")


def test_cells_as_they_are_published(data_root: Path):
    data = open_data(Data(str(data_root / "single_cell/tenx_10k_subset_counts.npz")))
    assert data.what().startswith("10,000 rows of 1,000 columns, counts from 0")
    assert data.train.offset.shape == (8000, 1)
