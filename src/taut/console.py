"""What a person sees in a terminal: a live line while training, tables of numbers, plain lines when piped."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from taut.evaluation import draws, evidence, in_words
from taut.evaluation.gaps import in_words as gaps_in_words

__all__ = ["Board", "Progress", "Watch", "baseline_lines", "console", "difference_lines", "number", "profile_lines",
           "result_lines",           "sweep_lines"]  # fmt: skip


VISIBLE = 0.005  # nats, in two decimals


def console(stderr: bool = False) -> Console:
    """A console that keeps NO_COLOR and never wraps plain lines."""
    return _Console(stderr=stderr, highlight=False, soft_wrap=True)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # a reader that went away is no failure: the work goes on, and says no more
        sys.stdout = self.file = open(os.devnull, "w")  # noqa: SIM115


def number(value: float | None, digits: int = 2) -> str:
    """A number with a true minus sign, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 3 min 20 s, 2 h 05 min."""
    seconds = max(0, round(seconds))
    if seconds < 100:
        return f"{seconds} s"
    if seconds < 6000:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Watch:
    """Listens to a training: a live bar on a terminal, a line now and then elsewhere, nothing if quiet.

    Args:
        out: where it is said.
        quiet: say nothing.
        advise: asked at each event what else is to be said.
        exact: whether log p(x) of a model without latents is known to be itself, and no bound.
    """

    out: Console
    quiet: bool
    advise: Callable[[Any], str | None]
    exact: bool
    last_line: float

    def __init__(
        self,
        out: Console,
        quiet: bool = False,
        advise: Callable[[Any], str | None] = lambda event: None,
        exact: bool = False,
    ) -> None:
        self.out, self.quiet, self.advise, self.exact = out, quiet, advise, exact
        self.live: Live | None = None
        self.last_line = -math.inf
        self.last_valid: dict[str, Any] | None = None
        self.begun: tuple[float, int] | None = None

    def __call__(self, event: Any) -> None:
        if self.quiet:
            return
        left = self._left(event)
        if event.note:
            self.out.print(f"note: {event.note}", soft_wrap=True)
        if words := self.advise(event):
            self.out.print(f"warning: step {event.step:,}: {words}", style="yellow", soft_wrap=True)
        if self.out.is_terminal:
            if self.live is None:
                self.live = Live(console=self.out, refresh_per_second=4, transient=True)
                self.live.start()
            row = Table.grid(padding=(0, 2))
            row.add_row(*self._cells(event, left))
            self.live.update(row)
        elif event.valid is not None and (time.monotonic() - self.last_line > 5 or event.step == event.steps):
            self.last_line = time.monotonic()
            self.out.print(self._line(event, left), soft_wrap=True)

    def _left(self, event: Any) -> str:
        """Take note of an event; the time left by this sitting's pace, validations included."""
        if event.valid is not None:
            self.last_valid = event.valid
        if self.begun is None:
            self.begun = (event.seconds, event.step)
        spent, made = event.seconds - self.begun[0], event.step - self.begun[1]
        per_step = spent / made if made else event.seconds / event.step
        return duration((event.steps - event.step) * per_step)

    def _numbers(self, event: Any) -> str:
        shown = self.last_valid or {"elbo": -event.train["distortion"] - event.train["rate"], **event.train}
        pace = f"  {event.rate_of_work:,.0f}/s"
        if not shown.get("kl", shown["rate"]):  # without latents that is all that there is to say
            return f"{'log p(x)' if self.exact else 'ELBO'} {number(-shown['distortion'])} nats{pace}"
        units = shown.get("active_units")
        text = f"distortion {number(shown['distortion'])}"
        if shown["elbo"] is not None:  # a point posterior has neither bound nor rate
            text = f"ELBO {number(shown['elbo'])}  {text}  rate {number(shown['rate'])}"
        text += " nats" + (f"  active {units}" if units is not None else "")
        return text + (f"  β {event.beta:.2f}" if event.beta != 1 else "") + pace

    def _line(self, event: Any, left: str) -> str:
        skipped = f"  {event.skipped:,} skipped" if event.skipped else ""
        return f"step {event.step:>7,}/{event.steps:,}  {self._numbers(event)}{skipped}  {left} left"

    def _cells(self, event: Any, left: str) -> tuple[Any, ...]:
        kind = "validation" if self.last_valid else "training"
        return (
            ProgressBar(event.steps, event.step, width=24),
            f"{event.step:,}/{event.steps:,}" + (f", {event.skipped:,} skipped" if event.skipped else ""),
            f"{kind}: {self._numbers(event)}",
            f"{left} left",
        )

    def close(self) -> None:
        """End the live line."""
        if self.live is not None:
            self.live.stop()
            self.live = None


