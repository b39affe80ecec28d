"""Charts: the latent map, training curves, KL per dimension, and what vectors look like. Data grey, model accent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from taut.report.style import ACCENT, CLASSES, FAINT, GREY, INK, PAPER, WIDTH, bare, figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "SIGNAL", "curves", "draw_map", "factor_matrix", "kl_bars", "latent_map", "limits", "paths_of_columns", "recon_scatter",
    "signal_rows", "vector_marginals", "vector_traversals",
]  # fmt: skip

SIGNAL = 32  # vectors of more columns than this are drawn as lines over their columns
_PANELS = 12  # at most so many columns of a table are drawn
_NAMED = 8  # at most so many categories of a column, the commonest


def _panels(count: int, across: int, height: float) -> tuple[Figure, list[Axes]]:
    """``count`` axes, up to ``across`` in a row of ``height`` inches; call inside the style."""
    across = max(1, min(across, count))
    down = -(-count // across)
    width = WIDTH if across > 1 else WIDTH * 0.6
    fig = figure(width, height * down + 0.15)
    grid = fig.subplots(down, across, squeeze=False).ravel().tolist()
    for spare in grid[count:]:
        bare(spare)
    return fig, grid[:count]


def _columns(x: np.ndarray, names: Sequence[str] | None) -> tuple[list[int], list[str]]:
    """Which columns of x (N, D) to draw, and their names: the first twelve that vary, then constant ones.

    Columns carry different units, so that no order by variance would mean anything.
    """
    varies = np.array([np.ptp(c[np.isfinite(c)]) > 0 if np.isfinite(c).any() else False for c in x.T])
    kept = np.sort(np.argsort(~varies, kind="stable")[:_PANELS])
    return kept.tolist(), [names[i] if names else f"x{i}" for i in kept]


def limits(*arrays: np.ndarray, pad: float = 0.04) -> tuple[float, float]:
    """Limits that hold all but the wildest one in a thousand of the finite values."""
    values = np.concatenate([np.asarray(a, dtype=np.float64).ravel() for a in arrays])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = np.quantile(values, [0.0005, 0.9995])
    margin = (high - low) * pad or abs(high) * 0.05 or 1.0
    return float(low - margin), float(high + margin)


def _shorten(text: str, room: int = 24) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _named(title: str, values: np.ndarray) -> list[tuple[int, str]]:
    """The commonest categories of a column's values (N,), the first name first; none of a column of numbers."""
    names = getattr(title, "categories", ())
    places, counts = np.unique(values[np.isfinite(values)].astype(int), return_counts=True)
    common = np.sort(places[np.argsort(-counts, kind="stable")[:_NAMED]])
    return [(int(i), _shorten(names[i], 16)) for i in common if 0 <= i < len(names)]


def _ticks(panel: Axes, named: list[tuple[int, str]]) -> None:
    """Names of categories up the side, where a panel is of them; else three or four numbers."""
    if not named:
        return panel.locator_params(axis="y", nbins=4)
    panel.set_yticks([i for i, _ in named], [name for _, name in named], fontsize=5.5)


def recon_scatter(x: np.ndarray, recon: np.ndarray, names: Sequence[str] | None = None) -> Figure:
    """Rebuilt values against the data's, x and recon (N, D), a panel each for up to twelve columns."""
    columns, titles = _columns(x, names)
    with style():
        fig, panels = _panels(len(columns), 4, 1.62)
        for panel, i, title in zip(panels, columns, titles, strict=True):
            if named := _named(title, x[:, i]):
                _confusion(panel, x[:, i], recon[:, i], named)
                panel.set(title=_shorten(title), box_aspect=1)
                continue
            bounds = limits(x[:, i], recon[:, i])
            panel.plot(bounds, bounds, color=FAINT, lw=0.6, zorder=0)
            panel.plot(x[:, i], recon[:, i], "o", color=ACCENT, ms=2.2, mew=0, alpha=_alpha(len(x)), rasterized=True)
            panel.set(xlim=bounds, ylim=bounds, title=_shorten(title), box_aspect=1)
            panel.locator_params(nbins=3)
        fig.supxlabel("data", fontsize=8.5, color=GREY)
        fig.supylabel("rebuilt", fontsize=8.5, color=GREY)
    return fig


