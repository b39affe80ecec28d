"""How every picture looks: colours, type, hairlines, sizes; and how it is saved.

Two roles run through all pictures: the data are grey, the model is the accent. Class colours are used for classes only.
"""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taut.training.checkpoint import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

__all__ = ["ACCENT", "CLASSES", "DPI", "FAINT", "GREY", "INK", "PAPER", "WIDTH", "bare", "figure", "save", "style"]

INK, GREY, FAINT, PAPER = "#1c1c1a", "#767672", "#c9c9c4", "#ffffff"
ACCENT = "#0b7a75"
# Petroff (2021), "Accessible color sequences for data visualization": ten, told apart by colour-blind eyes too.
CLASSES = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
DPI = 200
WIDTH = 6.8  # inches, of every chart; a page shows it at about 650 px, where 9 points are easy to read

_FONTS = ("Helvetica Neue", "Helvetica", "Inter", "Arial", "Liberation Sans", "Nimbus Sans", "DejaVu Sans")


# What draws the scripts that those lack, by what systems call it; the first of each line that is there is taken.
_OTHERS = (
    ("DejaVu Sans",),  # comes with matplotlib: Greek, Cyrillic, Hebrew, Arabic, signs
    ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Source Han Sans SC", "PingFang SC", "Heiti SC",
     "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback",
     "Arial Unicode MS"),
    ("Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic", "IPAGothic", "TakaoGothic"),
    ("Noto Sans CJK KR", "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", "NanumGothic"),
    ("Noto Sans Devanagari", "Nirmala UI", "Kohinoor Devanagari", "Lohit Devanagari"),
    ("Noto Sans Bengali", "Kohinoor Bangla", "Lohit Bengali"), ("Noto Sans Tamil", "Tamil Sangam MN", "Lohit Tamil"),
    ("Noto Sans Telugu", "Kohinoor Telugu"), ("Noto Sans Thai", "Leelawadee UI", "Thonburi"),
    ("Noto Sans Ethiopic", "Ebrima", "Kefa"), ("Noto Sans Symbols2", "Segoe UI Symbol", "Apple Symbols"),
)  # fmt: skip


@cache
def _fonts() -> list[str]:
    """The font of pictures, and those that are asked for what it has no glyph of."""
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return list(dict.fromkeys(name for names in (_FONTS, *_OTHERS) for name in [n for n in names if n in there][:1]))


_UNDRAWN = re.compile(r"Glyph (\d+) .*missing from font")
_told: list[str] = []


@contextlib.contextmanager
def _boxes() -> Iterator[None]:
    """What no font here can draw is a box in the picture, which is said once, not by a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", _UNDRAWN.pattern, UserWarning)
        others = warnings.showwarning

        def show(message: Warning | str, *about: Any, **more: Any) -> None:
            found = _UNDRAWN.match(str(message))
            if found is None:
                return others(message, *about, **more)
            if not _told:
                _told.append(chr(int(found[1])))
                said = f"no font of this machine has {_told[0]!r}: pictures have a box in its place"
                print(f"taut: note: {said}; a font such as Noto Sans CJK mends that", file=sys.stderr)

        warnings.showwarning = show
        yield


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The settings under which a figure is made and saved; the caller's own come back afterwards."""
    import matplotlib

    settings = matplotlib.rc_context(
        {
            "font.family": _fonts(), "font.size": 8.5, "text.color": INK, "text.usetex": False,
            "axes.titlesize": 8.5, "axes.titlelocation": "left", "axes.titlepad": 5, "axes.titleweight": "normal",
            "axes.labelsize": 8.5, "axes.labelcolor": GREY, "axes.edgecolor": FAINT, "axes.linewidth": 0.6,
            "axes.spines.top": False, "axes.spines.right": False, "axes.unicode_minus": True, "axes.grid": False,
            "axes.facecolor": "none", "axes.formatter.useoffset": False,
            "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": GREY, "ytick.labelcolor": GREY,
            "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
            "xtick.major.size": 3, "ytick.major.size": 3, "xtick.minor.visible": False, "ytick.minor.visible": False,
            "lines.linewidth": 1.2, "legend.frameon": False, "legend.fontsize": 8, "figure.facecolor": PAPER,
            "figure.dpi": DPI, "savefig.dpi": "figure", "savefig.bbox": None, "savefig.facecolor": "auto",
            "figure.constrained_layout.h_pad": 0.06,
        }
    )  # fmt: skip
    with settings, _boxes():
        yield


def figure(width: float, height: float, constrained: bool = True) -> Figure:
    """An empty figure, ``width`` × ``height`` inches; no window system and no global state is touched."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained" if constrained else None)


def bare(axes: Axes) -> None:
    """Take frame and ticks from axes that only hold a place."""
    axes.set_axis_off()


def save(picture: Figure | Image.Image, path: str | Path) -> Path:
    """Write a picture; the PNG says in its text whether it is line art (a ``chart``) or shows data's own images.

    The report turns charts dark on a dark page, and never images.
    """
    path, memory = Path(path), BytesIO()
    kind = path.suffix.lower().removeprefix(".")
    if not hasattr(picture, "savefig"):
        picture.save(memory, kind)
    elif kind != "png":
        with style():
            picture.savefig(memory, format=kind)
    else:
        _save_small(picture, memory)
    write_atomically(path, memory.getvalue())
    return path


def _save_small(picture: Figure, file: BytesIO) -> None:
    """A PNG a third of the size: charts on a palette of 256 colours, images without a channel that says nothing.

    A figure may say of itself that it ``shows_images`` and that it has ``few_colours`` all the same.
    """
    from PIL import Image, ImageChops
    from PIL.PngImagePlugin import PngInfo

    memory, kind = BytesIO(), PngInfo()
    with style():
        picture.savefig(memory, format="png", pil_kwargs={"compress_level": 1})
    image = Image.open(memory)
    chart = not getattr(picture, "shows_images", False)
    kind.add_text("Kind", "chart" if chart else "images")
    red, green, blue, alpha = image.split()
    if chart or getattr(picture, "few_colours", False):
        image = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    elif not ImageChops.difference(red, green).getbbox() and not ImageChops.difference(green, blue).getbbox():
        image = Image.merge("LA", (red, alpha))
    elif alpha.getextrema() == (255, 255):
        image = image.convert("RGB")
    image.save(file, "png", pnginfo=kind, dpi=(DPI, DPI))
