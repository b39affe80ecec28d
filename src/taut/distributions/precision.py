"""Double precision where the device has it."""

from __future__ import annotations

from torch import Tensor

__all__ = ["wide"]


def wide(x: Tensor) -> Tensor:
    """x in float64; as it is on a device that has none."""
    return x if x.device.type == "mps" else x.double()
