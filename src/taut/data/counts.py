"""Sparse matrices of counts: .h5ad files of single cells by way of anndata, and .npz files of a sparse matrix.

Rows become dense, as every model reads them. Each row's total is a known scale: see ``data.offset``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from taut.data.source import Source
from taut.data.spec import Data
from taut.errors import InputError, nearest

__all__ = ["OBSM", "h5ad_source", "is_sparse", "sparse_source", "with_codes"]

MOST = 2**31  # numbers that a dense matrix may have
OBSM = "X_taut"
FORMS = {"csr": ("indices", "indptr"), "csc": ("indices", "indptr"), "coo": ("row", "col")}


def is_sparse(arrays: dict[str, np.ndarray]) -> bool:
    """Whether the arrays of a .npz are a sparse matrix."""
    return set(arrays) >= {"data", "shape"} and ("format" in arrays or set(arrays) >= {"indices", "indptr"})


def sparse_source(path: Path, arrays: dict[str, np.ndarray]) -> Source:
    """A sparse matrix, as scipy's ``save_npz`` writes it; or compressed sparse rows without the word for the format."""
    from scipy import sparse

    form = arrays.get("format", np.array("csr")).item()
    form = form.decode("utf-8", "replace") if isinstance(form, bytes) else str(form)
    if form not in FORMS or not set(arrays) >= set(FORMS[form]):
        mend = f"save it as {', '.join(FORMS)}, such as by matrix.tocsr()"
        raise InputError("data", f"{path} is a sparse matrix of the form {form[:20]}, which is not read", mend)
    try:
        shape = tuple(int(size) for size in arrays["shape"])
        places = tuple(arrays[key] for key in FORMS[form])
        if form == "coo":
            matrix = sparse.coo_matrix((arrays["data"], places), shape).tocsr()
        else:
            matrix = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[form]((arrays["data"], *places), shape)
        matrix.check_format()
    except (ValueError, IndexError, TypeError) as error:
        raise InputError("data", f"{path} is no sparse matrix ({str(error)[:120]})", "save it again") from None
    names = next((tuple(_texts(arrays[key])) for key in ("genes", "columns", "var_names")
                  if key in arrays and arrays[key].shape == shape[1:]), None)  # fmt: skip
    return Source(path.stem, "npz", {"all": dense(matrix, str(path))}, columns=_unique(names), counts=True)


def h5ad_source(path: Path, spec: Data, needed: bool = True) -> Source:
    """The same of a file."""
    return annotated_source(_read(path), spec, needed, path.stem, "h5ad", str(path))


def annotated_source(
    table: Any, spec: Data, needed: bool = True, name: str = "array", origin: str = "array", path: str = "the matrix"
) -> Source:
    """The counts of an annotated matrix: X, or the layer that ``data.array`` names; labels, conditions are columns of obs."""
    if spec.array is not None and spec.array not in table.layers:
        raise InputError("data.array", f"{path} has no layer {spec.array!r}", nearest(spec.array, list(table.layers)))
    notes: list[str] = []
    matrix = table.layers[spec.array] if spec.array else table.X
    if matrix is None:
        raise InputError("data", f"{path} has no X", f"name a layer by data.array: {', '.join(table.layers) or 'none'}")
    x = dense(matrix, str(path))
    if spec.array is None and not _whole(x) and "counts" in table.layers:
        x = dense(table.layers["counts"], str(path))
        notes.append("X is not of whole numbers: the layer 'counts' is read")
    source = Source(
        name, origin, {"all": x}, columns=_unique(tuple(map(str, table.var_names))), notes=notes, counts=True
    )
    wanted = [(name, "data.condition") for name in spec.condition if name != "labels"]
    for name, field in [*wanted, *([(spec.labels, "data.labels")] if spec.labels else [])]:
        if name not in table.obs.columns:
            if needed:
                raise InputError(field, f"{path} has no column {name!r} in obs", nearest(name, list(table.obs.columns)))
            continue
        column = table.obs[name]
        if missing := int(column.isna().sum()):
            raise InputError(field, f"{name!r} is not known of {missing:,} cells", "fill it, or take these out")
        values = column.to_numpy() if column.dtype.kind in "fiub" else np.array(column.astype(str).to_list())
        if field == "data.labels":
            source.labels["all"] = values
        else:
            source.given.setdefault("all", {})[name] = values
    return source


def with_codes(source: Path, codes: np.ndarray) -> Any:
    """The annotated matrix in a file with codes (N, latents) in its obsm."""
    table = _read(source)
    table.obsm[OBSM] = codes
    return table


def dense(matrix: Any, where: str) -> np.ndarray:
    """All of a matrix (N, D), whole numbers as such."""
    if len(matrix.shape) != 2 or 0 in matrix.shape:
        raise InputError("data", f"{where} is a matrix of shape {tuple(matrix.shape)}", "give rows (N, D)")
    if matrix.shape[0] * matrix.shape[1] > MOST:
        size = " × ".join(f"{n:,}" for n in matrix.shape)
        raise InputError(
            "data", f"{where} has {size} numbers, too many for memory", "choose the columns that vary most"
        )
    x = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    if x.dtype.kind == "f" and _whole(x) and x.max() < 2**31:
        return x.astype(np.int32)
    return x


def _whole(x: np.ndarray) -> bool:
    return x.dtype.kind in "iub" or bool((x == np.floor(x)).all())


def _read(path: Path) -> Any:
    try:
        import anndata
    except ImportError:
        mend = "pip install 'taut[counts]'"
        raise InputError("data", ".h5ad files are read by anndata, which is not installed", mend) from None
    try:
        return anndata.read_h5ad(path)
    except Exception as error:  # what h5py and anndata raise of damaged files is of many kinds
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise InputError("data", f"{path} cannot be read as .h5ad ({reason})", "save it again") from None


def _texts(names: np.ndarray) -> list[str]:
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names.tolist()]


def _unique(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Names that each occur once: of genes they may occur twice, and the second is then called NAME.1."""
    seen: dict[str, int] = {}
    for name in names or ():
        while name in seen:
            seen[name] += 1
            name = f"{name}.{seen[name]}"
        seen[name] = 0
    return tuple(seen) or None
