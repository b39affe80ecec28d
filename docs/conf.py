"""The site: `make docs` builds it into build/docs, warnings are errors."""

from __future__ import annotations

import re

import taut

project, author, release = "taut", "The taut authors", taut.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme, html_title = "furo", "taut"
exclude_patterns = ["conf.py"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode, nb_execution_raise_on_error, nb_execution_timeout = "auto", True, 600
autodoc_member_order, autodoc_typehints = "bysource", "none"  # the signature stands in the docstring's Args
napoleon_use_rtype = False


def setup(app):
    """Shapes such as (N, *event) are no emphasis."""

    def plain(app, what, name, object, options, lines):
        lines[:] = [re.sub(r"(?<![\\*])\*(?=[A-Za-z])", r"\\*", line) for line in lines]

    app.connect("autodoc-process-docstring", plain, priority=400)
