"""One bucket of users, in memory: the rows in their total order, each impression once."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.draws import hash_strings, mix
from beam_jobs.summaries import sorted_codes


def sort_rows(rows: pa.Table) -> tuple[pa.Table, int]:
    """Orders rows by (user, timestamp, domain, item) and keeps each impression once.

    Rows equal in all four are one impression, written more than once: the one that is kept
    has a click if any has, and is the first of those by (source, line).

    Args:
        rows: checked rows of whole users, in any order.

    Returns:
        The rows, with every text column dictionary-encoded and user, item and domain
        coded in the order of their bytes; and how many were dropped.
    """
    coded = {name: sorted_codes(_whole(rows, name)) for name in ('user', 'item', 'domain')}
    timestamp = _whole(rows, 'timestamp').to_numpy()
    keys = [coded['item'][0], coded['domain'][0], timestamp, coded['user'][0]]
    order = np.lexsort(keys)
    repeats = np.ones(len(order), bool)
    repeats[:1] = False
    for key in keys:
        repeats[1:] &= key[order[1:]] == key[order[:-1]]
    if repeats.any():
        order = order[_choose(rows, order, repeats)]
    columns = {}
    for name in rows.column_names:
        if name in coded:
            codes, values = coded[name]
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes[order]), values)
        elif name not in ('source', 'line'):
            column = _whole(rows, name).take(pa.array(order))
            text = pa.types.is_string(column.type)
            columns[name] = column.dictionary_encode() if text else column
    return pa.table(columns), int(repeats.sum())


def with_earlier(rows: pa.Table, earlier: pa.Table) -> pa.Table:
    """New rows together with those of a sorted bucket, told apart by the column `earlier`.

    Of repeated impressions the earlier is kept: its examples are written already.
    """
    columns = {'source': pa.array([''] * earlier.num_rows),
               'line': pa.array(np.zeros(earlier.num_rows, np.int64))}
    for name in rows.column_names:
        if name not in columns:
            column = _whole(earlier, name)
            text = pa.types.is_dictionary(column.type)
            columns[name] = column.dictionary_decode() if text else column
    old = pa.table(columns).select(rows.column_names).cast(rows.schema)
    both = pa.concat_tables([old, rows]).combine_chunks()
    return both.append_column('earlier', pa.array(np.arange(len(both)) < old.num_rows))


def codes(table: pa.Table, name: str) -> np.ndarray:
    """The codes of a dictionary-encoded column; `int32[rows]`, -1 where missing."""
    return pc.fill_null(_whole(table, name).indices, -1).to_numpy(zero_copy_only=False)


def values(table: pa.Table, name: str) -> pa.Array:
    """The distinct values of a dictionary-encoded column, by code."""
    return _whole(table, name).dictionary


def numbers(table: pa.Table, name: str) -> np.ndarray:
    """A column of numbers, NaN where missing."""
    return _whole(table, name).to_numpy(zero_copy_only=False)


def row_keys(table: pa.Table) -> np.ndarray:
    """A 64-bit key of each impression: of its user, timestamp, domain and item."""
    parts = [hash_strings(values(table, name))[codes(table, name)]
             for name in ('user', 'domain', 'item')]
    return mix(*parts, numbers(table, 'timestamp').view(np.uint64))


def _choose(rows: pa.Table, order: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """Of each run of repeats in `order` the place of the one to keep."""
    run = np.cumsum(~repeats) - 1
    several = np.bincount(run)[run] > 1
    places = np.flatnonzero(several)
    few = rows.take(pa.array(order[places]))
    # After source and line, the content: files of one name in two directories may tie.
    rest = [_whole(few, name) for name in few.column_names if name.startswith('feature.')]
    texts = [pc.binary_join(column, '\n') if pa.types.is_list(column.type)
             else column.cast(pa.string()) for column in rest]
    ranks = [sorted_codes(pc.fill_null(column, ''))[0] for column in texts]
    ranks += [few.column('line').to_numpy(), sorted_codes(_whole(few, 'source'))[0],
              1 - few.column('click').to_numpy()]
    if 'earlier' in few.column_names:
        ranks.append(~few.column('earlier').to_numpy())
    ranks.append(run[places])
    best = np.lexsort(ranks)
    first = np.ones(len(best), bool)
    first[1:] = run[places][best[1:]] != run[places][best[:-1]]
    return np.sort(np.concatenate([np.flatnonzero(~several), places[best[first]]]))


def _whole(table: pa.Table, name: str) -> pa.Array:
    return _flat(table.column(name))


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)