def profile_lines(found: dict[str, Any], stretches: dict[str, str]) -> list[Table | str]:
    """Where the time of a step went, as a table and a line; of what :class:`taut.training.Profile` found.

    Args:
        found: by it.
        stretches: what each part of a step means.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, side in (("of a step", "left"), ("ms", "right"), ("share", "right"), ("", "left")):
        table.add_column(name, justify=side, header_style="dim", style="dim" if not name else "")
    parts = found["stretches"]
    whole = sum(parts.values())
    for name, seconds in parts.items():
        meaning = stretches.get(name, "what stands between")
        table.add_row(name, number(1000 * seconds, 3), f"{100 * seconds / whole:.0f}%", meaning)
    steps = found["steps"]
    return [
        f"a step of {found['batch']:,} examples, timed {steps['timed']} times",
        table,
        f"{found['examples_per_second']:,.0f} examples/s; the matrix products of a step alone take "
        f"{number(1000 * found['floor_seconds'], 3)} ms: {100 * found['share_of_floor']:.0f}% of the speed that they allow",
    ]


class Board:
    """Listens to a sweep: on a terminal a live row for each point that is trained, and a line for each that is whole; lines
    elsewhere, nothing if quiet.

    Args:
        out: where to.
        names: what the points are called.
        quiet: whether to show nothing.
    """

    STAGES = {"evaluating": "evaluating …", "reporting": "drawing the report …"}

    out: Console
    names: Sequence[str]
    quiet: bool
    width: int

    def __init__(self, out: Console, names: Sequence[str], quiet: bool = False) -> None:
        self.out, self.names, self.quiet = out, names, quiet
        self.watches: dict[int, Watch] = {}
        self.rows: dict[int, tuple[Any, ...]] = {}
        self.live: Live | None = None
        self.width = max(map(len, names))

    def begun(self, i: int) -> None:
        """A point has begun."""
        self.watches[i] = Watch(self.out, self.quiet)
        self._show(i, "starting …")

    def event(self, i: int, event: Any) -> None:
        """A log line of its training."""
        watch = self.watches[i]
        left = watch._left(event)
        self._show(i, *watch._cells(event, left))
        if event.valid is not None and time.monotonic() - watch.last_line > 5 and not self.out.is_terminal:
            watch.last_line = time.monotonic()
            self._print(i, watch._line(event, left))

    def stage(self, i: int, name: str) -> None:
        """A stage of it begins."""
        if name in self.STAGES:
            self._show(i, self.STAGES[name])

    def finished(self, i: int, summary: dict[str, Any]) -> None:
        """It is whole."""
        self.rows.pop(i, None)
        parts = [
            f"{name} {number(summary[key])}" for name, key in (("ELBO", "elbo"), ("D", "distortion"), ("R", "rate"))
        ]
        units = f"active {summary['active_units']} of {summary['latent_dim']}"
        self._print(i, f"{'  '.join(parts)} nats  {units}  {duration(summary['seconds'])}")

    def failed(self, i: int, why: str) -> None:
        """It came to nothing."""
        self.rows.pop(i, None)
        self._print(i, f"failed: {why}")

    def _print(self, i: int, text: str) -> None:
        if not self.quiet:
            self.out.print(f"{self.names[i]:<{self.width}}  {text}", soft_wrap=True)
            self._draw()

    def _show(self, i: int, *cells: Any) -> None:
        self.rows[i] = cells
        if self.out.is_terminal and not self.quiet:
            if self.live is None:
                self.live = Live(console=self.out, refresh_per_second=4, transient=True)
                self.live.start()
            self._draw()

    def _draw(self) -> None:
        if self.live is not None:
            table = Table.grid(padding=(0, 2))
            for i, cells in sorted(self.rows.items()):
                table.add_row(self.names[i], *cells)
            self.live.update(table)

    def close(self) -> None:
        """End the live rows."""
        if self.live is not None:
            self.live.stop()
            self.live = None


class Progress:
    """Counts examples on stderr while a slow thing runs, if that is a terminal."""

    what: str
    show: bool
    began: float
    drawn: float

    def __init__(self, what: str, quiet: bool = False) -> None:
        self.what, self.show = what, not quiet and sys.stderr.isatty()
        self.began = self.drawn = time.monotonic()
        self.first: float | None = None

    def __call__(self, done: float, total: int) -> None:
        now = time.monotonic()
        if self.first is None:  # what an earlier sitting has done says nothing of this one's pace
            self.began, self.first = now, done
        if not self.show or (now - self.drawn < 0.2 and done < total):
            return
        self.drawn = now
        text = f"\r{self.what}: {int(done):,}/{total:,}"
        if done > self.first:
            text += f", {duration((now - self.began) / (done - self.first) * (total - done))} left"
        sys.stderr.write(text.ljust(78) if done < total else "\r" + " " * 78 + "\r")
        sys.stderr.flush()


def result_lines(summary: dict[str, Any]) -> list[str]:
    """The numbers of a model, each with its error, its unit and what it is, in aligned columns."""
    rows: list[tuple[str, str, str, str, str]] = []
    latent = summary["latent_dim"] > 0
    kind = summary.get("exactness", "exact")
    if summary["elbo"] is None:
        rows.append(("ELBO", "–", "", "", summary.get("why", "")))
    else:
        iw = summary["iw"]
        log_p = f"log {summary.get('density', 'p(x)')}"
        name, what = ("ELBO", f"≤ {log_p}") if latent or kind != "exact" else (log_p, "exact: there are no latents")
        if kind == "noisy":
            what += f", {iw['k']:,} draw{'s'[: iw['k'] != 1]} an example; ± holds their noise; no IW-k: weights must be exact"
        rows.append((name, number(summary["elbo"]), f"± {number(summary['elbo_stderr'])}", "nats", what))
        if iw["value"] is not None and iw["k"] > 1:
            on = "" if iw["n"] == summary["n"] else f", gain on {iw['n']:,}"
            how = "tighter" if iw["value"] > summary["elbo"] + VISIBLE else "no tighter: all draws weigh nearly alike"
            what = f"≤ {log_p}, {how} (ESS {number(iw['ess'], 1)}{on})"
            rows.append((f"IW-{iw['k']}", number(iw["value"]), f"± {number(iw['stderr'])}", "nats", what))
        if summary["bits_per_dim"] is not None:
            rows.append(("", number(summary["bits_per_dim"], 4), "", "bits/dim", f"−{name}, per element of x"))
    if not latent:
        return _aligned(rows + draws.in_words(summary.get("draws", {})) + _skipped(summary), "<><<<")
    rows += evidence.in_words(summary)
    rows.append(("distortion", number(summary["distortion"]), "", "nats", "−log p(x|z): what the code leaves out"))
    if summary["rate"] is not None:
        rows.append(("rate", number(summary["rate"]), "", "nats", "KL(q(z|x) ‖ p(z)): what the code says"))
    if len(layers := summary["kl_per_layer"]) > 1:
        for start in range(0, len(layers), 8):
            some = " · ".join(number(kl, 1) for kl in layers[start : start + 8])
            rows.append(("" if start else "  by layer", "", "", "nats", f"{some}{'' if start else '   top first'}"))
    if summary["latent_dim"]:
        active = f"{summary['active_units']} of {summary['latent_dim']}"
        rows.append(
            ("active", active, "", "latents", "q's mean, from p's, varies with x by over a tenth of p's deviation")
        )
    if held := (summary.get("aggregate") or {}).get("information"):
        rows += _information(held, summary["aggregate"]["mismatch"])
    rows += in_words(summary.get("quality", {}), summary["rate"]) + draws.in_words(summary.get("draws", {}))
    rows += gaps_in_words(summary.get("gaps", {})) + _skipped(summary)
    return _aligned(rows, "<><<<")


def _skipped(summary: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """How many steps of the training were left out, where any were."""
    if not summary.get("skipped"):
        return []
    what = "left out: their gradients were larger than training.skip"
    return [("skipped", f"{summary['skipped']:,}", "", f"of {summary['steps']:,} steps", what)]


def _information(held: dict[str, Any], mismatch: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """What the rate is spent on."""
    blunt = ""
    if held["low"] > 0.9 * held["most"]:
        blunt = f"; {held['n']:,} examples can show {number(held['most'], 1)} at most"
    return [
        ("information", _between(held), "", "nats", f"I(x; z): how much the code tells of x{blunt}"),
        ("mismatch", _between(mismatch), "", "nats", "KL(q(z) ‖ p(z)): the rest of the rate"),
    ]


def _between(sides: dict[str, Any]) -> str:
    low, high = number(max(0.0, sides["low"]), 1), number(max(0.0, sides["high"]), 1)
    return low if low == high else f"{low}–{high}"


def baseline_lines(found: dict[str, Any]) -> list[str]:
    """A model beside simpler ones, each with its distance from the model's ELBO and its time, in aligned columns."""
    if not found:
        return []
    rows = [("", "nats", "", "− ELBO", "", "n", "CPU", "")]
    for row in found["rows"]:
        if row["value"] is None:
            rows.append((row["name"], "–", "", "", "", "", "", row["what"]))
            continue
        value, error, gap, its = (row[key] for key in ("value", "stderr", "difference", "difference_stderr"))
        rows.append((row["name"], number(value), f"± {number(error)}", number(gap), f"± {number(its)}" if gap else "",
                     f"{row['n']:,}", "" if row["seconds"] is None else duration(row["seconds"]), row["what"]))  # fmt: skip
    return ["", *_aligned(rows, "<><><>><")]


