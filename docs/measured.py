"""The results page: what `benchmarks/` holds at the time of building, its pictures in place and its JSON as tables.

The page is RESULTS.md as it stands, so that no number is written twice; links are turned to where the site has things.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MARK = "<!-- results -->"
PICTURE = re.compile(r"\[[^\]]*\]\((?:\.\./docs/)?([\w./-]+\.png)\)|`benchmarks/([\w-]+\.png)`")


def results(home: Path = BENCHMARKS) -> str:
    """The Markdown of the page: RESULTS.md without its title, then a table for each file of JSON."""
    text = (home / "RESULTS.md").read_text(encoding="utf-8").split("\n", 1)[1]
    sections = re.split(r"(?m)^(?=## )", text)
    raw = [f"### {path.name}\n\n{{download}}`{path.name} <{_to(path)}>`\n\n{table(json.loads(path.read_bytes()))}\n"
           for path in sorted(home.glob("*.json"))]  # fmt: skip
    return "\n".join([*(_illustrated(section, home) for section in sections), "## Raw numbers\n", *raw])


def _to(path: Path) -> str:
    return f"../benchmarks/{path.name}"


def _illustrated(section: str, home: Path) -> str:
    """A section with its pictures under its first lines, and its links turned."""
    shown = []
    for linked, named in PICTURE.findall(section):
        name = linked or named
        path = home / name if (home / name).exists() else Path(__file__).parent / name
        if path.exists() and path not in shown:
            shown.append(path)
    section = PICTURE.sub(lambda found: "the picture below" if found[1] else found[0], section)
    section = re.sub(r"\]\((?!https?:|#)([\w./-]+\.md)\)", lambda found: f"]({_page(found[1])})", section)
    pictures = "".join(f"\n![{path.stem}]({_place(path)})\n" for path in shown)
    return section.rstrip() + "\n" + pictures + "\n"


def _page(name: str) -> str:
    return "combinations.md" if name == "COMBINATIONS.md" else name


def _place(path: Path) -> str:
    return _to(path) if path.parent == BENCHMARKS else path.name


def table(content: Any) -> str:
    """JSON as a table: a row for each object of a list, or of a mapping of names to objects; numbers to four digits."""
    rows = _rows(content)
    if not rows:
        return ""
    nested = {key for row in rows for key, value in row.items() if isinstance(value, list | dict)}
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in nested]
    line = "| {} |".format
    cells = [line(" | ".join(_cell(row.get(column)) for column in columns)) for row in rows]
    return "\n".join([line(" | ".join(columns)), line(" | ".join("---" for _ in columns)), *cells]) + "\n"


def _rows(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        return content
    if not isinstance(content, dict):
        return []
    if content and all(isinstance(value, dict) for value in content.values()):
        return [{"": name, **value} for name, value in content.items()]
    lists = [value for value in content.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    return lists[0] if lists else [{"": name, "value": value} for name, value in content.items()]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return str(value).replace("|", "\\|")


def _read(app, name: str, source: list[str]) -> None:
    if MARK in source[0]:
        source[0] = source[0].replace(MARK, results())
        for path in BENCHMARKS.iterdir():
            app.env.note_dependency(str(path), docname=name)


def setup(app) -> dict[str, bool]:
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
