"""Pictures render for every layout and shape, pixels stay whole, and the page is self-contained and escaped."""

from __future__ import annotations

import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from taut.data.columns import Title
from taut.errors import InputError
from taut.report import Fact, Table, charts, figures, key_numbers, style, write_report
from taut.report.images import to_rgb

RNG = np.random.default_rng(0)
IMAGES = {
    "28x28": (28, 28),
    "28x20": (28, 20),
    "8x8": (8, 8),
    "one channel": (9, 9, 1),
    "colour": (32, 32, 3),
    "alpha": (5, 7, 4),
    "large": (400, 300),
    "one pixel": (1, 1),
}
SUMMARY = {
    "data": "digits", "split": "test", "n": 360, "likelihood": "Binomial", "support": "integers 0 to 16",
    "elbo": -123.456, "elbo_stderr": 0.789, "distortion": 110.0, "rate": 13.456,
    "iw": {"k": 100, "value": -121.0, "stderr": 0.8, "ess": 9.5, "n": 360},
    "bits_per_dim": 2.783, "active_units": 7, "latent_dim": 10,
}  # fmt: skip


def saved(picture, tmp_path):
    path = figures.save(picture, tmp_path / "picture.png")
    with Image.open(path) as image:
        image.load()
        assert min(image.size) > 1
        return image


def test_importing_the_report_does_not_import_matplotlib():
    code = "import sys, taut.report, taut.report.figures; assert not [m for m in sys.modules if 'matplotlib' in m]"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_no_global_state_of_matplotlib_is_touched(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    saved(figures.latent_map(RNG.normal(size=(9, 2))), tmp_path)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("shape", IMAGES.values(), ids=IMAGES)
def test_images(shape, tmp_path):
    n = 1 if shape == (1, 1) else 3 if max(shape) > 99 else 13
    x = np.linspace(0, 255, n * int(np.prod(shape))).reshape(n, *shape)
    saved(figures.image_grid(x, vmax=255), tmp_path)
    for picture in (
        figures.reconstructions(x, x[::-1], "image", vmax=255),
        figures.samples(x, x, RNG.random(n), "image", vmax=255),
        figures.samples(x, None, None, "image", vmax=255),
        figures.interpolations(np.stack([x[:10]] * 2), "image", vmax=255),
        figures.traversals(
            np.stack([x[:7]] * 2), np.linspace(-2, 2, len(x[:7])), ["z3", "z0, layer 2"], "image", kl=[1.2, 0.0]
        ),
    ):
        assert saved(picture, tmp_path).width <= 1400


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (50, 2), (3, 13), (50, 40)])
def test_vectors(n, columns, tmp_path):
    x = RNG.normal(size=(n, columns))
    names = [f"column {i}" for i in range(columns)]
    rows = RNG.normal(size=(2, 5, columns))
    for picture in (
        figures.reconstructions(x, x[::-1], "vector", names=names),
        figures.samples(x, x, np.zeros(n), "vector", data=x, names=names),
        figures.interpolations(rows, "vector", names=names),
        figures.traversals(rows, np.linspace(-2, 2, 5), ["z0", "z5"], "vector", kl=[3, 0], names=names),
    ):
        assert saved(picture, tmp_path).info["Kind"] == "chart"


def test_categories_are_drawn_by_their_names():
    x = np.column_stack([RNG.integers(0, 3, 60), RNG.normal(size=60), RNG.integers(0, 20, 60)]).astype(float)
    x[7, 0] = np.nan  # a missing cell
    names = [Title("time", ("early", "noon", "late")), "height", Title("town", tuple(f"town {i}" for i in range(20)))]
    rows = np.stack([x[:5], x[5:10]])
    for picture in (
        figures.samples(x, None, None, "vector", data=x, names=names),
        figures.reconstructions(x, x[::-1], "vector", names=names),
        figures.interpolations(rows, "vector", names=names),
    ):
        time, height, town = ([tick.get_text() for tick in panel.get_yticklabels()] for panel in picture.axes[:3])
        assert set(time) <= {"early", "noon", "late"} and len(time) > 1
        assert not set(height) & {"early", "noon", "late"}
        assert 5 <= len(town) <= 8 and all(name.startswith("town ") for name in town)


