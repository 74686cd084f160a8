"""Ranks of similarities, fast on a CPU.

NumPy's sorts are faster than torch's. Short rows are sorted by keys, which hold a
similarity and, in their last bits, the index of the column, which decides between ties.
Long rows are sorted by both halves of their bits, with NumPy's radix sort of 16 bits.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Executor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BELOW_ALL = -1.0005  # less than any cosine, and its key less than any other
HIGH = int(sys.byteorder == "little")  # which half of 32 bits counts more
BLOCK_VALUES = 2**17  # values to sort at a time, for the cache
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
    ties, which is near the rounding of their products. With more columns, the order is
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
        flat = torch.from_numpy(exact_order(cosines.numpy()))
        return torch.remainder(flat, n_columns, out=order)
    n_bits = (n_columns - 1).bit_length()
    # A little less than a power of two, so that cosines above 1 by rounding fit.
    room = (1 - 2**-10) * 2.0 ** (31 - n_bits)
    keys.copy_(torch.mul(cosines, room, out=buffer))
    keys <<= n_bits
    keys |= torch.arange(n_columns, dtype=torch.int32)
    keys.numpy().sort(axis=1)
    keys &= 2**n_bits - 1
    return order.copy_(keys)


def exact_order(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the indices that sort each row of a matrix.

    The indices are of the flat matrix. Equal values of a row keep their order.
    """
    n_rows, n_columns = values.shape
    starts = np.arange(0, n_rows * n_columns, n_columns)[:, np.newaxis]
    bits = (values + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    bits ^= (bits >> 31) & (2**31 - 1)  # negative floats are in descending order
    halves = bits.view(np.int16).reshape(n_rows, n_columns, 2)
    low, high = halves[..., 1 - HIGH].astype(np.uint16), halves[..., HIGH].ravel()
    order = low.argsort(axis=1, kind="stable")
    order += starts
    of_high = high.take(order).argsort(axis=1, kind="stable")
    of_high += starts
    return order.ravel().take(of_high)


def look_up_by_rank(values: Tensor, table: Tensor, threads: Executor) -> Tensor:
    """Look up a table by the rank of each value in its row.

    A rank is the number of values that are at most as large, so tied values share the
    highest rank.

    Parameters
    ----------
    values : contiguous Tensor of float32, shape (n_rows, n_columns)
        On a CPU, the result overwrites the values.
    table : Tensor of shape (n_columns,)
        Entries for the ranks 1 to the number of columns.
    threads : Executor
        Threads for blocks of rows on a CPU, as NumPy sorts with a single thread.

    Returns
    -------
    found : Tensor of shape (n_rows, n_columns)
    """
    if values.device.type != "cpu":
        return by_torch(values, table)
    blocks = values.split(max(1, BLOCK_VALUES // values.shape[1]))
    for _ in threads.map(lambda block: by_numpy(block.numpy(), table.numpy()), blocks):
        pass
    return values


def by_numpy(values: NDArray[np.float32], table: NDArray[Any]) -> None:
    """Overwrite values by the entries of a table for their ranks."""
    order = exact_order(values)
    flat, entries = values.ravel(), np.tile(table, len(values))
    ordered = flat.take(order.ravel())
    ties, ends = _ties(np.flatnonzero(ordered[1:] == ordered[:-1]), len(table))
    entries[ties] = table[ends]
    flat[order.ravel()] = entries


def by_torch(values: Tensor, table: Tensor) -> Tensor:
    """Return the entries of a table for the ranks of values, on any device."""
    ordered, order = values.sort(dim=1)
    flat = ordered.ravel()
    equal = (flat[1:] == flat[:-1]).nonzero().ravel()
    ties, ends = _ties(equal.cpu().numpy(), len(table))
    entries = table.expand(values.shape).clone()
    entries.view(-1)[torch.from_numpy(ties)] = table[torch.from_numpy(ends)]
    return torch.empty_like(entries).scatter_(1, order, entries)


def _ties(
    equal: NDArray[np.intp], n_columns: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return ties and, for each tie, the column of the last value that is equal to it.

    Places in a flat matrix of ordered rows hold values that equal the next value. Of
    the last column, the next value is of another row.
    """
    equal = equal[(equal + 1) % n_columns != 0]
    is_last = np.append(np.diff(equal) != 1, np.ones(min(1, len(equal)), dtype=bool))
    last = np.flatnonzero(is_last)
    ends = np.repeat(equal[last], np.diff(last, prepend=-1)) + 1
    return equal, ends % n_columns
