"""Vocabularies: counted by bucket, merged, ordered and written.

A vocabulary that grows (of a dataset that is split by periods) is counted by state: state 0
is all training rows that a dataset had before it is extended, states 1 and up are the training
splits in their order.

A value with a line break does not fit into a vocabulary file; it gets no id and counts as
unseen (id 0), in the dataset as at serving.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.rows.columns import array, codes, single_chunk, values
from beam_jobs.rows.mergeable import TableCounts, ValueCounts, sorted_codes
from mdctr.storage import write_bytes


def count_values(table: pa.Table, column: str, rows: np.ndarray) -> ValueCounts:
    """Counts the values of a column in some rows.

    Args:
        table: Rows of a sorted bucket.
        column: A column of texts, or of lists of texts.
        rows: The rows that count, `bool[rows]`.
    """
    if pa.types.is_dictionary(table.schema.field(column).type):
        row_codes = codes(table, column)
        counted, distinct = row_codes[rows & (row_codes >= 0)], values(table, column)
    else:
        lists = single_chunk(table.column(column).filter(pa.array(rows)))
        counted, distinct = sorted_codes(pc.list_flatten(lists))
    counts = np.bincount(counted, minlength=len(distinct))
    keep = pa.array((counts > 0) & ~_has_line_break(distinct))
    distinct, counts = distinct.filter(keep), counts[keep.to_numpy(zero_copy_only=False)]
    order = pc.sort_indices(distinct)
    return ValueCounts(distinct.take(order), counts[order.to_numpy()])


def count_values_by_state(table: pa.Table, column: str, state: np.ndarray) -> TableCounts:
    """Counts the values of a column in each state.

    Args:
        table: Rows of a sorted bucket.
        column: A column of texts, or of lists of texts.
        state: State of each row, `int[rows]`; rows with a negative state do not count.

    Returns:
        A table of `state`, `value` and `rows`, the first two being keys.
    """
    if pa.types.is_dictionary(table.schema.field(column).type):
        value_codes, distinct = codes(table, column), values(table, column)
    else:
        lists = array(table, column)
        value_codes, distinct = sorted_codes(pc.list_flatten(lists))
        state = np.repeat(state, pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
    counted = (state >= 0) & (value_codes >= 0)
    counted[counted] = ~_has_line_break(distinct)[value_codes[counted]]
    states = int(state.max(initial=0)) + 1
    pairs, counts = np.unique(
        value_codes[counted].astype(np.int64) * states + state[counted], return_counts=True
    )
    table = pa.table(
        {
            'state': (pairs % states).astype(np.int16),
            'value': distinct.take(pa.array(pairs // states)),
            'rows': counts.astype(np.int64),
        }
    )
    return TableCounts.merge([TableCounts(table, 2)])


def order_by_state(counts: TableCounts, min_count: int = 1) -> tuple[pa.Array, np.ndarray]:
    """The values in the order in which they become known.

    A value is known from the state on by whose end it has been counted `min_count` times.
    The values of a state are ordered by frequency up to its end, most frequent first, then by
    their bytes; so no later state changes the order of earlier ones.

    Args:
        counts: Result of `count_values_by_state`.
        min_count: Minimum rows of a known value.

    Returns:
        The values, and the state of each, ascending.
    """
    table = counts.table
    code, distinct = sorted_codes(array(table, 'value'))
    state, rows = table['state'].to_numpy(), table['rows'].to_numpy()
    order = np.lexsort((state, code))
    code, state = code[order], state[order]
    total = np.cumsum(rows[order])
    first = np.searchsorted(code, code)  # of the value's own rows
    cumulative = total - (total - rows[order])[first]
    frequent = np.flatnonzero(cumulative >= min_count)
    _, place = np.unique(code[frequent], return_index=True)
    known = frequent[place]
    known = known[np.lexsort((code[known], -cumulative[known], state[known]))]
    return distinct.take(pa.array(code[known])), state[known].astype(np.int64)


def order_by_frequency(counts: ValueCounts, min_count: int = 1) -> pa.Array:
    """The values, most frequent first and then by their bytes."""
    table = pa.table({'value': counts.values, 'count': counts.counts})
    table = table.filter(pc.greater_equal(table['count'], min_count))
    order = pc.sort_indices(table, [('count', 'descending'), ('value', 'ascending')])
    return single_chunk(table['value'].take(order))


def write_vocabulary(path: str, vocabulary: pa.Array) -> None:
    """Writes one value a line, to a new file: an existing one may be shared by datasets."""
    lines = pc.binary_join_element_wise(vocabulary, '', '\n')
    write_bytes(path, lines.buffers()[2].to_pybytes() if len(lines) else b'')


def _has_line_break(texts: pa.Array) -> np.ndarray:
    return pc.or_(pc.match_substring(texts, '\n'), pc.match_substring(texts, '\r')).to_numpy(
        zero_copy_only=False
    )
