"""The properties that items had over time, for the as-of join of sampled negatives.

A sampled negative has the properties that its item had in the item's last row at or before the
negative's time, in whichever domain, user or split that row is. An item that has no such row
yet, since its first row is later on the same day, has the properties of its first row.

A version of an item is a stretch of its rows with the same properties. Properties are compared
after encoding, so that a price that rises steadily has as many versions as buckets it passes.
How old a property is depends on how often the item is shown: the properties of rare items lag.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from beam_jobs.arrow_files import fetch_arrow, write_arrow
from beam_jobs.config import DatasetConfig
from beam_jobs.features.encode import Encoder, Hashes, belongs_to_item
from beam_jobs.features.ids import Column, Ids, Lists, as_lists
from beam_jobs.features.lookup import Lookup
from beam_jobs.rows.columns import array, numbers, values
from beam_jobs.rows.random_draws import hash64
from beam_jobs.rows.validate_rows import column_of
from mdctr.runs import run_starts

_ID, _HASH, _HAS_VALUE = 'id.', 'hash.', 'has-value.'


class ItemVersions:
    """The versions of every item, from a file that workers map."""

    def __init__(self, path: str):
        """Opens the file that `merge_versions` wrote."""
        self._table = fetch_arrow(path)
        self._timestamp = numbers(self._table, 'timestamp')
        # Sorted by item; every item has a version.
        self._first = np.append(run_starts(numbers(self._table, 'item')), len(self._table))

    def as_of(self, item: np.ndarray, timestamp: np.ndarray) -> np.ndarray:
        """The version that each item had at a time.

        Args:
            item: Item numbers, `int64[n]`.
            timestamp: Seconds, `float64[n]`.

        Returns:
            Version numbers, `int64[n]`.
        """
        version = self._first[item]
        size = self._first[item + 1] - version
        while (size > 1).any():  # a binary search in all ranges at once
            half = size // 2
            later = self._timestamp[version + half] <= timestamp
            version = np.where(later, version + half, version)
            size = np.where(later, size - half, np.maximum(half, 1))
        return version

    def take(self, versions: np.ndarray) -> tuple[Ids, Hashes]:
        """The ids of the item's features, and the hashes that statistics need."""
        table = self._table.take(pa.array(versions))
        names = table.column_names
        ids = {
            name.removeprefix(_ID): _column(array(table, name))
            for name in names
            if name.startswith(_ID)
        }
        hashes = {
            name.removeprefix(_HASH): (
                numbers(table, name),
                numbers(table, _HAS_VALUE + name.removeprefix(_HASH)),
            )
            for name in names
            if name.startswith(_HASH)
        }
        return ids, hashes


def item_columns(config: DatasetConfig) -> list[str]:
    """The columns of sorted rows that `encode_versions` needs."""
    columns = [column_of(f, config) for f in config.features if belongs_to_item(f)]
    return list(dict.fromkeys(['item', 'timestamp', 'key', *columns]))


def encode_versions(rows: pa.Table, encoder: Encoder, items: Lookup) -> pa.Table:
    """Encodes the rows of some items, and keeps those at which properties change.

    Args:
        rows: All rows of these items: `item`, `timestamp`, `key`, and the columns that the
            item's features are made from; texts are dictionary-encoded.
        encoder: Encodes items.
        items: Item numbers + 1, by item.

    Returns:
        A table of `item` (its number), `timestamp` (minus infinity in an item's first
        version), and the ids and hashes of each version, sorted by item and timestamp.
    """
    number = (items.ids(values(rows, 'item')) - 1)[array(rows, 'item').indices.to_numpy()]
    # Rows of one item and time are ordered by their key, which is the same in every build.
    order = np.lexsort((numbers(rows, 'key'), numbers(rows, 'timestamp'), number))
    rows, number = rows.take(pa.array(order)), number[order]
    ids, hashes = encoder.item(rows), encoder.item_hashes(rows)
    state = hash64(
        *(_state(column) for column in ids.values()),
        *(hashed for hashed, _ in hashes.values()),
    )
    columns: dict[str, pa.Array] = {_ID + name: _array(ids[name]) for name in ids}
    for name, (hashed, has_value) in hashes.items():
        columns |= {_HASH + name: pa.array(hashed), _HAS_VALUE + name: pa.array(has_value)}
    first = run_starts(number, np.broadcast_to(state, number.shape))
    timestamp = numbers(rows, 'timestamp').copy()
    timestamp[run_starts(number)] = -np.inf
    table = pa.table({'item': number, 'timestamp': timestamp, **columns})
    return table.take(pa.array(first))


def merge_versions(path: str, parts: Iterable[pa.Table]) -> None:
    """Writes the versions of all items to one file.

    Args:
        path: The file.
        parts: Tables of `encode_versions`, of distinct items.
    """
    table = pa.concat_tables(list(parts)).combine_chunks()
    order = np.argsort(numbers(table, 'item'), kind='stable')
    write_arrow(path, table.take(pa.array(order)).combine_chunks())


def _state(column: Column) -> np.ndarray:
    """One number for the ids of each row, `uint64[rows]`."""
    if not isinstance(column, Lists):
        return column.view(np.uint64)
    counts = np.diff(column.offsets)
    place = np.arange(column.offsets[-1]) - np.repeat(column.offsets[:-1], counts)
    hashed = np.concatenate([[np.uint64(0)], np.cumsum(hash64(place, column.values))])
    return hashed[column.offsets[1:]] - hashed[column.offsets[:-1]] + counts.astype(np.uint64)


def _array(column: Column) -> pa.Array:
    if not isinstance(column, Lists):
        return pa.array(column)
    lists = as_lists(column)
    return pa.ListArray.from_arrays(
        pa.array(lists.offsets.astype(np.int32)), pa.array(lists.values)
    )


def _column(column: pa.Array) -> Column:
    if not pa.types.is_list(column.type):
        return column.to_numpy()
    offsets = column.offsets.to_numpy().astype(np.int64)
    return Lists(offsets - offsets[0], column.flatten().to_numpy())
