"""What is known of examples besides their values: labels, which name their classes, and factors, which made them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from taut.data.source import Source
from taut.errors import InputError

__all__ = ["factors_by", "factors_of", "labels_by", "labels_of", "texts_of"]


def labels_of(source: Source) -> tuple[tuple[str, ...] | None, dict[str, torch.Tensor]]:
    """The names of the classes, in order, and each part's labels as indices of them."""
    if not source.labels:
        return None, {}
    for part, labels in source.labels.items():
        if labels.ndim != 1 or len(labels) != len(source.parts[part]):
            problem = f"labels of shape {labels.shape} do not go with {len(source.parts[part]):,} examples"
            raise InputError("data.labels", problem, "give one label per example")
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            count = int((~np.isfinite(labels)).sum())
            raise InputError("data.labels", f"{count:,} of {len(labels):,} labels are NaN or infinite", "fill them")
        if labels.dtype.kind == "f" and (fraction := labels[labels != np.floor(labels)]).size:
            raise InputError("data.labels", f"the label {fraction[0]:g} is a fraction and no class", "give classes")
        if labels.dtype.kind not in "fiubSU" and not all(isinstance(value, str) for value in labels):
            raise InputError("data.labels", f"labels of type {labels.dtype} are no classes", "give numbers or strings")
    values, codes = np.unique(np.concatenate(list(source.labels.values())), return_inverse=True)
    names = tuple(_texts(values, source.names))
    sizes = [len(labels) for labels in source.labels.values()]
    return names, dict(zip(source.labels, torch.from_numpy(codes.astype(np.int64)).split(sizes), strict=True))


def labels_by(names: Sequence[str] | None, source: Source, part: str) -> torch.Tensor | None:
    """The labels of a part as indices of names that other data had, −1 where those had none such."""
    labels = source.labels.get(part)
    if not names or labels is None or labels.shape != (len(source.parts[part]),):
        return None
    codes = {name: i for i, name in enumerate(names)}
    return torch.tensor([codes.get(text, -1) for text in _texts(labels, source.names)], dtype=torch.int64)


def texts_of(labels: np.ndarray) -> list[str]:
    """Values (N,) as their names."""
    return _texts(labels, None)


def _texts(labels: np.ndarray, names: tuple[str, ...] | None) -> list[str]:
    if names and labels.dtype.kind in "iu" and 0 <= labels.min() and labels.max() < len(names):
        return [names[int(i)] for i in labels]
    if labels.dtype.kind == "f" and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in labels.tolist()]


def factors_of(source: Source) -> tuple[tuple[str, ...] | None, dict[str, torch.Tensor]]:
    """The names of the F factors, and each part's, (N, F) float32."""
    found = {part: _numbers(factors, len(source.parts[part])) for part, factors in source.factors.items()}
    if not found:
        return None, {}
    widths = sorted({part.shape[1] for part in found.values()})
    names = source.factor_names or tuple(f"factor {i}" for i in range(widths[-1]))
    if widths != [len(names)]:
        problem = f"{' and '.join(map(str, widths))} columns for {len(names)} names"
        raise InputError("data.factors", problem, "give each factor one column and one name")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError("data.factors", f"{twice[0]!r} is the name of more than one", "give each its own name")
    return names, found


def factors_by(names: Sequence[str] | None, source: Source, part: str) -> torch.Tensor | None:
    """The factors of a part, if they are as many as other data had."""
    if not names or part not in source.factors:
        return None
    factors = factors_of(source)[1][part]
    return factors if factors.shape[1] == len(names) else None


def _numbers(factors: np.ndarray, n: int) -> torch.Tensor:
    if factors.dtype.kind not in "fiub":
        raise InputError("data.factors", f"are of type {factors.dtype}", "give numbers, and kinds as 0, 1, 2")
    if factors.ndim not in (1, 2) or len(factors) != n or not factors.size:
        problem = f"of shape {factors.shape} do not go with {n:,} examples"
        raise InputError("data.factors", problem, "give an array (N, F)")
    values = factors.reshape(n, -1).astype(np.float32)
    if count := int((~np.isfinite(values)).sum()):
        raise InputError("data.factors", f"{count:,} of {values.size:,} are NaN or infinite", "fill them")
    return torch.from_numpy(values)