def test_names_in_other_scripts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(style, "_told", [])

    def drawn(*names: str) -> str:
        x = RNG.integers(0, len(names), size=(20, 1)).astype(float)
        saved(figures.reconstructions(x, x, "vector", names=[Title(names[0], names)]), tmp_path)
        return capsys.readouterr().err

    assert drawn("Ελλάδα", "Роман", "שלום", "العربية") == "", "what comes with matplotlib has these"
    said = drawn("\U00013000", "\U00013001")
    assert said.count("\n") == 1 and said.startswith("taut: note: no font of this machine has '\U00013000'")
    assert drawn("\U00013000", "\U00013002") == "", "it is said once"


def test_constant_and_whole_number_columns(tmp_path):
    x = np.stack([np.zeros(40), np.arange(40) % 3, np.full(40, 7.5)], axis=1)
    saved(figures.samples(x, x, None, "vector"), tmp_path)
    saved(figures.reconstructions(x, x, "vector"), tmp_path)


def test_values_that_are_not_finite_are_drawn_around(tmp_path):
    x = RNG.normal(size=(20, 4))
    x[2, 1], x[3, 2], x[:, 3] = np.nan, np.inf, np.nan
    saved(figures.reconstructions(x, x, "vector"), tmp_path)
    saved(figures.samples(x, None, None, "vector", data=x), tmp_path)
    saved(figures.interpolations(x.reshape(4, 5, 4), "vector"), tmp_path)
    saved(figures.traversals(x.reshape(4, 5, 4), np.linspace(-2, 2, 5), ["z0", "z1", "z2", "z3"], "vector"), tmp_path)
    saved(figures.latent_map(x[:, :2]), tmp_path)
    saved(figures.kl_bars([np.nan, 1.0]), tmp_path)
    image = np.full((3, 4, 4), np.nan)
    saved(figures.samples(image, image, np.full(3, np.nan), "image"), tmp_path)


def test_a_broken_pixel_is_seen_and_values_are_clipped():
    rgb = to_rgb(np.array([[[np.nan, -1.0, 0.0, 0.5, 9.0]]]))
    assert rgb[0, 0].tolist() == [[11, 122, 117], [0, 0, 0], [0, 0, 0], [128, 128, 128], [255, 255, 255]]


def test_the_grid_keeps_every_pixel_whole():
    x = RNG.integers(0, 2, size=(3, 4, 5))
    grid = np.asarray(figures.image_grid(x, columns=2, scale=3))
    assert grid.shape == (2 * 12 + 1, 2 * 15 + 1, 4)
    np.testing.assert_array_equal(grid[:12:3, :15:3, 0], x[0] * 255)
    np.testing.assert_array_equal(grid[13::3, :15:3, 0], x[2] * 255)
    clear = grid[..., 3] == 0
    assert clear[12].all() and clear[:, 15].all() and clear[13:, 16:].all()
    assert (grid[:12, :15, 3] == 255).all()


