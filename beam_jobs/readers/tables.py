"""Static tables, such as the properties of users or items, and their join with the log."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.rows.columns import array


class KeyedTable:
    """A table whose rows are looked up by a key; of rows with the same key, the first one.

    Args:
        table: Table without nulls in its key column.
        key: Name of its key column, of texts.
    """

    def __init__(self, table: pa.Table, key: str):
        self.columns = {name: array(table, name) for name in table.column_names if name != key}
        keys = array(table, key)
        # Arrow's own lookup would hash the keys again for every batch.
        numbers = _as_numbers(keys)
        if numbers is not None:
            self._order = np.argsort(numbers, kind='stable')
            self._numbers: np.ndarray | None = numbers[self._order]
        else:
            keys = keys.to_pandas()
            first = ~keys.duplicated().to_numpy()
            self._order = np.flatnonzero(first)
            self._numbers, self._index = None, pd.Index(keys[first])

    def rows_of(self, keys: pa.Array) -> pa.Array:
        """The row of each key, `int64[len(keys)]`, null where the table has none."""
        if self._numbers is None:
            place = self._index.get_indexer(pc.fill_null(keys, '').to_pandas())
            return pa.array(self._order[place], mask=(place < 0) | _nulls(keys))
        numbers = _as_numbers(keys)
        if numbers is None:  # some are not integers, or not written as Arrow writes them
            rows = pc.index_in(keys, value_set=pa.array(self._numbers).cast(pa.string()))
            return pa.array(self._order).take(rows)
        place = np.searchsorted(self._numbers, numbers)
        place[place == len(self._numbers)] = 0
        return pa.array(self._order[place], mask=self._numbers[place] != numbers)

    def join(self, keys: pa.Array, wanted: Callable[[str], bool]) -> dict[str, pa.Array]:
        """The columns for which `wanted(name)` holds, a row for each key, null without one."""
        return self.take(self.rows_of(keys), wanted)

    def take(self, rows: pa.Array, wanted: Callable[[str], bool]) -> dict[str, pa.Array]:
        """The columns for which `wanted(name)` holds, of the rows at these places."""
        return {
            name: column.take(rows) for name, column in self.columns.items() if wanted(name)
        }


def _as_numbers(keys: pa.Array) -> np.ndarray | None:
    """The keys as integers; None unless each is written as its integer is."""
    if pa.types.is_integer(keys.type):
        return keys.to_numpy(zero_copy_only=False)
    if keys.null_count:
        return None
    try:
        numbers = keys.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    if pc.all(pc.equal(numbers.cast(pa.string()), keys)).as_py() is False:
        return None
    return numbers.to_numpy()


def _nulls(values: pa.Array) -> np.ndarray:
    return values.is_null().to_numpy(zero_copy_only=False)