def comparison_lines(comparison: Any) -> list[str]:
    """A plain autoencoder beside a VAE, in aligned columns."""
    sides = comparison.sides

    def near(place: str, side: Any) -> str:
        found = side.near[place]
        return _shares(found)

    rows = [("", *(side.name for side in sides))]
    rows.append(("training distortion, nats", *(number(side.train_distortion) for side in sides)))
    rows.append(("test distortion, nats", *(number(side.test_distortion) for side in sides)))
    rows.append(("overfitting at the end, nats", *(number(side.overfitting_at_end) for side in sides)))
    rows.append(("mismatch with the data, and coverage of it:", "", ""))
    places = {
        "half_way": "half-way between codes",
        "prior": "draws from the prior",
        "fitted": "draws from fitted normal",
    }
    rows += [(f"  {words}", *(near(place, side) for side in sides)) for place, words in places.items()]
    data = _shares(comparison.data)
    rows.append(("  test examples themselves", data, data))
    return _aligned(rows, "<>>")


def difference_lines(found: Any, names: Sequence[str]) -> list[str]:
    """Two runs in a bound, and their difference, in aligned columns."""
    n = f"{len(found.differences):,} test examples"
    rows = [
        (name, number(mean), "", "nats", what)
        for name, mean, what in zip(names, found.means, found.bounds, strict=True)
    ]
    rows.append(
        ("difference", number(found.mean), f"± {number(found.stderr)}", "nats", f"paired, {n}: {found.verdict()}")
    )
    rows.append(("wins", f"{found.wins:.1%}", "", "", f"of examples are better under {names[0]}"))
    return _aligned(rows, "<><<<")


def sweep_lines(record: dict[str, Any]) -> list[str]:
    """The points of a sweep in aligned columns, and the bound of the data's entropy that they give."""
    from taut.report.sweep import columns

    header, rows = columns(record)
    lines = _aligned([header, *rows], ">" * len(header))
    bounds = {"least": "R + D", "tightest": f"−IW-{record['k']}"}
    told = [f"H ≤ {number(found['value'])} ± {number(found['stderr'])} nats, {name} of {found['folder']}"
            for key, name in bounds.items() if (found := record[key]) is not None]  # fmt: skip
    return [*lines, "", f"the data's entropy: {'; '.join(told)}"] if told else lines


def _shares(near: Any) -> str:
    return f"{number(100 * near.mismatch, 1)}%, {near.coverage:.0%}"


def _aligned(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Rows as text, each column as wide as its widest cell and to the side given."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(sides))]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]
