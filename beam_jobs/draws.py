"""Random draws that depend on a seed and on what a row is, never on where or when it is drawn.

Every row has a 64-bit key, mixed from its identity. A draw is a function of the seed, the
purpose and that key, so the same row gets the same draw on any runner, in any order.
"""

import enum
import hashlib

import numpy as np
import pyarrow as pa

_HASH_KEY = 'mdctr-rows-key-1'  # 16 bytes; another key moves every user to another bucket


class Purpose(enum.IntEnum):
    """What a draw is for: draws of different purposes are independent."""

    SPLIT = 1
    SPLIT_OFFSET = 2
    DOWN_SAMPLING = 3
    NEGATIVE = 4
    NEGATIVE_RANK = 5
    ORDER = 6
    CTR_RATIO = 7
    STATISTICS = 8


def hash_strings(values: pa.Array, salt: int = 0) -> np.ndarray:
    """A 64-bit hash of each string, the same in every process; `uint64[len(values)]`.

    Hash the distinct values of a column rather than the column: Python strings are made.
    """
    from pandas.util import hash_array

    key = _HASH_KEY if salt == 0 else hashlib.sha256(f'{salt}'.encode()).hexdigest()[:16]
    objects = values.to_numpy(zero_copy_only=False)
    return hash_array(objects.astype(object), hash_key=key, categorize=False)


def mix(*parts: np.ndarray | int) -> np.ndarray:
    """Mixes integers of equal length (or scalars) to one 64-bit key: splitmix64, chained."""
    mixed = np.zeros(1, np.uint64)
    for part in parts:
        part = np.asarray(part)
        if part.dtype.kind != 'u':
            part = part.astype(np.int64).view(np.uint64) if part.ndim else np.array(
                [int(part) % 2**64], np.uint64)
        mixed = _scramble((mixed + np.uint64(0x9E3779B97F4A7C15)) ^ np.atleast_1d(part))
    return mixed


def uniform(seed: int, purpose: Purpose, *keys: np.ndarray | int) -> np.ndarray:
    """Uniform draws in [0, 1), one for each row of `keys`; `float64`."""
    return (mix(seed, int(purpose), *keys) >> np.uint64(11)) * 2.0**-53


def _scramble(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
