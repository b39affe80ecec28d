"""What every network body promises."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, overload

from torch import nn

from taut.config import Part
from taut.errors import InputError

__all__ = ["Activation", "Network", "activation", "positive"]

Activation: TypeAlias = Literal["relu", "tanh", "silu", "gelu", "elu"]

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU, "gelu": nn.GELU, "elu": nn.ELU}


def activation(name: str) -> nn.Module:
    """A fresh activation module by name."""
    return _ACTIVATIONS[name]()


def positive(field: str, *values: int) -> None:
    """Refuse sizes below one."""
    for value in values:
        if value < 1:
            raise InputError(field, f"is {value}", "give 1 or more")


M = TypeVar("M", bound=nn.Module)
Map = TypeVar("Map", nn.Linear, nn.Conv2d)

if TYPE_CHECKING:

    class Modules(nn.ModuleList, Generic[M]):
        """A list of modules of one class."""

        def __init__(self, modules: Iterable[M]) -> None: ...
        def __iter__(self) -> Iterator[M]: ...
        @overload
        def __getitem__(self, index: int) -> M: ...
        @overload
        def __getitem__(self, index: slice) -> Modules[M]: ...
        def __getitem__(self, index: Any) -> Any: ...

else:  # what a type checker alone must be told costs a pass nothing
    Modules = nn.ModuleList


def silent(map: Map) -> Map:
    """The same map with zeros for its weights: it says nothing at first."""
    nn.init.zeros_(map.weight)
    if map.bias is not None:
        nn.init.zeros_(map.bias)
    return map


class Body(nn.Sequential):
    """Modules one after the other, and the width of what comes out."""

    features: int


class Network(Part, family=True):
    """A pair of bodies: one reads an example, the other writes one."""

    maps: ClassVar[bool] = False
    """Whether what they read and write are maps (N, C, H, W) at each of ``scales`` scales, not one vector."""

    scales: ClassVar[int] = 1
    """At how many scales the encoder leaves features."""

    def fitted(self, shape: tuple[int, ...]) -> Network:
        """This network with what was left open decided by the shape of an example.

        Raises:
            InputError: where what was given does not fit it.
        """
        return self

    def in_words(self, shape: tuple[int, ...]) -> str:
        """Its name, and what it does to examples of a shape that one would not expect."""
        return type(self).__name__

    @abstractmethod
    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        """A module (N, *shape) → (N, features), with the attribute ``features``; of ``maps``, one (N, C, H, W) a scale, the
        finest first, and ``features`` are their shapes (C, H, W)."""

    @abstractmethod
    def decoder(self, features: Any, shape: tuple[int, ...], channels: int) -> nn.Module:
        """A module (N, features), or (N, *features) of a map → (N, channels, *shape): ``channels`` numbers for each
        element of x."""
