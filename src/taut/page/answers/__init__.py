"""The questions that a page may ask, a file a kin; each file of this folder is read, so that a new one is known."""

from __future__ import annotations

import importlib
import pkgutil

from taut.page.answers.base import Question, Reply, read

__all__ = ["Question", "Reply", "read"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
