"""CRC-32C (Castagnoli) of many byte strings at once, and of what they make when joined."""

import functools

import numpy as np
import pyarrow as pa

_POLYNOMIAL = 0x82F63B78
_ONES = np.uint32(0xFFFFFFFF)


def crc32c(strings: pa.Array) -> np.ndarray:
    """The checksum of each string of a binary array without nulls; `uint32[len(strings)]`."""
    offsets, data = binary_parts(strings)
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind='stable')  # so that those not yet at their end are first
    start, sizes = offsets[:-1][order], lengths[order]
    register = np.full(len(order), _ONES, np.uint32)
    table = _table()
    positions = np.arange(int(sizes[0]) if len(sizes) else 0)
    for position, active in enumerate(np.searchsorted(-sizes, -positions, side='left')):
        some = register[:active]
        low = (some ^ data[start[:active] + position]) & np.uint32(0xFF)
        register[:active] = (some >> np.uint32(8)) ^ table[low]
    checksums = np.empty(len(order), np.uint32)
    checksums[order] = register ^ _ONES
    return checksums


def joined(first: np.ndarray, second: np.ndarray, second_length: np.ndarray) -> np.ndarray:
    """The checksums of strings joined of two, from the checksums of the two.

    Appending n bytes multiplies a checksum, a polynomial over GF(2), by x**(8 n): a linear
    map, looked up byte by byte.
    """
    lengths, which = distinct(second_length)
    tables = _shift_tables(lengths).ravel()
    table = which * 1024
    moved = second.copy()
    for byte in range(4):
        part = (first >> np.uint32(8 * byte)) & np.uint32(0xFF)
        moved ^= tables.take(table + (256 * byte) + part)
    return moved


def distinct(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`np.unique` with the inverse; without sorting where the numbers are small."""
    limit = 8 * len(numbers) + 1024
    if not len(numbers) or numbers.min() < 0 or numbers.max() >= limit:
        return np.unique(numbers, return_inverse=True)
    there = np.zeros(int(numbers.max()) + 1, bool)
    there[numbers] = True
    place = np.cumsum(there) - 1
    return np.flatnonzero(there), place[numbers]


def masked(checksums: np.ndarray) -> np.ndarray:
    """The form in which TFRecord files keep a checksum."""
    return ((checksums >> np.uint32(15)) | (checksums << np.uint32(17))) + np.uint32(0xA282EAD8)


def binary_parts(strings: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Offsets `int64[len + 1]` and bytes of a binary array, without copying."""
    _, offsets, data = strings.buffers()
    begin = strings.offset
    offsets = np.frombuffer(offsets, np.int32)[begin:begin + len(strings) + 1]
    data = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return offsets.astype(np.int64), data


@functools.cache
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


def _shift_tables(lengths: np.ndarray) -> np.ndarray:
    """For each length, what every value of each byte becomes; `uint32[lengths, 4, 256]`."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    table, moved, images, at = _table(), bits, [], 0
    for length in lengths:  # ascending
        while at < length:
            moved = (moved >> np.uint32(8)) ^ table[moved & np.uint32(0xFF)]
            at += 1
        images.append(moved)
    images = np.stack(images).reshape(len(lengths), 4, 8) if images else np.zeros(
        (0, 4, 8), np.uint32)
    values = np.arange(256, dtype=np.uint32)
    tables = np.zeros((len(lengths), 4, 256), np.uint32)
    for bit in range(8):
        tables ^= images[:, :, bit, None] * ((values >> np.uint32(bit)) & np.uint32(1))
    return tables
