"""Ranks of similarities, fast on a CPU.

NumPy's vectorized sorts take a fraction of the time of torch's, and sorting values
takes less than sorting indices. So a key holds a similarity and, in its last bits, the
index of its column, which decides between ties.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

BELOW_ALL = -1.0005  # less than any cosine, and its key less than any other
MOST_SHORT_KEYS = 2**11  # columns whose indices leave 20 bits of a key for the cosine


class Workspace(threading.local):
    """Memory for the sort of a block, which each thread keeps.

    New memory in every step would take as long as the sort.
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

    Up to 2,048 columns, keys have 32 bits, and cosines closer than 2^-20 may pass for
    ties. That is near the rounding of their products. Of more columns, keys are exact.

    Parameters
    ----------
    cosines : Tensor of shape (n_rows, n_columns)
        Values from -1.0005 to 1, up to rounding.
    buffer, keys, order : Tensor of float32, int32, int64
        Of the same shape, for results.

    Returns
    -------
    order : Tensor of int64, shape (n_rows, n_columns)
        That tensor, or a new one.
    """
    n_columns = cosines.shape[1]
    if n_columns > MOST_SHORT_KEYS:
        return exact_keys(cosines)[1]
    n_bits = (n_columns - 1).bit_length()
    # A little less than a power of two, so that cosines above 1 by rounding fit.
    room = (1 - 2**-10) * 2.0 ** (31 - n_bits)
    keys.copy_(torch.mul(cosines, room, out=buffer))
    keys <<= n_bits
    keys |= torch.arange(n_columns, dtype=torch.int32)
    keys.numpy().sort(axis=1)
    keys &= 2**n_bits - 1
    return order.copy_(keys)


def exact_keys(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sort each row of float32 values.

    Returns
    -------
    ordered : Tensor of int64, shape (n_rows, n_columns)
        Numbers in the order of the values, equal for equal values.
    order : Tensor of int64, shape (n_rows, n_columns)
        Their columns, ascending for equal values.
    """
    bits = (values + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    bits ^= (bits >> 31) & (2**31 - 1)  # negative floats are in descending order
    keys = bits.long()
    keys <<= 32
    keys |= torch.arange(values.shape[1])
    keys.numpy().sort(axis=1)
    return keys >> 32, keys & (2**32 - 1)


def by_rank(values: Tensor, table: Tensor) -> Tensor:
    """Look up a table by the rank of each value in its row.

    A rank counts the values that are at most as large, so tied ones share the highest.

    Parameters
    ----------
    values : Tensor of float32, shape (n_rows, n_columns)
    table : Tensor of shape (n_columns,)
        What to return for the ranks 1 to the number of columns.

    Returns
    -------
    found : Tensor of the dtype of the table, shape (n_rows, n_columns)
    """
    if values.device.type == "cpu":
        ordered, order = exact_keys(values)
    else:
        ordered, order = values.sort(dim=1)
    found = table.expand(values.shape)
    is_tied = ordered[:, 1:] == ordered[:, :-1]
    if is_tied.any():
        n_columns = values.shape[1]
        places = torch.arange(n_columns, device=values.device).repeat(len(values), 1)
        places[:, :-1][is_tied] = n_columns
        found = table[places.flip(1).cummin(dim=1).values.flip(1)]
    return torch.empty_like(values, dtype=table.dtype).scatter_(1, order, found)
