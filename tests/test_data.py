"""Data: what is read, what is said of it, how it is split, and how mistakes are answered."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from taut.data import Data, Feed, Reading, Split, Support, open_array, open_data, read_like
from taut.data.reading import draw_static
from taut.data.shapes import FACTORS, HIGH, KINDS, LOW, draw_shapes, shapes_source
from taut.data.splits import carve
from taut.errors import InputError

RNG = np.random.RandomState(0)
VECTORS = RNG.randn(40, 5)
GREY = RNG.randint(0, 256, (40, 6, 5)).astype(np.uint8)


def refused(*words: str, call=open_data, args=()) -> str:
    """Asserts that the call raises one InputError, of one line, with all the words; gives the line."""
    with pytest.raises(InputError) as caught:
        call(*args)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line
    return line


def refuse_data(source, *words: str, **options) -> str:
    return refused(*words, call=lambda: open_data(Data(str(source), **options)))


def refuse_array(x, *words: str, labels=None, **options) -> str:
    return refused(*words, call=lambda: open_array(x, labels, Data("array", **options)))


def make_images(folder: Path, images, names=None) -> Path:
    for i, image in enumerate(images):
        path = folder / (names[i] if names else f"{i:03}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
    return folder


def whole(data) -> torch.Tensor:
    return torch.cat([data.train.x, data.valid.x, data.test.x])


# --- real sets ---------------------------------------------------------------------------------------------------


def test_digits():
    data = open_data(Data("digits"))
    assert data.describe() == "1,797 images 8×8, integers 0 to 16; 10% validation, 10% test, seed 0"
    assert data.reading.support == Support("integers", 17) and data.reading.limits == (0, 16)
    assert np.dtype(data.reading.raw_dtype).kind == "i" and data.reading.origin == "named"
    assert [len(data.train), len(data.valid), len(data.test)] == [1437, 180, 180]
    assert data.train.x.dtype == torch.uint8 and data.train.labels.dtype == torch.int64
    json.dumps(data.record)


NAMED = [
    ("mnist", {}, "70,000 images 28×28, integers 0 to 255; own split: 10,000 test, 10% of the rest validation, seed 0"),
    ("fashion-mnist", {"valid": 0.2}, "own split: 10,000 test, 20% of the rest validation"),
    ("binarized-mnist", {}, "values {0, 1}; own split: 50,000 training + 10,000 validation + 10,000 test"),
    ("mnist", {"binarize": "dynamic", "limit": 100}, "values {0, 1} (dynamic binarisation of integers 0 to 255); own"),
]


@pytest.mark.parametrize(("name", "options", "said"), NAMED)
def test_named(data_root, name, options, said):
    data = open_data(Data(name, root=str(data_root), **options))
    assert said in data.describe()
    assert data.train.x.shape[1:] == (1, 28, 28) and data.train.x.dtype == torch.uint8
    assert len(data.test) == 10_000
    train = 50_000 if name == "binarized-mnist" else round(60_000 * (1 - options.get("valid", 0.1)))
    assert len(data.train) == options.get("limit", train)
    assert (data.label_names is None) == (name == "binarized-mnist")


def test_mnist_truth(data_root, monkeypatch):
    monkeypatch.setenv("TAUT_DATA", str(data_root / "mnist"))  # the set's own folder will do
    data = open_data(Data("mnist"))
    assert data.train.x.float().mean() / 255 == pytest.approx(0.1307, abs=5e-4)  # the known mean of the training images
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    refuse_data("fashion-mnist", "is not below")


FILES = [
    ("frey_faces/frey_faces.npz", {}, "1,965 images 28×20, integers 0 to 255"),
    ("adbench/28_pendigits.npz", {}, "6,870 vectors of 16, floats in [0, 1]"),
    ("adbench/30_satellite.npz", {}, "6,435 vectors of 36, integers 0 to 157"),
    ("adbench/38_thyroid.npz", {}, "3,772 vectors of 6, floats in [0, 1]"),
    ("adbench/4_breastw.npz", {"support": "bytes"}, "683 vectors of 9, integers 0 to 255"),
    ("adbench/6_cardio.npz", {"labels": "y"}, "1,831 vectors of 21, real numbers"),
    ("binarized_mnist/binarized_mnist_packed.npz", {"packed": True, "shape": (28, 28), "array": "test"}, "{0, 1}; 10%"),
]


@pytest.mark.parametrize(("file", "options", "said"), FILES)
def test_real_files(data_root, file, options, said):
    data = open_data(Data(str(data_root / file), **options))
    assert said in data.describe()
    x = whole(data)
    assert len(x) == sum(data.record["counts"].values()) and torch.isfinite(x.float()).all()
    statistics = data.statistics()
    assert statistics.std.shape == data.reading.shape and (statistics.std > 0).all()


def test_real_tables(data_root):
    data = open_data(Data(str(data_root / "tabular/penguins.csv")))
    assert data.what() == "344 rows of 7 columns, 3 categories, 2 real, 2 whole"
    refuse_data(data_root / "tabular/penguins.csv", "'species'", "no numbers", "Adelie", support="real")
    refuse_data(data_root / "tabular/adult.data.gz", "no kind")


def test_folder_of_cifar(data_root, tmp_path):
    sheet = np.asarray(Image.open(data_root / "cifar10_sample/cifar10_batch_50.png")).reshape(-1, 32, 32, 3)[:60]
    labels = np.load(data_root / "cifar10_sample/cifar10_labels.npz")["test"][:60]
    names = [f"class {label}/{i:04}.png" for i, label in enumerate(labels)]
    data = open_data(Data(str(make_images(tmp_path / "cifar", sheet, names))))
    assert data.what() == "60 images 32×32×3, integers 0 to 255"
    assert data.reading.shape == (3, 32, 32) and data.reading.raw_shape == (32, 32, 3)
    assert data.label_names == tuple(sorted({f"class {label}" for label in labels}))
    first = sorted(range(60), key=lambda i: names[i])
    again = read_like(data.reading, tmp_path / "cifar")
    np.testing.assert_array_equal(data.reading.restore(again.x), sheet[first])
    assert [data.label_names[i] for i in again.labels] == [f"class {labels[i]}" for i in first]


# --- what values are ---------------------------------------------------------------------------------------------

SUPPORTS = [
    (np.eye(20, 5), "auto", "values {0, 1}"),
    (np.eye(20, 5) > 0, "auto", "values {0, 1}"),
    (GREY, "auto", "integers 0 to 255"),
    (GREY // 100, "auto", "integers 0 to 255"),
    (GREY.astype(np.int32) // 100, "auto", "integers 0 to 2"),
    (GREY.reshape(40, -1) // 100, "auto", "integers 0 to 2"),
    (GREY // 100, "integers", "integers 0 to 2"),
    (GREY / 255, "auto", "floats in [0, 1]"),
    (GREY / 1.0, "auto", "integers 0 to 255"),
    (GREY / 1.0, "real", "real numbers"),
    (GREY / 1.0, "bytes", "integers 0 to 255"),
    (GREY.astype(int) - 3, "auto", "whole numbers"),
    (GREY.astype(int) * 2, "auto", "whole numbers"),
    (GREY.astype(int) * 2, "counts", "counts from 0"),
    (GREY.reshape(40, -1).astype(np.int64) * (np.arange(30) + 7), "auto", "counts from 0"),
    (GREY.reshape(40, -1).astype(np.int64) + 1990, "auto", "whole numbers"),
    (GREY.reshape(40, -1) // 100, "counts", "counts from 0"),
    (GREY.reshape(40, -1) / 1.0, "counts", "counts from 0"),
    (VECTORS.astype(">f4"), "auto", "real numbers"),
    (VECTORS.astype(np.float16), "auto", "real numbers"),
    (GREY, "real", "whole numbers"),
]


@pytest.mark.parametrize(("x", "choice", "said"), SUPPORTS)
def test_support_and_way_back(x, choice, said):
    data = open_array(x, spec=Data("array", support=choice))
    assert data.what().endswith(said)
    reading = Reading.from_dict(json.loads(json.dumps(data.reading.to_dict())))
    assert reading == data.reading
    restored = reading.restore(reading.apply(x))
    np.testing.assert_allclose(restored, x.astype(np.float32), rtol=1e-6)
    if data.reading.support.discrete and x.dtype.kind in "iub":
        assert restored.dtype == x.dtype
        assert reading.restore(reading.apply(x).float() * 0.37).dtype == np.float32


def test_draws_of_counts_larger_than_the_stored_type_stay_numbers():
    data = open_array(GREY.reshape(40, -1), spec=Data("array", support="counts"))
    assert data.reading.limits is None
    x = torch.zeros(2, 30)
    assert data.reading.restore(x + 255).dtype == np.uint8
    large = data.reading.restore(x + 256)
    assert large.dtype == np.float32 and (large == 256).all()
    with pytest.raises(InputError, match=r"data.binarize: counts from 0 are no grey values"):
        open_array(GREY, spec=Data("array", support="counts", binarize="dynamic"))


@pytest.mark.parametrize("choice", ["binary", "bytes", "integers", "counts", "unit"])
def test_support_that_values_contradict(choice):
    refuse_array(VECTORS, "outside", "data.support", support=choice)


@pytest.mark.parametrize(
    ("raw", "shape"),
    [((6, 5), (1, 6, 5)), ((6, 5, 1), (1, 6, 5)), ((6, 5, 3), (3, 6, 5)), ((6, 5, 4), (4, 6, 5)),
     ((1, 6, 5), (1, 6, 5)), ((3, 6, 5), (3, 6, 5)), ((3, 3, 3), (3, 3, 3))],
)  # fmt: skip
def test_image_layouts(raw, shape):
    x = RNG.randint(0, 256, (12, *raw)).astype(np.uint8)
    reading = open_array(x).reading
    assert reading.layout == "image" and reading.shape == shape and reading.raw_shape == raw
    z = reading.apply(x)
    np.testing.assert_array_equal(reading.restore(z), x)
    pictures = reading.pictures(z)
    assert pictures.shape == (12, *shape[1:], *((shape[0],) if shape[0] > 1 else ()))
    if raw == (6, 5, 3):
        np.testing.assert_array_equal(pictures, x)


def test_flat_rows_with_a_shape():
    flat = GREY.reshape(40, -1)
    data = open_array(flat, spec=Data("array", shape=(6, 5)))
    assert data.what() == "40 images 6×5, integers 0 to 255"
    np.testing.assert_array_equal(data.reading.apply(flat), data.reading.apply(GREY))
    assert open_array(GREY, spec=Data("array", shape=(30,))).reading.layout == "vector"


def test_constant_columns_leave_and_return():
    x = pl.DataFrame({"a": VECTORS[:, 0], "same": 7.0, "b": VECTORS[:, 1]})
    data = open_array(x)
    assert data.reading.shape == (2,) and data.reading.columns == ("a", "same", "b")
    assert data.notes() == ["1 constant column dropped: same (put back on output)"]
    np.testing.assert_allclose(data.reading.restore(data.reading.apply(x.to_numpy())), x.to_numpy(), rtol=1e-6)
    other = x.to_numpy().copy()
    other[3, 1] = 8
    refused("'same' is 8 in row 3", "always 7", call=data.reading.apply, args=(other,))
    refuse_array(np.full((20, 3), 5), "every column is constant")
    small = open_array(np.column_stack([np.arange(20) % 4, np.full(20, 1000)]))  # the support is of what varies
    assert small.reading.support == Support("integers", 4) and small.reading.dropped == ((1, 1000.0),)
    assert small.reading.restore(small.test.x)[:, 1].tolist() == [1000, 1000]
    kept = open_array(np.eye(20, 5)[:, [0, 1, 4, 4]] * [1, 1, 1, 0])
    assert kept.reading.shape == (4,) and not kept.reading.dropped  # binary columns stay


def test_statistics():
    data = open_array(np.column_stack([VECTORS, 1e-9 * VECTORS[:, 0], VECTORS[:, 0] + 100]))
    x = data.train.x.double()
    np.testing.assert_allclose(data.statistics().mean, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(data.statistics().std, x.std(0, correction=0), rtol=1e-4)
    images = open_array(GREY).statistics()
    assert images.mean.shape == (1, 6, 5) and len(images.std.unique()) == 1
    dynamic = open_array(GREY, spec=Data("array", binarize="dynamic")).statistics()
    assert dynamic.mean.min() > 0 and dynamic.mean.max() < 1 and dynamic.std.max() <= 0.5


# --- binarisation ------------------------------------------------------------------------------------------------


def test_threshold():
    data = open_array(GREY, spec=Data("array", binarize="threshold"))
    np.testing.assert_array_equal(data.reading.apply(GREY)[:, 0], GREY > 127)
    assert data.reading.support == Support("binary", 2) and data.reading.raw_support == Support("integers", 256)


def test_static_is_the_same_in_any_order_and_split():
    spec = Data("array", binarize="static")
    data = open_array(GREY, spec=spec)
    x = data.reading.apply(GREY)
    np.testing.assert_array_equal(data.reading.apply(GREY[7:3:-1]), x[[7, 6, 5, 4]])
    index = carve(40, {"test": 0.1, "valid": 0.1}, 0)
    np.testing.assert_array_equal(data.test.x, x[index["test"]])
    other = open_array(GREY, spec=Data("array", binarize="static", seed=1)).reading.apply(GREY)
    assert (other != x).any()


def test_static_draws_with_the_grey_as_probability():
    ramp = np.tile(np.linspace(0, 1, 11, dtype=np.float32), (4000, 1)) + np.arange(4000)[:, None] * 1e-12
    x = draw_static(np.concatenate([ramp, RNG.rand(4000, 1)], axis=1), 1.0, seed=0)[:, :11]
    np.testing.assert_allclose(x.mean(0), ramp[0], atol=0.03)
    assert not x[:, 0].any() and x[:, 10].all()


@pytest.mark.parametrize("grey", [GREY, GREY / 255, GREY.astype(int) // 16])
def test_dynamic(grey):
    data = open_array(grey, spec=Data("array", binarize="dynamic"))
    feed = Feed(data.train, data.reading)
    torch.manual_seed(0)
    first, second = (feed.batch(torch.arange(len(feed))).x for _ in range(2))
    assert set(first.unique().tolist()) == {0, 1} and (first != second).any()
    torch.manual_seed(0)
    assert torch.equal(first, feed.batch(torch.arange(len(feed))).x)
    mean = torch.stack([feed.batch(torch.arange(8)).x for _ in range(2000)]).mean(0)
    torch.testing.assert_close(mean, data.train.x[:8].float() / data.reading.grey, atol=0.06, rtol=0)


def test_binarize_where_it_cannot_be():
    refuse_array(VECTORS, "data.binarize", "grey", binarize="static")
    data = open_array(np.eye(20), spec=Data("array", binarize="dynamic"))
    assert data.reading.binarize == "none" and "binary as they are" in data.notes()[0]


def test_dequantise():
    data = open_array(GREY)
    x = Feed(data.train, data.reading, dequantise=True).batch(torch.arange(8)).x
    assert torch.equal(x.floor(), data.train.x[:8].float()) and (x != x.floor()).any()
    real = open_array(VECTORS)
    refused("dequantise", call=Feed, args=(real.train, real.reading, True))


# --- splits and labels -------------------------------------------------------------------------------------------


def test_splits_are_disjoint_whole_and_seeded():
    x = np.arange(200.0)[:, None] * [1, 2]
    data, again, other = (open_array(x, spec=Data("array", seed=seed, test=0.25)) for seed in (3, 3, 4))
    assert [len(s) for s in (data.train, data.valid, data.test)] == [130, 20, 50]
    assert sorted(whole(data)[:, 0].tolist()) == x[:, 0].tolist()
    assert torch.equal(whole(data), whole(again)) and not torch.equal(whole(data), whole(other))
    assert data.hash == other.hash != open_array(x + 1).hash
    assert data.splits() == "10% validation, 25% test, seed 3"


def test_limit():
    data, some = open_array(VECTORS), open_array(VECTORS, spec=Data("array", limit=7))
    assert torch.equal(some.train.x, data.train.x[:7]) and torch.equal(some.test.x, data.test.x)
    assert "the first 7 training examples only" in some.splits()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_too_few(n):
    refuse_array(VECTORS[:n], f"{n} example", "too few examples for a split")


def test_labels():
    labels = np.array(["wren", "owl"] * 20)
    data = open_array(VECTORS, labels)
    assert data.label_names == ("owl", "wren")
    index = carve(40, {"test": 0.1, "valid": 0.1}, 0)["train"]
    assert [data.label_names[i] for i in data.train.labels] == labels[index].tolist()
    assert open_array(VECTORS, [5.0, 7.0] * 20).label_names == ("5", "7")
    refuse_array(VECTORS, "data.labels", "39", labels=labels[1:][:, None])
    refuse_array(VECTORS, "data.labels", "fraction", labels=VECTORS[:, 0])
    refuse_array(VECTORS, "data.labels", "NaN", labels=np.full(40, np.nan))
    refuse_array(VECTORS, "data.labels", "no classes", labels=np.array([None] * 40))


# --- factors -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shapes():
    return open_data(Data("shapes"))


def test_shapes(shapes):
    assert shapes.describe() == "10,000 images 32×32, values {0, 1}; 10% validation, 10% test, seed 0"
    assert shapes.label_names == KINDS and shapes.factor_names == FACTORS
    for split in (shapes.train, shapes.valid, shapes.test):
        assert split.factors.shape == (len(split), 5) and split.factors.dtype == torch.float32
        assert torch.equal(split.factors[:, 4].long(), split.labels)
        drawn = draw_shapes(split.factors.double().numpy())
        assert (drawn != split.x[:, 0].numpy()).mean() < 1e-6  # but for the rounding of factors to float32
    limited = open_data(Data("shapes", limit=10)).train
    assert torch.equal(limited.factors, shapes.train.factors[:10]) and torch.equal(limited.x, shapes.train.x[:10])


def test_shapes_come_from_their_seed(shapes):
    assert open_data(Data("shapes")).hash == shapes.hash != open_data(Data("shapes", seed=1)).hash
    other = open_data(Data("shapes", seed=1))
    again = read_like(other.reading, "shapes")
    whole = shapes_source(1)
    np.testing.assert_array_equal(again.x[:, 0], whole.parts["all"])
    np.testing.assert_allclose(again.factors, whole.factors["all"], rtol=1e-6)
    assert again.labels.tolist() == whole.labels["all"].tolist()


def test_factors_are_independent_and_uniform():
    factors = shapes_source(3).factors["all"]
    assert (factors[:, :4] >= LOW).all() and (factors[:, :4] <= HIGH).all()
    unit = (factors[:, :4] - LOW) / (np.array(HIGH) - LOW)
    assert unit.mean(0) == pytest.approx(0.5, abs=0.012) and unit.var(0) == pytest.approx(1 / 12, abs=0.003)
    assert np.bincount(factors[:, 4].astype(int)) == pytest.approx(1e4 / 3, abs=200)
    assert np.abs(np.corrcoef(factors.T) - np.eye(5)).max() < 0.04


def test_factors_are_what_the_images_show():
    source = shapes_source(0)
    x, (left, top, size, angle, kind) = source.parts["all"].astype(float), source.factors["all"].T
    assert not (x[:, 0].any() or x[:, -1].any() or x[:, :, 0].any() or x[:, :, -1].any())
    at = np.arange(32) + 0.5
    area = x.sum((1, 2))
    centre = np.stack([(x.sum(axis) * at).sum(1) / area for axis in (1, 2)])
    np.testing.assert_allclose(centre, [left, top], atol=0.75)  # a pixel at each end of a shape
    right, up = at - centre[0][:, None], centre[1][:, None] - at
    moments = [np.einsum("nyx,nx,ny->n", x, right**a, up**b) for a, b in ((2, 0), (1, 1), (0, 2))]
    axis = np.degrees(np.arctan2(2 * moments[1], moments[0] - moments[2])) / 2  # the long one, modulo half a turn
    for i in range(3):
        mine = kind == i
        assert (area / size**2)[mine].mean() == pytest.approx(1, abs=2e-3)
        assert (area / size**2)[mine].std() < 0.03
        assert (centre - [left, top])[:, mine].mean(1) == pytest.approx(0, abs=0.01)
        if KINDS[i] != "heart":
            apart = (axis - angle)[mine]
            assert np.abs((apart + 90) % 180 - 90).max() < 10
    # a heart thins out downwards where the angle is 0, and is its own mirror image
    heart = draw_shapes(np.array([[16, 16, 12, 0, 2]]))[0]
    widths = heart.sum(1)[heart.any(1)].tolist()
    assert (
        np.array_equal(heart, heart[:, ::-1]) and widths[-6:] == sorted(widths[-6:], reverse=True) and widths[-1] == 2
    )


def test_no_two_angles_look_alike():
    angles = np.linspace(LOW[3], HIGH[3], 61)
    for kind in range(3):
        x = draw_shapes(np.array([[16, 16, 12, angle, kind] for angle in angles])).reshape(61, -1).astype(int)
        apart = np.abs(x[:, None] - x).sum(2)
        far = np.abs(angles[:, None] - angles) >= 20
        assert apart[far].min() > np.diagonal(apart, 2).mean() > 0  # nor do the ends of the range


FACTORED = np.column_stack([VECTORS[:, 0], np.arange(40) % 3])


def test_factors_of_a_file(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, foo=VECTORS, made=FACTORED, made_names=["pitch", "kind"], y=np.arange(40) % 3)
    refuse_data(path, "data.array", "made")
    data = open_data(Data(str(path), factors="made"))
    assert data.factor_names == ("pitch", "kind") and data.reading.options["factors"] == "made"
    index = carve(40, {"test": 0.1, "valid": 0.1}, 0)
    for part, rows in index.items():
        np.testing.assert_allclose(getattr(data, part).factors, FACTORED[rows], rtol=1e-6)
    reading = Reading.from_dict(json.loads(json.dumps(data.reading.to_dict())))
    np.testing.assert_allclose(read_like(reading, path).factors, FACTORED, rtol=1e-6)
    np.savez(path, foo=VECTORS)
    assert read_like(reading, path).factors is None  # new data need none
    np.savez(path, foo=VECTORS, made=FACTORED[:, :1])
    assert open_data(Data(str(path), factors="made")).factor_names == ("factor 0",)
    assert read_like(reading, path).factors is None  # others than the run's


def test_factors_of_splits_of_their_own(tmp_path):
    parts = {"train": slice(0, 20), "test": slice(20, 40)}
    arrays = {f"x_{part}": VECTORS[rows] for part, rows in parts.items()}
    np.savez(tmp_path / "a.npz", **arrays, **{f"v_{part}": FACTORED[rows, 0] for part, rows in parts.items()})
    data = open_data(Data(str(tmp_path / "a.npz"), factors="v"))
    np.testing.assert_allclose(data.test.factors[:, 0], FACTORED[20:, 0], rtol=1e-6)
    np.savez(tmp_path / "b.npz", **arrays, v_train=FACTORED[:20])
    refuse_data(tmp_path / "b.npz", "data.factors", "no array 'v_test'", factors="v")


def test_factors_that_are_none(tmp_path):
    path = tmp_path / "a.npz"
    bad = {
        "short": FACTORED[:9], "words": np.full(40, "a"), "gaps": np.full(40, np.nan), "deep": np.zeros((40, 2, 2)),
        "named": FACTORED, "named_names": ["one"], "same": FACTORED, "same_names": ["a", "a"],
    }  # fmt: skip
    np.savez(path, x=VECTORS, **bad)
    said = {
        "short": "(9, 2)",
        "words": "<U1",
        "gaps": "40 of 40",
        "deep": "(40, 2, 2)",
        "named": "1 names",
        "same": "'a'",
    }
    for name, word in said.items():
        refuse_data(path, "data.factors", word, factors=name)
    refuse_data(path, "data.factors", "'nmed'", "did you mean named", factors="nmed")
    refuse_data("digits", "data.factors", "no meaning", factors="v")


def test_factors_in_memory():
    table = pl.DataFrame({"a": VECTORS[:, 0], "b": VECTORS[:, 1]})
    data = open_array(VECTORS, factors=table)
    assert data.factor_names == ("a", "b")
    np.testing.assert_allclose(data.train.factors, data.train.x[:, :2], rtol=1e-6)
    some = data.train.take(torch.tensor([3, 1]))
    assert torch.equal(some.factors, data.train.factors[[3, 1]]) and some.labels is None and len(some) == 2


def test_a_reading_from_before_there_were_factors():
    old = open_array(VECTORS, ["a", "b"] * 20).reading.to_dict()
    old["options"] = {key: value for key, value in old["options"].items() if "factor" not in key}
    split = read_like(Reading.from_dict(old), VECTORS)
    assert len(split) == 40 and split.factors is None


# --- files -------------------------------------------------------------------------------------------------------


def test_npy_is_not_read_before_it_is_needed(tmp_path):
    np.save(tmp_path / "faces.npy", GREY)
    data = open_data(Data(str(tmp_path / "faces.npy")))
    assert data.reading.name == "faces" and data.hash == open_array(GREY).hash
    again = read_like(data.reading, str(tmp_path / "faces.npy"))
    assert torch.equal(again.x, data.reading.apply(GREY)) and again.labels is None
    again.x.zero_()  # neither the file nor the user's array is changed
    assert np.load(tmp_path / "faces.npy").any()
    x = data.reading.apply(GREY)
    x.zero_()
    assert GREY.any()


def test_npz_chooses(tmp_path):
    path, y = tmp_path / "a.npz", np.arange(40) % 3
    np.savez(path, foo=VECTORS, y=y)
    data = open_data(Data(str(path)))
    assert data.notes() == ["array 'foo' of foo, y", "labels are y"] and data.label_names == ("0", "1", "2")
    np.savez(path, foo=VECTORS, bar=GREY, kind=y)
    refuse_data(path, "data.array", "foo (40, 5)", "bar (40, 6, 5)")
    refuse_data(path, "data.array", "'fo'", "did you mean foo", array="fo")
    refuse_data(path, "data.labels", "'knd'", "did you mean kind", array="foo", labels="knd")
    assert open_data(Data(str(path), array="bar", labels="kind")).label_names == ("0", "1", "2")
    np.savez(path, foo=VECTORS, images=GREY)
    assert open_data(Data(str(path))).what() == "40 images 6×5, integers 0 to 255"


@pytest.mark.parametrize("pattern", ["{}", "x_{}"])
def test_npz_with_splits_of_its_own(tmp_path, pattern):
    parts = {"train": VECTORS[:20], "val": VECTORS[20:30], "test": VECTORS[30:]}
    labels = {f"y_{part}": np.arange(len(x)) % 2 for part, x in parts.items()}
    np.savez(tmp_path / "a.npz", **{pattern.format(part): x for part, x in parts.items()}, **labels)
    data = open_data(Data(str(tmp_path / "a.npz")))
    assert data.splits() == "own split: 20 training + 10 validation + 10 test" and not data.record["carved"]
    np.testing.assert_allclose(data.valid.x, VECTORS[20:30], rtol=1e-6)
    assert data.test.labels.tolist() == [0, 1] * 5


def test_packed(tmp_path):
    x = RNG.randint(0, 2, (20, 5, 5))
    packed = np.packbits(x.reshape(20, -1), axis=1)
    np.savez(tmp_path / "bits.npz", x=packed)
    data = open_data(Data(str(tmp_path / "bits.npz"), packed=True, shape=(5, 5)))
    assert data.what() == "20 images 5×5, values {0, 1}"
    np.testing.assert_array_equal(data.reading.restore(read_like(data.reading, tmp_path / "bits.npz").x), x)
    refuse_data(tmp_path / "bits.npz", "data.shape", "49 bits", "25 to 32", packed=True, shape=(7, 7))
    refuse_array(VECTORS, "data.packed", "float64", packed=True, shape=(5, 5))
    refused("data.shape", call=lambda: Data("a.npy", packed=True))


def test_folder_modes(tmp_path):
    grey = [Image.fromarray(g) for g in GREY[:12]]
    assert open_data(Data(str(make_images(tmp_path / "grey", grey)))).what() == "12 images 6×5, integers 0 to 255"
    bits = open_data(Data(str(make_images(tmp_path / "bits", [g.convert("1") for g in grey]))))
    assert bits.what() == "12 images 6×5, values {0, 1}"
    black = [g.point(lambda v: 255 * (v > 99)) for g in grey]
    assert "threshold" in open_data(Data(str(make_images(tmp_path / "black", black)))).notes()[0]
    mixed = make_images(
        tmp_path / "mixed", [g.convert(m) for g, m in zip(grey, ["L", "P", "RGBA", "RGB"] * 3, strict=True)]
    )
    (mixed / "notes.txt").write_text("not an image")
    data = open_data(Data(str(mixed)))
    assert data.what() == "12 images 6×5×3, integers 0 to 255"
    assert "3 images of mode P read as RGB" in data.notes() and "1 other file in the folder ignored" in data.notes()
    other = read_like(data.reading, tmp_path / "grey")  # greys are colours too
    assert other.x.shape == (12, 3, 6, 5)
    glass = [Image.new("RGBA", (5, 6), (200, 0, 0, 0))] * 6
    data = open_data(Data(str(make_images(tmp_path / "glass", glass))))
    assert (data.train.x == 255).all()  # what is transparent is white
    deep = [Image.fromarray(g.astype(np.uint16) * 200) for g in GREY[:6]]
    assert open_data(Data(str(make_images(tmp_path / "deep", deep)))).reading.raw_dtype == "uint16"


def test_bad_folders(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse_data(empty, "empty", "empty")
    (empty / "a.txt").write_text("words")
    refuse_data(empty, "no images")
    (empty / "train-images-idx3-ubyte.gz").write_bytes(b"")
    refuse_data(empty, "no images", "--data-root")
    good = make_images(tmp_path / "good", GREY[:9])
    (good / "003.png").write_bytes((good / "003.png").read_bytes()[:-30])
    refuse_data(good, "003.png", "no readable image")
    (good / "003.png").write_bytes(b"nonsense")
    refuse_data(good, "003.png", "no readable image")
    Image.fromarray(GREY[0, :5]).save(good / "003.png")
    refuse_data(good, "003.png is 5×5", "000.png is 6×5")
    (good / "003.png").unlink()
    refuse_data(good / "001.png", "single image", "folder")
    make_images(good / "sub", GREY[:2])
    refuse_data(good, "both", "sub")
    refuse_data(make_images(tmp_path / "one", GREY[:1]), "1 example is too few")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_tables(tmp_path, suffix):
    frame = pl.DataFrame({"a": VECTORS[:, 0], "b": np.arange(40), "kind": ["x", "y"] * 20})
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    else:
        text = frame.write_csv().encode()
        path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    data = open_data(Data(str(path), labels="kind"))
    assert data.what() == "40 rows of 2 columns, 1 real, 1 counts" and data.label_names == ("x", "y")
    assert data.reading.columns == ("a", "b") and data.reading.origin == "table" and data.reading.name == "t"
    refuse_data(path, "'kind'", "no numbers", support="real")
    assert open_data(Data(str(path), labels="kind", support="real")).what() == "40 rows of 2 columns, real numbers"
    refuse_data(path, "data.labels", "'kid'", "did you mean kind", labels="kid")
    other = tmp_path / "other.csv"
    frame.select("b", "a").write_csv(other)  # another order, and no labels
    expected = data.reading.apply(frame.select("a", "b").to_numpy().astype(float))
    assert torch.equal(read_like(data.reading, other).x, expected)
    frame.select("a", "kind").write_csv(other)
    refused("no column 'b'", call=read_like, args=(data.reading, other))
    frame.with_columns(c=1).write_csv(other)
    assert torch.equal(read_like(data.reading, other).x, expected)
    assert read_like(data.reading, other).notes == ("column 'c' is unknown to the model, and ignored",)


BAD_TABLES = {
    "a,b,a\n" + "1,2,3\n" * 9: ("2 columns named 'a'",),
    "a,b\n1,2,3\n" + "1,2\n" * 9: ("cannot be read as a table",),
    "a,b\n1,inf\n2,1.5\n" + "1,2\n" * 9: ("1 value is infinite", "row 0, column 'b'"),
    "a,\n" + "1,2\n" * 9: ("column 2", "no name"),
    "a,b\n": ("no rows",),
    "\n \n": ("empty",),
    "a,day\n" + "1,2020-01-01\n" * 9: ("every column is constant",),
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_bad_tables(tmp_path, text):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    refuse_data(path, *BAD_TABLES[text])


def test_gaps_are_refused_where_all_columns_are_to_be_one_kind(tmp_path):
    path = tmp_path / "gaps.csv"
    path.write_text("a,b\n1,2\n3,?\n" + "1,NA\n" * 9)
    refuse_data(path, "'b'", "10 missing cells", support="real")
    path.write_text("a,b\n1,nan\n" + "1,2\n" * 9)
    refuse_data(path, "1 value is NaN", "row 0, column 'b'", support="real")


def test_csv_as_people_write_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a, b\n" + "".join(f"{i}, {i / 7}\n" for i in range(20)))
    assert open_data(Data(str(path))).reading.columns == ("a", "b")
    path.write_text("".join(f"{i / 3};{i / 7}\n" for i in range(20)))
    data = open_data(Data(str(path)))
    assert data.reading.columns == ("column_1", "column_2") and "no line of names" in data.notes()[0]
    assert len(whole(data)) == 20


def test_polars_absent(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    monkeypatch.setitem(sys.modules, "polars", None)
    refuse_data(tmp_path / "a.csv", "polars", "not installed", "pip install")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv", "a.csv.gz", "a.parquet"])
@pytest.mark.parametrize("damage", ["empty", "noise", "truncated"])
def test_damaged_files(tmp_path, name, damage):
    path = tmp_path / name
    frame = pl.DataFrame({"a": VECTORS[:, 0], "b": VECTORS[:, 1]})
    {
        "a.npy": lambda: np.save(path, VECTORS),
        "a.npz": lambda: np.savez_compressed(path, x=VECTORS),
        "a.csv": lambda: path.write_text(frame.write_csv() + "1,2,3,4"),
        "a.csv.gz": lambda: path.write_bytes(gzip.compress(frame.write_csv().encode())),
        "a.parquet": lambda: frame.write_parquet(path),
    }[name]()
    content = path.read_bytes()
    noise = np.random.RandomState(1).bytes(3000)
    path.write_bytes({"empty": b"", "noise": noise, "truncated": content[:-20] if name != "a.csv" else content}[damage])
    refuse_data(path, str(path))


def test_flipped_bytes_never_trace(tmp_path):
    """Whatever byte of a file is changed, it is read or refused in one line."""
    np.savez_compressed(tmp_path / "a.npz", x=VECTORS)
    np.save(tmp_path / "a.npy", VECTORS)
    make_images(tmp_path / "images", GREY[:5])
    for path, source in [("a.npz", "a.npz"), ("a.npy", "a.npy"), ("images/002.png", "images")]:
        content = (tmp_path / path).read_bytes()
        for at in range(0, len(content), max(1, len(content) // 60)):
            (tmp_path / path).write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
            try:
                open_data(Data(str(tmp_path / source)))
            except InputError as error:
                assert "\n" not in str(error)


def test_names_that_lie(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    refuse_data(tmp_path / "a.npz", "a.npz")
    np.savez(tmp_path / "b.npz", VECTORS)
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    refuse_data(tmp_path / "b.npy", "b.npy")


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    objects = np.array([Trap()] * 8, dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    for name in ("a.npy", "a.npz"):
        refuse_data(tmp_path / name, "objects", "never unpickled")


BAD_ARRAYS = [
    (np.zeros(10), {}, ("1 dimension",)),
    (np.zeros((4, 4, 4, 4, 3)), {}, ("5 dimensions",)),
    (np.zeros((0, 5)), {}, ("empty",)),
    (np.zeros((9, 0)), {}, ("empty",)),
    (np.zeros((9, 5), complex), {}, ("complex128",)),
    (np.full((9, 5), "a"), {}, ("no real number",)),
    (np.array([[object()]] * 9), {}, ("object",)),
    (np.zeros((9, 5), "datetime64[s]"), {}, ("datetime64",)),
    (np.zeros((9, 3, 50)), {}, ("3×50", "neither vectors nor images", "data.shape 150")),
    (np.zeros((9, 7, 7, 2)), {}, ("7×7×2",)),
    (np.zeros((9, 560)), {"shape": (28, 21)}, ("data.shape", "28×21 is 588", "560 or 20,28")),
    (np.where(np.eye(9) > 0, np.nan, 1.5), {}, ("9 values are NaN", "row 0, position (0,)")),
    (np.where(np.eye(9) * np.arange(9) > 7, -np.inf, 1.5), {}, ("1 value is", "-inf at row 8")),
    (np.full((9, 4), 1e300), {}, ("beyond float32",)),
    ([[1, 2], [3]], {}, ("list is no array",)),
]


@pytest.mark.parametrize(("x", "options", "words"), BAD_ARRAYS)
def test_bad_arrays(x, options, words):
    refuse_array(x, *words, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"valid": 0}, ("data.valid", "share 0")),
        ({"test": 1.5}, ("data.test", "1.5")),
        ({"test": float("nan")}, ("data.test", "nan")),
        ({"valid": 0.5, "test": 0.5}, ("data.valid", "0.5", "below 1")),
        ({"support": "bits"}, ("data.support", "'bits'", "Known: auto")),
        ({"binarize": "statc"}, ("data.binarize", "did you mean static")),
        ({"shape": (0, 5)}, ("data.shape", "0×5")),
        ({"shape": (1, 2, 3, 4)}, ("data.shape",)),
        ({"seed": -1}, ("data.seed", "-1")),
        ({"limit": 0}, ("data.limit", "0")),
    ],
)
def test_bad_options(options, words):
    refused(*words, call=lambda: Data("digits", **options))


def test_bad_sources(tmp_path, monkeypatch):
    refuse_data("mnst", "'mnst'", "did you mean mnist")
    refuse_data("", "''")
    refuse_data(tmp_path / "absent.npz", "absent.npz", "no file or folder")
    (tmp_path / "a.xlsx").write_text("x")
    refuse_data(tmp_path / "a.xlsx", "a.xlsx", ".parquet")
    refuse_data("digits", "data.labels", labels="y")
    np.save(tmp_path / "a.npy", VECTORS)
    refuse_data(tmp_path / "a.npy", "data.array", array="x")
    monkeypatch.delenv("TAUT_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    refuse_data("mnist", "--data-root", "TAUT_DATA", "taut[datasets]")
    refuse_data("mnist", "is not below", root=str(tmp_path))
    refuse_data("binarized-mnist", "--data-root")
    refuse_data("mnist", "data.root", "no folder", root=str(tmp_path / "absent"))
    monkeypatch.setenv("TAUT_DATA", str(tmp_path / "absent"))
    refuse_data("mnist", "TAUT_DATA", "no folder")


def idx(x: np.ndarray) -> bytes:
    return bytes((0, 0, 8, x.ndim)) + np.array(x.shape, ">u4").tobytes() + x.tobytes()


def test_idx_files(tmp_path):
    images, labels = GREY[:20], (np.arange(20) % 10).astype(np.uint8)
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    data = open_data(Data("mnist", root=str(tmp_path)))
    assert len(data.test) == 20 and len(data.train) == 18
    np.testing.assert_array_equal(read_like(data.reading, "mnist", str(tmp_path)).x, data.test.x)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = gzip.compress(idx(images))
    for content in (
        b"",
        b"noise",
        whole[:-9],
        gzip.compress(idx(images)[:-1]),
        gzip.compress(idx(images[0])),
        whole[:40],
    ):
        path.write_bytes(content)
        refuse_data("mnist", path.name, root=str(tmp_path))
    path.write_bytes(gzip.compress(idx(images[:19])))
    refuse_data("mnist", "20 labels for 19 images", root=str(tmp_path))


def test_hub(monkeypatch):
    part = {"image": [Image.fromarray(g) for g in GREY], "label": [0, 9] * 20}
    asked = []

    def load_dataset(name):
        asked.append(name)
        return {"train": part, "test": part}

    monkeypatch.delenv("TAUT_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    data = open_data(Data("fashion-mnist"))
    assert asked == ["zalando-datasets/fashion_mnist"] and "hub" in data.notes()[0]
    assert data.label_names == ("T-shirt", "ankle boot") and len(data.test) == 40
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda name: 1 / 0))
    refuse_data("mnist", "division by zero", "--data-root")


def test_read_like_refuses_what_does_not_fit():
    data = open_data(Data("digits"))
    other = read_like(data.reading, np.full((3, 8, 8), 4))
    assert isinstance(other, Split) and other.x.dtype == torch.uint8
    refused("7×8", "8×8", call=read_like, args=(data.reading, np.zeros((3, 7, 8))))
    refused("value 17 at index (0, 0, 0)", "0 to 16", call=read_like, args=(data.reading, np.full((3, 8, 8), 17)))
    refused("value 0.5", call=read_like, args=(data.reading, np.full((3, 8, 8), 0.5)))
    refused("NaN", call=read_like, args=(data.reading, np.full((3, 8, 8), np.nan)))
    known = read_like(data.reading, "digits")
    assert len(known.x) == 1797 and known.labels[:3].tolist() == [0, 1, 2]
