"""Weights that several processes hold in parts (``training.strategy`` fsdp): each its shard of every tensor.

torch's ``fully_shard`` gathers them for a step and scatters the gradients; what is kept between steps (weights, the
optimiser's moments, the running average) is each process's shard alone. Files hold whole tensors, as any run's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["laid", "local", "parted", "sharded", "whole"]


def sharded(processes: int) -> Any:
    """The strategy, for lightning-fabric."""
    from lightning_fabric.strategies import ModelParallelStrategy
    from torch.distributed.fsdp import fully_shard

    def shard(module: nn.Module, mesh: Any) -> nn.Module:
        return fully_shard(module, mesh=mesh["data_parallel"])

    return ModelParallelStrategy(shard, data_parallel_size=processes, tensor_parallel_size=1)


def _is_sharded(tensor: Tensor) -> bool:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False  # a process that is alone does not wait for what it would not use
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def local(tensor: Tensor) -> Tensor:
    """This process's part, in the same memory; the tensor itself where it is in no parts."""
    return tensor.to_local() if _is_sharded(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of it, gathered; every process has to ask."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor


def parted(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor in parts as another of its shape is."""
    if not _is_sharded(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def laid(tensor: Tensor, like: Tensor) -> Tensor:
    """The same, and its numbers in memory in the order of the other's: fused optimisers go through both as they lie."""
    tensor = parted(tensor, like)
    if tensor.shape != like.shape or tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)


def joined(part: Tensor, like: Tensor) -> Tensor:
    """The whole of which every process has a part as it has of another tensor."""
    if not _is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    ).full_tensor()