def _confusion(panel: Axes, x: np.ndarray, recon: np.ndarray, named: list[tuple[int, str]]) -> None:
    """How often a category (across) becomes another (up): the area of a dot is its share of the category's rows."""
    for across, (i, _) in enumerate(named):
        some = recon[x == i]
        for up, (j, _) in enumerate(named):
            if share := float((some == j).mean()):
                colour = ACCENT if i == j else GREY
                panel.plot(across, up, "o", color=colour, ms=(170 * share) ** 0.5 * 4 / len(named), mew=0)
    ends = (-0.6, len(named) - 0.4)
    panel.plot(ends, ends, color=FAINT, lw=0.6, zorder=0)
    panel.set(xlim=ends, ylim=ends, xticks=[])
    panel.set_yticks(range(len(named)), [name for _, name in named], fontsize=5.5)


def _alpha(n: int) -> float:
    return float(np.clip(18 / np.sqrt(max(n, 1)), 0.15, 0.8))


def signal_rows(
    upper: np.ndarray, lower: np.ndarray | None, names: tuple[str, str], titles: Sequence[str] | None = None
) -> Figure:
    """Up to nine vectors (N, D) as lines over their columns: ``upper`` grey, ``lower`` in the accent, a panel each."""
    count = min(9, len(upper))
    shown = [upper[:count]] + ([lower[:count]] if lower is not None else [])
    colours = [GREY, ACCENT] if lower is not None else [ACCENT]
    with style():
        fig, panels = _panels(count, 3, 1.3)
        bounds = limits(*shown)
        for i, panel in enumerate(panels):
            for vectors, colour in zip(shown, colours, strict=True):
                panel.plot(vectors[i], color=colour, lw=0.9)
            panel.set(ylim=bounds, xlim=(0, upper.shape[1] - 1), title=titles[i] if titles else "")
            panel.locator_params(nbins=4)
        _outer(panels, 3)
        fig.supxlabel("column", fontsize=8.5, color=GREY)
        _footer(fig, list(zip(names, colours, strict=False)))
    return fig


def _outer(panels: Sequence[Axes], across: int) -> None:
    """Leave the numbers of shared axes only at the left and at the lowest panel of each column."""
    for i, panel in enumerate(panels):
        if i % across:
            panel.tick_params(labelleft=False)
        if i + across < len(panels):
            panel.tick_params(labelbottom=False)


def vector_marginals(
    data: np.ndarray,
    samples: np.ndarray,
    names: Sequence[str] | None = None,
    words: tuple[str, str] = ("data", "samples"),
) -> Figure:
    """Histograms of each column, of the data (N, D) filled grey and of the samples (M, D) outlined in the accent."""
    columns, titles = _columns(data, names)
    with style():
        fig, panels = _panels(len(columns), 4, 1.3)
        for panel, i, title in zip(panels, columns, titles, strict=True):
            a, b = (v[np.isfinite(v)] for v in (data[:, i], samples[:, i]))
            panel.set(title=_shorten(title))
            panel.spines["left"].set_visible(False)
            if named := _named(title, a):
                _shares(panel, a, b, named)
                continue
            low, high = limits(a, b)
            few = np.unique(a)
            if len(few) <= 12 and np.allclose(few, np.round(few)) and high - low < 40:
                edges = np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
            else:
                edges = np.linspace(low, high, 31)
            heights = [np.histogram(v, edges)[0] / max(len(v), 1) for v in (a, b)]
            panel.stairs(heights[0], edges, fill=True, color=FAINT, lw=0)
            panel.stairs(heights[1], edges, color=ACCENT, lw=1.0)
            panel.set(yticks=[], xlim=(edges[0], edges[-1]))
            panel.locator_params(axis="x", nbins=3)
        _footer(fig, [(words[0], FAINT), (words[1], ACCENT)])
    return fig


