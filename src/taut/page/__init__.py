"""A local page on any run: what it serves and how it is kept safe. All mathematics is in :mod:`taut.explore` and above."""

from __future__ import annotations

__all__: list[str] = []
