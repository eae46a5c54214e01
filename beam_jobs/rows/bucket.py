"""Sorts the rows of one bucket of users and drops repeated impressions."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.rows.columns import array, codes, numbers, values
from beam_jobs.rows.mergeable import sorted_codes
from beam_jobs.rows.random_draws import hash64, hash_strings
from mdctr.runs import starts_run


def sort_rows(rows: pa.Table, keep_duplicates: bool = False) -> tuple[pa.Table, int]:
    """Orders rows by (user, timestamp, domain, item) and keeps each impression once.

    Rows that are equal in all four are repeats of one impression. The one that is kept has a
    click if any of them has, and is the first such row by (source, line).

    Args:
        rows: Validated rows of whole users, in any order.
        keep_duplicates: Whether such rows are impressions of their own, and kept. Repeats of
            rows of the dataset that is extended are dropped even so.

    Returns:
        The rows, with every text column dictionary-encoded and user, item and domain coded
        in the order of their bytes; and the number of rows dropped.
    """
    coded = {name: sorted_codes(array(rows, name)) for name in ('user', 'item', 'domain')}
    timestamp = array(rows, 'timestamp').to_numpy()
    keys = [coded['item'][0], coded['domain'][0], timestamp, coded['user'][0]]
    if 'input_split' in rows.column_names:  # a row of several splits is one of each
        keys.insert(0, sorted_codes(array(rows, 'input_split'))[0])
    order = np.lexsort(keys)
    repeats = ~starts_run(*(key[order] for key in keys))
    if repeats.any():
        order = _by_preference(rows, order, repeats)
        if keep_duplicates:
            repeats = _repeats_of_earlier(rows, order, repeats)
        order = order[~repeats]
    columns = {}
    for name in rows.column_names:
        if name in coded:
            row_codes, distinct = coded[name]
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(row_codes[order]), distinct)
        elif name not in ('source', 'line'):
            column = array(rows, name).take(pa.array(order))
            text = pa.types.is_string(column.type)
            columns[name] = column.dictionary_encode() if text else column
    return pa.table(columns), int(repeats.sum())


def with_earlier(rows: pa.Table, earlier: Sequence[pa.Table]) -> pa.Table:
    """Joins new rows with the rows of sorted buckets, marked by the column `earlier`.

    Of repeated impressions `sort_rows` then keeps the earlier one, whose example has been
    written already.
    """
    old = pa.concat_tables([rows.slice(0, 0), *(_unsorted(table, rows) for table in earlier)])
    both = pa.concat_tables([old, rows]).combine_chunks()
    return both.append_column('earlier', pa.array(np.arange(len(both)) < old.num_rows))


def _unsorted(table: pa.Table, rows: pa.Table) -> pa.Table:
    """The rows of a sorted bucket with the columns of `rows`."""
    columns = {
        'source': pa.array([''] * table.num_rows),
        'line': pa.array(np.zeros(table.num_rows, np.int64)),
    }
    for name in rows.column_names:
        if name not in columns:
            column = array(table, name)
            text = pa.types.is_dictionary(column.type)
            columns[name] = column.dictionary_decode() if text else column
    return pa.table(columns).select(rows.column_names).cast(rows.schema)


def row_keys(table: pa.Table) -> np.ndarray:
    """A 64-bit key of each impression, from its user, domain, item and timestamp.

    Of rows that are equal in these, which are adjacent, the second and further ones have keys
    of their own.
    """
    parts = [
        hash_strings(values(table, name))[codes(table, name)]
        for name in ('user', 'domain', 'item')
    ]
    keys = hash64(*parts, numbers(table, 'timestamp').view(np.uint64))
    starts = starts_run(keys)
    if starts.all():
        return keys
    place = np.arange(len(keys))
    place -= np.maximum.accumulate(np.where(starts, place, 0))
    return np.where(place > 0, hash64(keys, place), keys)


def _repeats_of_earlier(rows: pa.Table, order: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """The repeats, `bool[rows]`, that are new though the first of their run is not."""
    if 'earlier' not in rows.column_names:
        return np.zeros(len(repeats), bool)
    earlier = numbers(rows, 'earlier')[order]
    first = earlier[np.flatnonzero(~repeats)][np.cumsum(~repeats) - 1]
    return repeats & first & ~earlier


def _by_preference(rows: pa.Table, order: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """The order with the row that is to be kept at the start of each run of repeats."""
    run = np.cumsum(~repeats) - 1
    several = np.bincount(run)[run] > 1
    places = np.flatnonzero(several)
    repeated = rows.take(pa.array(order[places]))
    # After source and line, the content: files of one name in two directories may tie.
    features = [
        array(repeated, name) for name in repeated.column_names if name.startswith('feature.')
    ]
    texts = [
        pc.binary_join(column, '\n')
        if pa.types.is_list(column.type)
        else column.cast(pa.string())
        for column in features
    ]
    ranks = [sorted_codes(pc.fill_null(column, ''))[0] for column in texts]
    ranks += [
        repeated.column('line').to_numpy(),
        sorted_codes(array(repeated, 'source'))[0],
        1 - repeated.column('click').to_numpy(),
    ]
    if 'earlier' in repeated.column_names:
        ranks.append(~repeated.column('earlier').to_numpy())
    ranks.append(run[places])
    order = order.copy()
    order[places] = order[places][np.lexsort(ranks)]
    return order