def _shares(panel: Axes, a: np.ndarray, b: np.ndarray, named: list[tuple[int, str]]) -> None:
    """The shares of categories as bars that lie, the data's filled and the samples' outlined, with their names."""
    places = np.arange(len(named))[::-1]
    for values, look in ((a, {"color": FAINT}), (b, {"fill": False, "edgecolor": ACCENT, "lw": 1.0})):
        panel.barh(places, [float((values == i).mean()) for i, _ in named], height=0.82, **look)
    panel.set(ylim=(-0.6, len(named) - 0.4), xlim=(0, None))
    panel.set_yticks(places, [name for _, name in named], fontsize=5.5)
    panel.tick_params(axis="y", length=0)
    panel.xaxis.set_major_formatter("{x:.0%}")
    panel.locator_params(axis="x", nbins=3)


def _footer(fig: Figure, words: Sequence[tuple[str, str]]) -> None:
    """A key under a figure: coloured words in a row."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c, lw=2.5, label=name) for name, c in words]
    legend = fig.legend(handles=handles, loc="outside lower left", ncols=len(words), handlelength=1, borderpad=0)
    for text in legend.get_texts():
        text.set_color(INK)


def paths_of_columns(rows: np.ndarray, names: Sequence[str] | None = None) -> Figure:
    """How each column changes along the way between two inputs: rows (R, S, D), a line for each of the R pairs."""
    flat = rows.reshape(-1, rows.shape[-1])
    columns, titles = _columns(flat, names)
    t = np.linspace(0, 1, rows.shape[1])
    with style():
        fig, panels = _panels(len(columns), 4, 1.3)
        for panel, i, title in zip(panels, columns, titles, strict=True):
            for row in rows:
                panel.plot(t, row[:, i], color=ACCENT, lw=0.9, alpha=0.75)
                panel.plot(t[[0, -1]], row[[0, -1], i], "o", color=ACCENT, ms=2.5, mew=0)
            panel.set(title=_shorten(title), xticks=[0, 1], xticklabels=["first", "second"], xlim=(-0.06, 1.06))
            _ticks(panel, _named(title, rows[..., i].ravel()))
    return fig


def vector_traversals(
    rows: np.ndarray, values: np.ndarray, titles: Sequence[str], names: Sequence[str] | None = None
) -> Figure:
    """What each latent dimension does to the columns: rows (R, S, D) decoded at ``values`` (R, S) of R dimensions.

    Each column is drawn as its change from the middle, in units of its largest range over all R rows; the three
    columns that move most are named.
    """
    rows = np.where(np.isfinite(rows), rows, np.nan)
    flat = rows.reshape(-1, rows.shape[-1])
    span = np.array([np.ptp(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in flat.T])
    moved = (rows - rows[:, rows.shape[1] // 2][:, None]) / np.where(span > 0, span, 1.0)
    with style():
        fig, panels = _panels(len(rows), 3, 1.75)
        limit = max(float(np.nanmax(np.abs(moved), initial=0.0)), 1e-3) * 1.08
        for r, panel in enumerate(panels):
            most = np.argsort(-np.ptp(np.nan_to_num(moved[r]), axis=0), kind="stable")[:3]
            panel.axhline(0, color=FAINT, lw=0.5)
            for i in range(rows.shape[-1]):
                if i not in most:
                    panel.plot(values[r], moved[r][:, i], color=FAINT, lw=0.7)
            for i, colour, lines in zip(most, (ACCENT, INK, GREY), ("-", "--", ":"), strict=False):
                name = _shorten(names[i] if names else f"x{i}", 18)
                panel.plot(values[r], moved[r][:, i], color=colour, lw=1.2, ls=lines, label=name)
            panel.set(title=titles[r], ylim=(-limit, limit))
            panel.legend(fontsize=6.5, loc="best", handlelength=1.6, borderpad=0, labelspacing=0.2)
            panel.locator_params(nbins=5)
        _outer(panels, 3)
        fig.supxlabel("value of the latent dimension", fontsize=8.5, color=GREY)
        fig.supylabel("change of the columns (of range)", fontsize=8.5, color=GREY)
    return fig


def draw_map(
    panel: Axes,
    coords: np.ndarray,
    labels: np.ndarray | None,
    label_names: Sequence[str] | None,
    axes: tuple[str, str],
    legend: bool = True,
    circles: bool = True,
    room: int = 18,
) -> None:
    """Draw codes (N, 2) with the prior's circles; classes beyond the ten most frequent are grey.

    The names of classes get ``room`` letters beside the map.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke

    coords = np.asarray(coords, dtype=np.float64)
    shown = np.isfinite(coords).all(axis=1)
    colours = np.full(len(coords), ACCENT if labels is None else FAINT, dtype=object)
    handles = []
    if labels is not None:
        labels = np.asarray(labels)
        kinds, counts = np.unique(labels, return_counts=True)
        chosen = np.sort(kinds[np.argsort(-counts, kind="stable")[: len(CLASSES)]])
        for kind, colour in zip(chosen.tolist(), CLASSES, strict=False):
            colours[labels == kind] = colour
            name = label_names[kind] if label_names is not None and 0 <= kind < len(label_names) else str(kind)
            handles.append(
                Line2D([], [], ls="", marker="o", ms=5, mew=0, color=colour, label=_shorten(str(name), room))
            )
        if len(kinds) > len(chosen):
            rest = f"{len(kinds) - len(chosen)} others"
            handles.append(Line2D([], [], ls="", marker="o", ms=5, mew=0, color=FAINT, label=rest))
    size = float(np.clip(9000 / max(len(coords), 1), 2.2, 14))
    # One shuffled layer, so that no class hides another only because it is drawn last.
    order = np.random.default_rng(0).permutation(np.flatnonzero(shown))
    panel.scatter(
        coords[order, 0], coords[order, 1], s=size, c=colours[order].tolist(), alpha=0.75, lw=0, rasterized=True
    )
    reach = 2.4 if circles else 0.0
    if shown.any():
        reach = max(reach, float(np.quantile(np.abs(coords[shown]), 0.998)) * 1.1)
    reach = reach or 1.0
    if circles:
        for radius in (1, 2):
            panel.add_patch(Circle((0, 0), radius, fill=False, ec=INK, lw=0.8, ls=(0, (4, 3)), zorder=3))
            where = radius / np.sqrt(2)
            if reach < 8:  # else the two words would lie on one another
                panel.annotate(
                    f"{radius} sd", (where, -where), (2, -2), textcoords="offset points", fontsize=7, color=INK,
                    va="top", ha="left", zorder=4, path_effects=[withStroke(linewidth=2, foreground=PAPER)],
                )  # fmt: skip
    panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel=axes[0], ylabel=axes[1])
    panel.locator_params(nbins=5)
    if handles and legend:
        panel.legend(
            handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.1, borderpad=0,
            labelspacing=0.55, borderaxespad=0.3, fontsize=8 if room > 12 else 7,
        )  # fmt: skip


