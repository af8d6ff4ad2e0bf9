"""A constant matrix that batches are multiplied by, dense or sparse, whichever is faster."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from torch import Tensor

DENSE = 200_000
"""Matrices with fewer entries are dense."""

FULL = 0.2
"""So are those of which a larger share is not zero. At 660 x 8,031, 3 % full, sparse products took a tenth as long."""


@dataclass(frozen=True, eq=False)
class Table:
    """A matrix (rows x columns) and, if it is sparse, its transpose as well."""

    matrix: Tensor
    transposed: Tensor | None

    @classmethod
    def of(cls, matrix: csr_matrix) -> "Table":
        """From scipy's sparse matrix."""
        size = matrix.shape[0] * matrix.shape[1]
        if size < DENSE or matrix.nnz > FULL * size:
            return cls(torch.from_numpy(matrix.toarray()), None)
        return cls(_sparse(matrix), _sparse(csr_matrix(matrix.T)))

    def to(self, dtype: torch.dtype) -> "Table":
        """The same in another precision."""
        return Table(self.matrix.to(dtype), None if self.transposed is None else self.transposed.to(dtype))

    @property
    def numbers(self) -> int:
        """How many are stored."""
        return int(self.matrix.values().numel() if self.matrix.is_sparse_csr else self.matrix.numel())

    def down(self, rows: Float[Tensor, "batch rows"]) -> Float[Tensor, "batch columns"]:
        """`rows @ matrix`."""
        if self.transposed is None:
            return rows @ self.matrix
        product: Tensor = _Product.apply(rows, self.transposed, self.matrix)
        return product

    def up(self, columns: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch rows"]:
        """`columns @ matrix.T`, without a gradient where it is sparse."""
        return columns @ self.matrix.T if self.transposed is None else (self.matrix @ columns.T).T


class _Product(torch.autograd.Function):
    """`batch @ matrix` from the matrix' transpose; torch's own gradient would transpose it anew each time."""

    @staticmethod
    def forward(ctx: Any, batch: Tensor, transposed: Tensor, matrix: Tensor) -> Tensor:
        ctx.matrix = matrix
        return (transposed @ batch.T).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return (ctx.matrix @ gradients[0].T.contiguous()).T, None, None


def _sparse(matrix: csr_matrix) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "beta state"
        starts, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
        return torch.sparse_csr_tensor(starts, columns, values, matrix.shape, dtype=torch.float64)
