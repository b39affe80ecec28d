"""Pictures of a run and the page that shows them. The pictures are in :mod:`taut.report.figures` (which needs
matplotlib, imported only when a picture is drawn); the page needs nothing but the standard library and Pillow."""

from __future__ import annotations

from taut.report.html import Fact, Table, key_numbers, write_report

__all__ = ["Fact", "Table", "key_numbers", "write_report"]
