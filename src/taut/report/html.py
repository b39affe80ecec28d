"""The report of a run: one self-contained HTML page, readable without a network, a script or a manual."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taut.training.checkpoint import write_atomically

__all__ = ["Fact", "Table", "key_numbers", "write_report"]


@dataclass(frozen=True)
class Fact:
    """A number with its unit and, in plain words, what it says. ``main`` ones are set larger."""

    value: str
    unit: str = ""
    hint: str = ""
    main: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a heading and a sentence below it; cells that are numbers stand right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


def key_numbers(summary: Mapping[str, Any]) -> dict[str, Fact]:
    """The facts of an evaluation's summary, most important first; what does not exist is said with its reason.

    >>> facts = key_numbers({"elbo": None, "why": "a point posterior has no ELBO", "distortion": 12.5})
    >>> facts["ELBO"].value, facts["ELBO"].hint
    ('none', 'a point posterior has no ELBO')
    """
    why = str(summary.get("why") or "not defined for this model")
    density = str(summary.get("support", "")).startswith(("floats", "real"))
    log_p = f"log {summary.get('density', 'p(x)')}"
    evidence = log_p + (", a density: it may be positive" if density else "")
    where = f" Mean over {_whole(summary['n'])} {summary.get('split') or ''} examples." if summary.get("n") else ""
    noisy = summary.get("exactness") == "noisy"
    exact = summary.get("latent_dim") == 0 and summary.get("exactness", "exact") == "exact"
    name = log_p if exact else "ELBO"
    facts: dict[str, Fact] = {}

    if _there(summary.get("elbo")):
        error = summary.get("elbo_stderr")
        what = "Exact, as there are no latents" if exact else f"A lower bound of {evidence}"
        hint = f"{what}. Higher is better.{where}"
        hint += " ±: standard error." if _there(error) else ""
        hint += " Estimated by draws of times and noise, which ± holds; not importance-weighted." if noisy else ""
        facts[name] = Fact(_number(summary["elbo"]), _nats(error), hint, main=True)
    else:
        facts["ELBO"] = Fact("none", "", why, main=True)
    iw = summary.get("iw") or {}
    if _there(iw.get("value")) and not exact:
        k = _whole(iw["k"])
        hint = f"A lower bound of {log_p}, at least as tight, from {k} weighted samples per example"
        hint += f", over {_whole(iw['n'])} examples." if iw.get("n") else "."
        if _there(iw.get("ess")):
            hint += f" Effective sample size {_number(iw['ess'], 1)} of {k}: the nearer to {k}, the tighter."
        facts[f"IW-{k} bound"] = Fact(_number(iw["value"]), _nats(iw.get("stderr")), hint, main=True)
    if _there(summary.get("bits_per_dim")):
        hint = f"The {name} shared out over the elements of x, in bits. Lower is better."
        hint += " Of a density, so it may be negative." if density else ""
        facts["Bits per dimension"] = Fact(_number(summary["bits_per_dim"], 3), "bits/dim", hint, main=True)
    if summary.get("latent_dim") == 0:
        return facts
    if _there(summary.get("distortion")):
        facts["Distortion"] = Fact(_number(summary["distortion"]), "nats", "−log p(x|z): what is lost in rebuilding x.")
    if _there(summary.get("rate")):
        hint = "KL(q‖p): what a code says beyond the prior. ELBO\u00a0= −\u2060(distortion\u00a0+\u00a0rate)."
        facts["Rate"] = Fact(_number(summary["rate"]), "nats", hint)
    if _there(summary.get("active_units")):
        active, size = summary["active_units"], summary.get("latent_dim")
        hint = "Latents whose centre of q, seen from the prior, varies with x by over a tenth of the prior's deviation."
        if size:
            idle = _whole(size - active)
            hint += f" The other {idle} collapsed to the prior." if active < size else " None has collapsed."
        facts["Active units"] = Fact(_whole(active), f"of {_whole(size)}" if size else "", hint)
    return facts


def write_report(
    folder: str | Path,
    title: str,
    facts: Mapping[str, Fact | str],
    tables: Sequence[Table] = (),
    figures: Sequence[tuple[str | Path, str, str]] = (),
    notes: Sequence[str] = (),
    *,
    lead: str = "",
    config: str = "",
    commands: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write ``report.html`` into a folder; everything it shows is inside it, and everything given is escaped.

    Args:
        folder: where it goes; relative paths of figures are taken from here.
        title: what the run is: the data and the model.
        facts: the key numbers by name, of :func:`key_numbers` or plain words.
        tables: shown after the pictures.
        figures: (path of a PNG, title, caption) in the order shown.
        notes: what a reader must know before the numbers: how data were read, warnings. What stands between
            `backticks` is set as code.
        lead: a sentence below the title, such as "784 binary pixels, Bernoulli, 20 latent dimensions".
        config: the resolved configuration as text, folded away.
        commands: (command, what it does), how to go on.
    """
    folder = Path(folder)
    parts = [f"<header><h1>{_text(title)}</h1>", f'<p class="lead">{_text(lead)}</p>' if lead else "", "</header>"]
    if facts:
        parts.append('<section class="facts" aria-label="Key numbers">' + _facts(facts) + "</section>")
    if notes:
        parts.append('<ul class="notes">' + "".join(f"<li>{_prose(note)}</li>" for note in notes) + "</ul>")
    parts += [_figure(folder, *figure) for figure in figures]
    parts += [_table(table) for table in tables]
    if commands:
        rows = "".join(f"<dt>{_text(what)}</dt><dd><code>{_text(command)}</code></dd>" for command, what in commands)
        parts.append(f'<section><h2>How to go on</h2><dl class="commands">{rows}</dl></section>')
    if config:
        parts.append(f"<details><summary>Configuration</summary><pre>{_text(config)}</pre></details>")
    path = folder / "report.html"
    page = _PAGE.format(title=_text(title), style=_STYLE, body="\n".join(filter(None, parts)))
    write_atomically(path, page.encode())
    return path


