"""The site: `make docs` builds it into build/docs, warnings are errors."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path

import taut

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

project, author, release = "taut", "The taut authors", taut.__version__
copyright = "the taut authors, Apache-2.0"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",  # formulae need no network either
    "measured",
]
html_theme, html_title, html_static_path, html_css_files = "furo", "taut", ["_static"], ["site.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b7a75", "color-brand-content": "#0b7a75"},
    "dark_css_variables": {"color-brand-primary": "#4fc4bd", "color-brand-content": "#4fc4bd"},
}
html_show_sphinx = False
exclude_patterns = ["*.py", "_static"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text, copybutton_prompt_is_regexp = r">>> |\.\.\. ", True
nb_execution_mode, nb_execution_raise_on_error, nb_execution_timeout = "auto", True, 600
nb_merge_streams = True
nb_render_image_options, html_scaled_image_link = {"scale": "50%"}, False  # pixels of a sharp screen
autodoc_member_order, autodoc_typehints = "bysource", "none"  # the signature stands in the docstring's Args
napoleon_use_rtype = False

logging.getLogger("traitlets").setLevel(logging.WARNING)

# Cells draw as the reports do. Kernels read both from the environment.
os.environ["MATPLOTLIBRC"] = str(DOCS / "matplotlibrc")
# Models this small gain nothing from a second thread, and the numbers stay the same.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")


PROFILE = """
c = get_config()
c.IPKernelApp.matplotlib = "inline"
c.IPKernelApp.log_level = 40
c.HistoryManager.enabled = False
c.IPKernelApp.exec_lines = [
    "from io import BytesIO as _Bytes",
    "from matplotlib.figure import Figure as _Figure",
    "def _png(figure, file=None):\\n"
    "    file = _Bytes()\\n"
    "    if not any(panel.get_subplotspec() for panel in figure.axes):\\n"
    "        figure.set_layout_engine('none')  # nothing that it could lay out\\n"
    "    figure.savefig(file, format='png')\\n"
    "    return file.getvalue()",
    "get_ipython().display_formatter.formatters['image/png'].for_type(_Figure, _png)",
]
"""


def _kernels(app) -> None:
    """A profile for the kernels: every figure is shown pixel for pixel, sheets without axes too."""
    home = Path(app.doctreedir) / "ipython"
    (home / "profile_default").mkdir(parents=True, exist_ok=True)
    (home / "profile_default" / "ipython_kernel_config.py").write_text(PROFILE, encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(home)


def _plain(app, what, name, object, options, lines) -> None:
    """Shapes such as (N, *event) are no emphasis, and |x| is no substitution."""
    lines[:] = [re.sub(r"(?<![\\*])\*(?=[A-Za-z])|(?<![\w\\|])\|(?=\S)", r"\\\g<0>", line) for line in lines]


def setup(app) -> None:
    app.connect("builder-inited", _kernels)
    app.connect("autodoc-process-docstring", _plain, priority=400)