@pytest.mark.parametrize(
    ("n", "columns"), [(16, 4), (64, 8), (100, 10), (12, 4), (6, 3), (1, 1), (2, 2), (7, 3), (13, 5)]
)
def test_rows_of_the_grid_are_full_where_they_can_be(n, columns):
    width, height = figures.image_grid(np.zeros((n, 8, 8))).size
    side = round(min(max(900 / columns, 48), 160) / 8) * 8
    assert (width, height) == (columns * (side + 1) - 1, -(-n // columns) * (side + 1) - 1)
    assert min(width, height) >= 110


def test_a_sheet_keeps_every_pixel_whole(tmp_path):
    x = RNG.integers(0, 256, size=(12, 28, 28))
    sheet = saved(figures.samples(x, None, None, "image", vmax=255), tmp_path)
    assert sheet.mode == "LA"
    np.testing.assert_array_equal(np.asarray(sheet)[2:112:4, 2:112:4, 0], x[0])


@pytest.mark.parametrize("classes", [None, 1, 3, 10, 14])
def test_the_map(classes, tmp_path):
    coords = RNG.normal(size=(200, 2))
    labels = None if classes is None else RNG.integers(0, classes, 200)
    saved(figures.latent_map(coords, labels), tmp_path)
    picture = figures.latent_map(coords, labels, [f"class {i}" for i in range(classes or 0)], ("z3", "z7"))
    legend = picture.axes[0].get_legend()
    if classes is None:
        assert legend is None
    else:
        assert len(legend.get_texts()) == min(classes, 11)
    saved(figures.latent_map(coords[:0]), tmp_path)


def metrics(elbo):
    return [
        {"step": step, "split": split, "elbo": elbo, "distortion": 100 + 9 / (step + 1), "rate": step / 10,
         "beta": min(1, step / 50), "active_units": None if split == "train" else step // 10}
        for step in range(0, 100, 10)
        for split in ("train", "valid")
    ]  # fmt: skip


def test_curves_have_a_panel_for_all_that_exists(tmp_path):
    full = figures.curves(metrics(-100.0))
    saved(full, tmp_path)
    titles = [axes.get_title(loc="left") for axes in full.axes if axes.axison]
    assert titles == ["ELBO, nats", "distortion, nats", "rate, nats", "active units", "β, weight of the rate"]
    point = figures.curves([{**row, "beta": 0.0} for row in metrics(None)])
    assert len([axes for axes in point.axes if axes.axison]) == 3
    for few in ([], metrics(-1.0)[:1], metrics(float("nan"))[:2]):
        saved(figures.curves(few), tmp_path)


@pytest.mark.parametrize("size", [1, 2, 20, 200])
def test_kl_bars(size, tmp_path):
    saved(figures.kl_bars(RNG.random(size) ** 8), tmp_path)
    active = RNG.random(size) < 0.5
    picture = figures.kl_bars(RNG.random(size), active)
    saved(picture, tmp_path)
    assert [text.get_text() for text in picture.axes[0].texts] == [f"{active.sum()} of {size} active"]
    pale = sum(bar.get_facecolor()[:3] == matplotlib.colors.to_rgb(charts.FAINT) for bar in picture.axes[0].patches)
    assert pale == size - active.sum()


def test_kl_bars_of_a_hierarchy_keep_layers_apart(tmp_path):
    kl, layers = [0.1, 3.0, 0.2, 2.0, 1.0], [1, 1, 2, 2, 2]
    panel = (picture := figures.kl_bars(kl, None, layers)).axes[0]
    saved(picture, tmp_path)
    assert [bar.get_height() for bar in panel.patches] == [3.0, 0.1, 2.0, 1.0, 0.2]
    tints = [bar.get_facecolor() for bar in panel.patches]
    assert len(set(tints[:2])) == len(set(tints[2:])) == 1 and tints[0] != tints[2]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["layer 1", "layer 2"]
    saved(figures.kl_bars(RNG.random(60), None, np.repeat(np.arange(1, 21), 3)), tmp_path)


@pytest.mark.parametrize(("factors", "latents", "shown"), [(1, 1, 1), (5, 2, 2), (3, 40, 4), (12, 40, 12)])
def test_factor_matrix_shows_the_latents_that_tell_most(factors, latents, shown, tmp_path):
    shares = np.full((factors, latents), 0.01)
    told = np.arange(shown) % factors
    shares[told, latents - 1 - np.arange(shown)] = np.linspace(0.9, 0.1, shown)
    picture = figures.factor_matrix({f"factor {i}": row for i, row in enumerate(shares.tolist())})
    saved(picture, tmp_path)
    panel = picture.axes[0]
    assert {text.get_text() for text in panel.get_xticklabels()} == {f"z{latents - 1 - i}" for i in range(shown)}
    assert [text.get_text() for text in panel.get_yticklabels()] == [f"factor {i}" for i in range(factors)]
    numbers = [(*text.get_position(), text.get_text()) for text in panel.texts]
    assert len(numbers) == shown and numbers == sorted(numbers, key=lambda n: (n[1], n[0])), "each row goes rightwards"


@pytest.mark.parametrize("shape", [(8, 8), (28, 20), (6, 6, 3)])
def test_comparison_of_images(shape, tmp_path):
    x = RNG.random((25, *shape))
    sides = [
        figures.Side(name, x, RNG.normal(size=(50, 2)) * 9, x[:4], x, {"test error": "0.1"}) for name in ("AE", "VAE")
    ]
    saved(figures.comparison(x, sides, "image", labels=RNG.integers(0, 3, 50)), tmp_path)


@pytest.mark.parametrize("columns", [1, 2, 40])
def test_comparison_of_vectors(columns, tmp_path):
    x = RNG.normal(size=(25, columns))
    sides = [figures.Side(name, x, RNG.normal(size=(50, 2)), x[:4], x * 2) for name in ("AE", "VAE")]
    picture = figures.comparison(x, sides, "vector")
    saved(picture, tmp_path)
    left, right = picture.axes[2], picture.axes[6]
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()


def test_an_unknown_layout_is_named():
    with pytest.raises(InputError, match="layout: is 'sound'"):
        figures.reconstructions(np.zeros((1, 2)), np.zeros((1, 2)), "sound")


def test_key_numbers():
    facts = key_numbers(SUMMARY)
    assert list(facts) == ["ELBO", "IW-100 bound", "Bits per dimension", "Distortion", "Rate", "Active units"]
    assert (facts["ELBO"].value, facts["ELBO"].unit) == ("−123.46", "± 0.79 nats")
    assert "lower bound of log p(x)" in facts["ELBO"].hint and "density" not in facts["ELBO"].hint
    assert facts["Active units"] == Fact("7", "of 10", facts["Active units"].hint)
    assert "density" in key_numbers({**SUMMARY, "support": "real numbers"})["ELBO"].hint


def test_a_bound_that_does_not_exist_says_why():
    why = "a point posterior has no ELBO"
    facts = key_numbers({**SUMMARY, "elbo": None, "iw": None, "bits_per_dim": None, "rate": None, "why": why})
    assert list(facts) == ["ELBO", "Distortion", "Active units"]
    assert facts["ELBO"].value == "none" and facts["ELBO"].hint == why
    assert "nan" not in str(key_numbers({**SUMMARY, "elbo": float("nan"), "elbo_stderr": float("nan")}))


def test_the_page_is_self_contained_and_escaped(tmp_path):
    figures.save(figures.kl_bars([1.0, 0.0]), tmp_path / "kl.png")
    figures.save(figures.image_grid(np.zeros((4, 8, 8))), tmp_path / "grid.png")
    path = write_report(
        tmp_path,
        "a <b>VAE</b> & data",
        {**key_numbers(SUMMARY), "Time": "4 min"},
        [Table("Parts", ["part", "parameters"], [["<encoder>", 1200], ["prior", None], ["x", 0.5]])],
        [("kl.png", "KL", "per <i>dimension</i>"), (tmp_path / "grid.png", "Grid", "")],
        ["3 constant columns dropped: a, <script>"],
        lead="one sentence",
        config="model:\n  prior: <Vamp>\n",
        commands=[("taut sample runs/1 -n 64", "new examples")],
    )
    page = path.read_text("utf-8")
    assert path == tmp_path / "report.html"
    assert not re.search(r"<script|<b>VAE|<i>dim|<Vamp>|<encoder>|https?://|<link", page)
    assert page.count("data:image/png;base64,") == 2
    assert '<figure class="chart broad">' in page and '<figure class="images">' in page
    assert "1,200" in page and "−123.46" in page and "<details>" in page
    assert len(page) < 2_000_000


def test_an_almost_empty_page(tmp_path):
    assert "<h1>nothing yet</h1>" in write_report(tmp_path, "nothing yet", {}).read_text("utf-8")
