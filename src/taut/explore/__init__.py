"""Ways through a latent space, as pure functions: paths between codes, traversals, the plane of a map, what is drawn."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "Plane": "maps", "as_images": "images", "brightness": "images", "interpolate": "paths", "nearest": "codes",
    "pictures": "images", "plane": "maps", "read_picture": "images", "shown": "images", "standard_prior": "codes",
    "traverse": "paths", "usual_norm": "codes",
}  # fmt: skip
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # names are fetched when first used: what reads saved files alone need not wait for torch
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"taut.explore.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'taut.explore' has no attribute {name!r}")
