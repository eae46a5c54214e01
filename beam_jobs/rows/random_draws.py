"""Random draws keyed by a seed and a row's identity, never by where or when they are made.

Every row has a 64-bit key, hashed from its identity. A draw is a function of the seed, the
stream and that key, so the same row gets the same draw on any runner, in any order.
"""

import enum
import hashlib

import numpy as np
import pyarrow as pa

_HASH_KEY = 'mdctr-rows-key-1'  # 16 bytes; another key moves every user to another bucket


class Stream(enum.IntEnum):
    """What a draw is for. Draws of different streams are independent."""

    SPLIT = 1
    SPLIT_OFFSET = 2
    DOWN_SAMPLING = 3
    NEGATIVE = 4
    NEGATIVE_RANK = 5
    ORDER = 6
    CTR_RATIO = 7
    STATISTICS = 8


def hash_strings(values: pa.Array, salt: int = 0) -> np.ndarray:
    """A 64-bit hash of each string, the same in every process.

    Hash a column's distinct values rather than the column: each becomes a Python string.

    Args:
        values: Strings.
        salt: Another salt gives other hashes.

    Returns:
        `uint64[len(values)]`.
    """
    from pandas.util import hash_array

    key = _HASH_KEY if salt == 0 else hashlib.sha256(f'{salt}'.encode()).hexdigest()[:16]
    objects = values.to_numpy(zero_copy_only=False)
    return hash_array(objects.astype(object), hash_key=key, categorize=False)


def hash64(*parts: np.ndarray | int) -> np.ndarray:
    """Hashes tuples of integers to 64 bits: splitmix64, chained over the parts.

    Args:
        *parts: Integers, `[rows]` or a scalar each.

    Returns:
        `uint64[rows]`.
    """
    hashed = np.zeros(1, np.uint64)
    for part in parts:
        part = np.asarray(part)
        if part.dtype.kind != 'u':
            part = (
                part.astype(np.int64).view(np.uint64)
                if part.ndim
                else np.array([int(part) % 2**64], np.uint64)
            )
        hashed = _scramble((hashed + np.uint64(0x9E3779B97F4A7C15)) ^ np.atleast_1d(part))
    return hashed


def uniform(seed: int, stream: Stream, *keys: np.ndarray | int) -> np.ndarray:
    """Uniform draws in [0, 1).

    Args:
        seed: The dataset's random seed.
        stream: What the draws are for.
        *keys: Integers that identify each draw, `[rows]` or a scalar each.

    Returns:
        `float64[rows]`.
    """
    return (hash64(seed, int(stream), *keys) >> np.uint64(11)) * 2.0**-53


def _scramble(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
