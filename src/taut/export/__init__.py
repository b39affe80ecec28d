"""A trained model for where there is no taut: encoder and decoder as ONNX or torch programs, and a page that decodes."""

from taut.export.graphs import FORMATS, PARTS, export
from taut.export.web import export_page

__all__ = ["FORMATS", "PARTS", "export", "export_page"]
