"""What is exported computes what the model computes, for any number of examples; what has no graph is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import taut
from taut.cli import main
from taut.config import parse
from taut.data import Data, open_data
from taut.errors import InputError
from taut.experiment import Experiment, build, resolve
from taut.export import export, export_page, graphs
from taut.export.graphs import _onnx
from taut.runs import Run, facts_of

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

SHORT = ["--training.steps", "5", "--training.batch", "32", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    network = ["--model.network", "Conv", "--model.network.channels", "4,8", "--model.network.hidden", "16"]
    assert main(["train", "digits", "--out", str(folder), "--model.latents", "3", *network, *SHORT]) == 0
    return folder


def test_onnx_gives_the_model_s_own_numbers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["export", str(run)]) == 0
    assert "differs from the model by at most" in capsys.readouterr().out
    said = json.loads((run / "export" / "export.json").read_text())
    assert said["encoder"]["input"] == ["n", 1, 8, 8] and said["decoder"]["outputs"] == {"x": ["n", 1, 8, 8]}
    trained = taut.load(run)
    raw = trained.sample(9, seed=3)
    x = trained.reading.apply(raw).float().numpy()
    encoder, decoder = (
        onnxruntime.InferenceSession(run / "export" / f"{part}.onnx") for part in ("encoder", "decoder")
    )
    mean, scale = encoder.run(None, {"x": x})
    np.testing.assert_allclose(mean, trained.encode(raw), atol=1e-4)
    assert (scale > 0).all() and scale.shape == (9, 3)
    (back,) = decoder.run(None, {"z": mean})
    np.testing.assert_allclose(back[:, 0], trained.reconstruct(raw), atol=1e-3)


def test_programs_for_torch(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "programs"
    assert main(["export", str(run), "--format", "torch-export", "--only", "decoder", "-o", str(out), "--quiet"]) == 0
    codes = taut.load(run).draw_codes(4)
    decoder = torch.export.load(out / "decoder.pt2").module()
    with torch.no_grad():
        np.testing.assert_allclose(decoder(torch.from_numpy(codes))[:, 0], taut.load(run).decode(codes), atol=1e-4)
    assert not (out / "encoder.pt2").exists()


def test_a_hierarchy_of_maps_takes_any_number_of_examples(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ladder = ["--model.network", "Pyramid", "--model.network.channels", "4,8", "--model.network.cells", "1",
              "--model.layers", "[{part: Spatial, latents: 1}]"]  # fmt: skip
    assert main(["train", "digits", "--out", str(folder), *ladder, *SHORT]) == 0
    assert main(["export", str(folder), "--quiet"]) == 0  # held against the model in batches of 1 and of 5


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> taut.runs.Run:
    random = np.random.RandomState(0)
    cells = np.column_stack(
        [random.randn(200), np.exp(random.randn(200)), random.poisson(30, 200), random.rand(200) < 0.5]
    )
    cells[random.rand(200, 4) < 0.2] = np.nan
    names = pl.Series("name", random.choice(["早", "晚", "noon"], 200))
    frame = pl.DataFrame(cells, schema=["size", "income", "visits", "member"]).with_columns(names).fill_nan(None)
    return taut.train(frame, training={"steps": 5})


@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_a_table_s_missing_cells_are_nan_in_the_graph(table: taut.runs.Run, format: str, tmp_path: Path) -> None:
    record = export(table, tmp_path, format)
    assert record["encoder"]["missing"] == "NaN" and "missing" not in record["decoder"]
    raw = np.asarray(table.sample(9, seed=1), dtype=np.float64)
    raw[np.random.RandomState(1).rand(*raw.shape) < 0.4] = np.nan
    raw[0] = np.nan
    x = table.reading.apply(raw).float()
    path = str(tmp_path / record["encoder"]["file"])
    if format == "onnx":
        mean, scale = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})
    else:
        mean, scale = (each.detach().numpy() for each in torch.export.load(path).module()(x))
    np.testing.assert_allclose(mean, table.encode(raw), atol=1e-5)
    assert (scale > 0).all()


@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_a_condition_is_an_input_of_the_graph(format: str, tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    frame = pl.DataFrame({"size": random.randn(90), "sex": random.choice(["f", "m"], 90), "age": random.rand(90) * 60,
                          "name": random.choice(["a", "b"], 90)})  # fmt: skip
    run = taut.train(frame, training={"steps": 20}, data={"condition": ["sex", "age"]})
    record = export(run, tmp_path, format)
    assert record["encoder"]["condition"] == record["decoder"]["condition"] == ["n", 3]
    told = run.told({"sex": ["m", "f", "m"], "age": [30, 40, 50]}, 3)
    mean, std = (record["reading"]["conditions"][1][name] for name in ("mean", "std"))
    np.testing.assert_allclose(told, [[0, 1, (30 - mean) / std], [1, 0, (40 - mean) / std], [0, 1, (50 - mean) / std]],
                               rtol=1e-5)  # fmt: skip
    drawn, z = run.sample(3, seed=0, condition=told), run.draw_codes(3, condition=told)
    given = {"encoder": run.reading.apply(drawn).float(), "decoder": torch.from_numpy(z)}
    found = {}
    for (part, x), name in zip(given.items(), "xz", strict=True):
        path = str(tmp_path / record[part]["file"])
        if format == "onnx":
            found[part] = onnxruntime.InferenceSession(path).run(None, {name: x.numpy(), "condition": told.numpy()})[0]
        else:
            answer = torch.export.load(path).module()(x, told)
            found[part] = (answer[0] if part == "encoder" else answer).detach().numpy()
    np.testing.assert_allclose(found["encoder"], run.encode(drawn, condition=told), atol=1e-5)
    np.testing.assert_allclose(found["decoder"], run.decode(z, told), atol=1e-5)


def test_numbers_that_are_none_are_no_match(
    table: taut.runs.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def spoilt(*given: object) -> tuple[bytes, object]:
        content, run_it = _onnx(*given)
        return content, lambda x: [each * np.nan for each in run_it(x)]

    monkeypatch.setitem(graphs.WRITERS, "onnx", spoilt)
    with pytest.raises(InputError, match="differs from the model by nan"):
        export(table, tmp_path / "none", parts=("encoder",))


@pytest.mark.parametrize("likelihood", ["DiscretisedLogistic", "DiscretisedLogisticMixture", "Student"])
def test_means_that_ask_much_of_a_tracer(likelihood: str, tmp_path: Path) -> None:
    data = open_data(Data("digits"))
    experiment = resolve(parse(Experiment, {"data": {"source": "digits"}, "model": {"likelihood": likelihood}}), data)
    blank = Run(build(experiment, data).eval().requires_grad_(False), experiment, data.reading, facts_of(data), {})
    assert set(export(blank, tmp_path)) >= {"encoder", "decoder"}  # each held against the model


def test_what_cannot_be_exported_is_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = open_data(Data("digits"))
    experiment = resolve(parse(Experiment, {"data": {"source": "digits"}, "model": {"likelihood": "PixelCNN"}}), data)
    chain = Run(build(experiment, data).eval(), experiment, data.reading, facts_of(data), {})
    with pytest.raises(InputError, match="no mean under PixelCNN"):
        export(chain, tmp_path / "chain")
    assert not (tmp_path / "chain").exists()
    full = tmp_path / "full"
    full.mkdir()
    (full / "encoder.onnx").write_text("mine")
    for arguments, word in (
        (["--format", "tflite"], "--format"),
        (["--only", "prior"], "--only"),
        (["-o", str(full)], "exists"),
    ):
        capsys.readouterr()
        assert main(["export", str(run), *arguments]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert word in line
    for write in (export, export_page):
        for place in (full / "encoder.onnx" / "below", tmp_path / ("long" * 100)):
            with pytest.raises(InputError, match="cannot be made"):
                write(taut.load(run), place)
    assert (full / "encoder.onnx").read_text() == "mine"