def _text(value: object) -> str:
    return html.escape(str(value))


def _prose(text: str) -> str:
    """Text in which what stands between backticks is code, kept on one line where it fits."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", _text(text))


def _there(value: object) -> bool:
    """Whether a number exists and is finite."""
    return isinstance(value, int | float) and value == value and abs(value) != float("inf")


def _number(value: float, places: int = 2) -> str:
    return f"{value:,.{places}f}".replace("-", "−")


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _nats(error: object) -> str:
    return f"± {_number(error)} nats" if _there(error) else "nats"


def _facts(facts: Mapping[str, Fact | str]) -> str:
    groups = []
    known = {name: fact if isinstance(fact, Fact) else Fact(str(fact)) for name, fact in facts.items()}
    for main in (True, False):
        items = "".join(
            f"<div><dt>{_text(name)}</dt><dd><b>{_text(fact.value)}</b> {_text(fact.unit)}</dd>"
            + (f'<dd class="hint">{_text(fact.hint)}</dd>' if fact.hint else "")
            + "</div>"
            for name, fact in known.items()
            if fact.main is main
        )
        if items:
            groups.append(f'<dl class="{"main" if main else "more"}">{items}</dl>')
    return "".join(groups)


def _figure(folder: Path, path: str | Path, title: str, caption: str) -> str:
    """A figure with its picture inside the page, at half its pixels: sharp on a fine screen, whole on a plain one."""
    from PIL import Image

    path = folder / path
    with Image.open(path) as picture:
        width, height, kind = *picture.size, picture.info.get("Kind", "images")
    broad = " broad" if width > 1000 else ""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure class="{_text(kind)}{broad}"><h2>{_text(title)}</h2>'
        f'<div class="wide"><img src="data:image/png;base64,{data}" width="{round(width / 2)}"'
        f' height="{round(height / 2)}" alt="{_text(title)}"></div>'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    def cell(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"<td>{_text('–' if value is None else value)}</td>"
        return f'<td class="n">{_whole(value) if isinstance(value, int) else _text(_number(value))}</td>'

    number = [
        any(isinstance(r[i], int | float) and not isinstance(r[i], bool) for r in table.rows)
        for i in range(len(table.header))
    ]
    head = "".join(
        f'<th scope="col"{" class=n" if right else ""}>{_text(name)}</th>'
        for name, right in zip(table.header, number, strict=True)
    )
    body = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in table.rows)
    note = f'<p class="note">{_text(table.note)}</p>' if table.note else ""
    return (
        f'<section><h2>{_text(table.title)}</h2>{note}<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


_STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1c1c1a; --grey: #65655f; --hair: #dededa }
@media (prefers-color-scheme: dark) {
  :root { --paper: #131312; --ink: #e8e8e3; --grey: #a1a19a; --hair: #33332f }
}
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0 auto; padding: 3rem 1.25rem 4rem; max-width: 45rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums lining-nums }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 600; letter-spacing: -.01em; margin: 0; text-wrap: balance }
h2 { font-size: 1rem; font-weight: 600; margin: 0 0 .6rem }
.lead { color: var(--grey); margin: .5rem 0 0 }
dl, dd, figure, ul { margin: 0; padding: 0 }
section, figure, details { margin-top: 2.75rem }
.facts { margin-top: 2rem }
.facts dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: 1.25rem 1.75rem;
  border-top: 1px solid var(--hair); padding: .9rem 0 1.1rem }
.facts dt { font-size: .875rem; color: var(--grey) }
.facts dd { font-size: .875rem; color: var(--grey) }
.facts b { font-size: 1rem; font-weight: 600; color: var(--ink) }
.facts .main b { font-size: 1.5rem; line-height: 1.3; letter-spacing: -.01em; white-space: nowrap }
.facts .hint { line-height: 1.4; margin-top: .2rem }
.notes { list-style: none; border-top: 1px solid var(--hair); padding-top: .9rem; font-size: .875rem }
.notes li + li { margin-top: .35rem }
img { display: block; max-width: 100%; height: auto }
figcaption { font-size: .875rem; color: var(--grey); margin-top: .6rem; max-width: 38rem; text-wrap: pretty }
/* a broad chart keeps its words readable on a small screen, and can be pushed sideways there */
.chart.broad img { max-width: max(100%, 30rem) }
.chart img { mix-blend-mode: multiply }
@media (prefers-color-scheme: dark) { .chart img { filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen } }
.note { font-size: .875rem; color: var(--grey); margin: -.3rem 0 .6rem; max-width: 38rem; text-wrap: pretty }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .875rem; min-width: 60% }
th, td { text-align: left; padding: .35rem 1.5rem .35rem 0; border-bottom: 1px solid var(--hair); vertical-align: top }
th { font-weight: 400; color: var(--grey) }
.n { text-align: right }
.commands dt { font-size: .875rem; color: var(--grey) }
.commands dd { margin: .1rem 0 .8rem }
code, pre { font: .875rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace }
code { overflow-wrap: anywhere }
.notes code { display: inline-block; font-size: .8125rem }
summary { cursor: pointer; font-weight: 600 }
pre { overflow-x: auto; border-top: 1px solid var(--hair); padding: .9rem 0; margin: .6rem 0 0 }
@media (max-width: 30rem) { body { padding-top: 1.75rem } h1 { font-size: 1.5rem } }
@media print {
  body { max-width: none; padding: 0 } figure, tr, .facts div { break-inside: avoid } h2 { break-after: avoid }
}
""".strip()

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""
