"""Ranks of similarities, fast on a CPU.

NumPy's vectorized sorts are faster than torch's, and sorting values is faster than
sorting indices. So a key holds a similarity and, in its last bits, the index of the
column, which decides between ties.
"""

from __future__ import annotations

import sys
import threading

import torch
from torch import Tensor
from torch.nn import functional as F

BELOW_ALL = -1.0005  # less than any cosine, and its key less than any other
HIGH = int(sys.byteorder == "little")  # which half of 64 bits counts more
MOST_SHORT_KEYS = 2**11  # columns whose indices leave 20 bits of a key for the cosine


class Workspace(threading.local):
    """Memory for the sort of a block, which each thread keeps.

    Allocating new memory in every step would take as long as the sort.
    """

    shape: tuple[int, int] = (0, 0)

    def of(self, n_rows: int, n_columns: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return two float32 matrices in one tensor, keys of int32 and an order."""
        shape = (n_rows, n_columns)
        if shape != self.shape:
            with torch.inference_mode(False):  # for use in every mode
                self.floats = torch.empty(2, *shape, dtype=torch.float32, device="cpu")
                self.keys = torch.empty(shape, dtype=torch.int32, device="cpu")
                self.order = torch.empty(shape, dtype=torch.int64, device="cpu")
            self.shape = shape
        return self.floats, self.keys, self.order


def ascending(cosines: Tensor, buffer: Tensor, keys: Tensor, order: Tensor) -> Tensor:
    """Return the indices that sort each row of cosines on a CPU, in float32.

    Up to 2,048 columns, keys have 32 bits, and cosines closer than 2^-20 may count as
    ties, which is near the rounding of their products. With more columns, keys are
    exact.

    Parameters
    ----------
    cosines : Tensor of shape (n_rows, n_columns)
        Values from -1.0005 to 1, up to rounding.
    buffer, keys, order : Tensor of float32, int32, int64
        Memory of the same shape, for results.

    Returns
    -------
    order : Tensor of int64, shape (n_rows, n_columns)
        The tensor `order`, or a new one.
    """
    n_columns = cosines.shape[1]
    if n_columns > MOST_SHORT_KEYS:
        return exact_order(cosines)[0]
    n_bits = (n_columns - 1).bit_length()
    # A little less than a power of two, so that cosines above 1 by rounding fit.
    room = (1 - 2**-10) * 2.0 ** (31 - n_bits)
    keys.copy_(torch.mul(cosines, room, out=buffer))
    keys <<= n_bits
    keys |= torch.arange(n_columns, dtype=torch.int32)
    keys.numpy().sort(axis=1)
    keys &= 2**n_bits - 1
    return order.copy_(keys)


def exact_order(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sort each row of float32 values on a CPU.

    Returns
    -------
    order : Tensor of int64, shape (n_rows, n_columns)
        Columns in the order of their values, ascending for equal values.
    is_tied : Tensor of bool, shape (n_rows, n_columns - 1)
        Whether a value in this order equals the next value.
    """
    bits = (values + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    bits ^= (bits >> 31) & (2**31 - 1)  # negative floats are in descending order
    keys = torch.empty(values.shape, dtype=torch.int64)
    halves = keys.view(torch.int32).unflatten(1, (-1, 2))
    halves[:, :, HIGH] = bits
    halves[:, :, 1 - HIGH] = torch.arange(values.shape[1], dtype=torch.int32)
    keys.numpy().sort(axis=1)
    is_tied = halves[:, 1:, HIGH] == halves[:, :-1, HIGH]
    keys &= 2**32 - 1
    return keys, is_tied


def by_rank(values: Tensor, table: Tensor) -> Tensor:
    """Look up a table by the rank of each value in its row.

    A rank is the number of values that are at most as large, so tied values share the
    highest rank.

    Parameters
    ----------
    values : Tensor of float32, shape (n_rows, n_columns)
    table : Tensor of shape (n_columns,)
        Results for the ranks 1 to the number of columns.

    Returns
    -------
    found : Tensor of the dtype of the table, shape (n_rows, n_columns)
    """
    if values.device.type == "cpu":
        order, is_tied = exact_order(values)
    else:
        ordered, order = values.sort(dim=1)
        is_tied = ordered[:, 1:] == ordered[:, :-1]
    found = torch.empty_like(values, dtype=table.dtype)
    found.scatter_(1, order, table.expand(values.shape))
    rows, places = is_tied.nonzero(as_tuple=True)
    if len(rows):
        # Ties of more than two are runs of places, of which the last one's next counts.
        run = rows * values.shape[1] + places
        is_last = F.pad(run.diff() != 1, (0, 1), value=True)
        which = F.pad(is_last[:-1].cumsum(0), (1, 0))
        found[rows, order[rows, places]] = table[places[is_last][which] + 1]
    return found