def latent_map(
    coords: np.ndarray,
    labels: np.ndarray | None = None,
    label_names: Sequence[str] | None = None,
    axes: tuple[str, str] = ("z0", "z1"),
    circles: bool = True,
) -> Figure:
    """Codes in a plane, coloured by class, with N(0, I) at one and two standard deviations as dashed circles.

    Args:
        coords: (N, 2), of :func:`taut.explore.plane`.
        labels: (N,) whole numbers, or None: one colour.
        label_names: the words for label 0, 1, …
        axes: the names of the axes.
        circles: whether the prior is N(0, I), so that the circles mean something.
    """
    with style():
        fig = figure(4.9 if labels is not None else 4.2, 4.1)
        draw_map(fig.subplots(), coords, labels, label_names, axes, circles=circles)
    return fig


def curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Training and validation against the step: ELBO, distortion, rate (nats per example), active units, β.

    Args:
        metrics: the rows of ``metrics.jsonl``. What is null throughout (the ELBO of a point posterior) has no panel.
    """
    wanted = [
        ("elbo", "ELBO, nats"), ("distortion", "distortion, nats"), ("rate", "rate, nats"),
        ("active_units", "active units"), ("beta", "β, weight of the rate"),
    ]  # fmt: skip
    series = {}
    for key, _ in wanted:
        for split in ("train", "valid"):
            rows = [m for m in metrics if m.get("split") == split and m.get(key) is not None]
            points = np.array([(m["step"], m[key]) for m in rows], dtype=np.float64).reshape(-1, 2)
            series[key, split] = points[np.isfinite(points).all(axis=1)]
    betas = np.concatenate([series["beta", "train"], series["beta", "valid"]])[:, 1]
    drawn = [
        (key, title)
        for key, title in wanted
        if len(series[key, "train"]) + len(series[key, "valid"]) and not (key == "beta" and np.ptp(betas) == 0)
    ]
    last = max([1, *(m["step"] for m in metrics)])
    with style():
        if not drawn:
            fig = figure(WIDTH, 1.0)
            fig.text(0.5, 0.5, "no measurements yet", ha="center", va="center", color=GREY)
            return fig
        across = 2 if len(drawn) in (2, 4) else 3
        fig, panels = _panels(len(drawn), across, 1.75)
        for panel, (key, title) in zip(panels, drawn, strict=True):
            train, valid = series[key, "train"], series[key, "valid"]
            if len(train):
                panel.plot(*train.T, color=GREY, lw=0.8, alpha=0.8)
            if len(valid):
                one = {"marker": "o", "ms": 3, "mew": 0} if len(valid) < 12 else {}
                panel.plot(*valid.T, color=ACCENT, lw=1.3, **one)
            if key in ("elbo", "distortion", "rate"):
                # The first steps of an untrained model would flatten all that follows.
                settled = [p[p[:, 0] >= 0.05 * last, 1] for p in (train, valid)]
                if sum(len(s) for s in settled):
                    low, high = limits(*settled, pad=0.08)
                    panel.set_ylim(0 if key == "rate" else low, high)
            else:
                panel.set_ylim(bottom=0)
            if key == "active_units":
                panel.yaxis.get_major_locator().set_params(integer=True, nbins=5)
            panel.set(title=title, xlim=(0, last))
            panel.locator_params(axis="x", nbins=4, integer=True)
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        fig.supxlabel("step", fontsize=8.5, color=GREY)
        _footer(fig, [("training", GREY), ("validation", ACCENT)])
    return fig


def kl_bars(
    kl_per_dim: Sequence[float],
    active: Sequence[bool] | None = None,
    layers: Sequence[int] | None = None,
    what: str = "latent dimension",
) -> Figure:
    """KL(q‖p) of each latent dimension, or of what else is named, in nats, largest first; pale those that are not ``active``,
    if that is known.

    Of several ``layers``, the number of each dimension's counted from 1 at the top, each has its own stretch and colour.
    """
    from matplotlib.patches import Patch

    kl = np.nan_to_num(np.asarray(kl_per_dim, dtype=np.float64).ravel())
    where = np.ones(len(kl), dtype=int) if layers is None else np.asarray(layers)
    order = np.lexsort((-kl, where))
    kinds = np.unique(where).tolist()
    tints = {kind: CLASSES[i % len(CLASSES)] if len(kinds) > 1 else ACCENT for i, kind in enumerate(kinds)}
    with style():
        fig = figure(WIDTH, 1.7)
        panel = fig.subplots()
        lit = np.ones(len(kl), dtype=bool) if active is None else np.asarray(active, dtype=bool)
        colours = [tints[where[i]] if lit[i] else FAINT for i in order]
        panel.bar(np.arange(len(kl)), kl[order], width=0.72 if len(kl) <= 80 else 1.0, color=colours, lw=0)
        panel.set(ylabel="KL, nats", xlim=(-0.8, max(len(kl), 8) - 0.2))
        names = where[order] if len(kinds) == len(kl) > 1 else order  # one bar a layer is called as the legend has it
        if len(kl) <= 40:
            panel.set_xticks(np.arange(len(kl)), [str(i) for i in names], fontsize=6.5 if len(kl) > 24 else 7.5)
        each = what + "s" * (len(kl) > 40)
        within = ", most used first in each layer" if len(kinds) < len(kl) else ""
        panel.set_xlabel(f"{each}{within}, the top layer first" if len(kinds) > 1 else f"{each}, most used first")
        if len(kinds) > 1:
            shown = kinds if len(kinds) <= len(CLASSES) else [kinds[0], kinds[-1]]
            handles = [Patch(color=tints[kind], label=f"layer {kind}") for kind in shown]
            panel.legend(handles=handles, fontsize=6.5, loc="upper left", bbox_to_anchor=(0, 1.2), ncols=len(shown),
                         handlelength=1.0, borderpad=0, columnspacing=1.2)  # fmt: skip
        if active is not None:
            panel.annotate(
                f"{lit.sum():,} of {len(kl):,} active", (1, 1), (-4, -4), xycoords="axes fraction",
                textcoords="offset points", ha="right", va="top", fontsize=7.5, color=GREY,
            )  # fmt: skip
        panel.tick_params(axis="x", length=0)
        panel.locator_params(axis="y", nbins=4)
    return fig


def factor_matrix(shares: Mapping[str, Sequence[float]], least: float = 0.05, at_most: int = 14) -> Figure:
    """What latents tell of factors: a row a factor, a column a latent, the darker the larger the share.

    Args:
        shares: of each factor by name, the share of it that each of D latents tells, from 0 to 1.
        least: latents that tell less of every factor are left out, but never the best three; and what is less has no
            number.
        at_most: so many latents; they stand in the order of the factors of which they tell most.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    matrix = np.array(list(shares.values()), dtype=np.float64)
    best = matrix.max(0)
    chosen = np.argsort(-best, kind="stable")[: min(at_most, max(3, int((best >= least).sum())))]
    chosen = chosen[np.lexsort((-best[chosen], matrix[:, chosen].argmax(0)))]
    rows, columns = len(matrix), len(chosen)
    darkest = max(float(best.max()), 0.25)
    colours = LinearSegmentedColormap.from_list("share", [PAPER, ACCENT])
    with style():
        fig = figure(max(0.42 * columns + 0.9, 2.2), 0.42 * rows + 0.6)
        panel = fig.subplots()
        for (i, j), share in np.ndenumerate(matrix[:, chosen]):
            depth = share / darkest
            panel.add_patch(Rectangle((j + 0.04, i + 0.04), 0.92, 0.92, fc=colours(depth), ec=FAINT, lw=0.4))
            if share >= least:
                ink = PAPER if depth > 0.6 else INK
                panel.text(j + 0.5, i + 0.5, f"{100 * share:.0f}", ha="center", va="center", fontsize=7.5, color=ink)
        panel.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal", xlabel="latent dimension")
        panel.set_xticks(np.arange(columns) + 0.5, [f"z{d}" for d in chosen])
        panel.set_yticks(np.arange(rows) + 0.5, [_shorten(name, 14) for name in shares], fontsize=8.5)
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
    return fig
