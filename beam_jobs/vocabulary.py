"""Vocabularies and bucket boundaries: counted by bucket, merged, looked up by hash.

A vocabulary that grows (of a dataset that is split by periods) is counted by state: 0 is all
training that a dataset had before it is extended, 1 and up are the training splits in their
order.

A value with a line break cannot stand in a vocabulary file; it gets no id and is unseen (0),
in the dataset as at serving.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.atomic import Temporary, read_arrow, write_arrow
from beam_jobs.bucket import codes, values
from beam_jobs.draws import hash_strings
from beam_jobs.summaries import NumberCounts, TableCounts, ValueCounts, sorted_codes


def count_values(table: pa.Table, column: str, rows: np.ndarray) -> ValueCounts:
    """Counts the values of `column` (texts or lists of them) where `rows` is true."""
    if pa.types.is_dictionary(table.schema.field(column).type):
        of_row = codes(table, column)
        found, distinct = of_row[rows & (of_row >= 0)], values(table, column)
    else:
        lists = table.column(column).filter(pa.array(rows)).combine_chunks()
        found, distinct = sorted_codes(pc.list_flatten(lists))
    counts = np.bincount(found, minlength=len(distinct))
    keep = pa.array((counts > 0) & ~_broken(distinct))
    distinct, counts = distinct.filter(keep), counts[keep.to_numpy(zero_copy_only=False)]
    order = pc.sort_indices(distinct)
    return ValueCounts(distinct.take(order), counts[order.to_numpy()])


def count_values_by_state(table: pa.Table, column: str, state: np.ndarray) -> TableCounts:
    """Counts the values of `column` in each state; rows whose state is below 0 are left out.

    Returns:
        A table of `state`, `value` and `rows`, the first two being keys.
    """
    if pa.types.is_dictionary(table.schema.field(column).type):
        found, distinct = codes(table, column), values(table, column)
    else:
        lists = table.column(column).combine_chunks()
        found, distinct = sorted_codes(pc.list_flatten(lists))
        state = np.repeat(state, pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
    counted = (state >= 0) & (found >= 0)
    counted[counted] = ~_broken(distinct)[found[counted]]
    states = int(state.max(initial=0)) + 1
    pairs, counts = np.unique(found[counted].astype(np.int64) * states + state[counted],
                              return_counts=True)
    return TableCounts.merge([TableCounts(pa.table({
        'state': (pairs % states).astype(np.int16),
        'value': distinct.take(pa.array(pairs // states)),
        'rows': counts.astype(np.int64)}), 2)])


def by_state(counts: TableCounts, min_count: int = 1) -> tuple[pa.Array, np.ndarray]:
    """The values in the order in which they become known.

    A value is known from the state on by whose end it has been counted `min_count` times.
    Values of a state come most frequent (up to its end) first, then by their bytes: so no
    later state changes the order of earlier ones.

    Args:
        counts: of `count_values_by_state`.
        min_count: the fewest rows of a known value.

    Returns:
        The values, and the state of each, ascending.
    """
    table = counts.table
    code, distinct = sorted_codes(_whole(table, 'value'))
    state, rows = table['state'].to_numpy(), table['rows'].to_numpy()
    order = np.lexsort((state, code))
    code, state = code[order], state[order]
    total = np.cumsum(rows[order])
    first = np.searchsorted(code, code)  # of the value's own rows
    upto = total - (total - rows[order])[first]
    enough = np.flatnonzero(upto >= min_count)
    _, place = np.unique(code[enough], return_index=True)
    known = enough[place]
    known = known[np.lexsort((code[known], -upto[known], state[known]))]
    return distinct.take(pa.array(code[known])), state[known].astype(np.int64)


def by_frequency(counts: ValueCounts, min_count: int = 1) -> pa.Array:
    """The values, most frequent first and then by their bytes; the value at n has id n + 1."""
    table = pa.table({'value': counts.values, 'count': counts.counts})
    table = table.filter(pc.greater_equal(table['count'], min_count))
    order = pc.sort_indices(table, [('count', 'descending'), ('value', 'ascending')])
    taken = table['value'].take(order)
    return pa.concat_arrays(taken.chunks) if taken.num_chunks else pa.array([], pa.string())


def write_lines(path: str, vocabulary: pa.Array) -> None:
    """Writes one value a line, in a file of its own: one that is there may be shared."""
    lines = pc.binary_join_element_wise(vocabulary, '', '\n')
    file = Temporary(path)
    try:
        if len(lines):
            file.file.write(lines.buffers()[2])
    except BaseException:
        file.close(keep=False)
        raise
    file.close(keep=True)


def _broken(distinct: pa.Array) -> np.ndarray:
    """Which texts have a line break."""
    return pc.or_(pc.match_substring(distinct, '\n'), pc.match_substring(
        distinct, '\r')).to_numpy(zero_copy_only=False)


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table[name]
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


class Lookup:
    """Ids of texts, from a file whose pages are shared by all workers of a machine.

    A lookup takes time and memory in proportion to what is looked up, not to the vocabulary.
    """

    def __init__(self, path: str):
        """Opens the file that `Lookup.write` wrote."""
        table = read_arrow(path)
        self._hashes = table['hash'].to_numpy()
        self._ids = table['id'].to_numpy()
        self._values = table['value']
        self._salt = int(table.schema.metadata[b'salt'])

    @staticmethod
    def write(path: str, vocabulary: pa.Array) -> None:
        """Writes the lookup that gives the value at n the id n + 1."""
        salt = 0
        hashes = hash_strings(vocabulary, salt)
        while len(np.unique(hashes)) < len(hashes):  # once in a million large vocabularies
            salt += 1
            hashes = hash_strings(vocabulary, salt)
        order = np.argsort(hashes)
        table = pa.table({'hash': hashes[order], 'id': order + 1,
                          'value': vocabulary.take(pa.array(order))})
        write_arrow(path, table.replace_schema_metadata({'salt': str(salt)}))

    def ids(self, texts: pa.Array) -> np.ndarray:
        """The id of each text, 0 for those that are not there; `int64[len(texts)]`."""
        if not len(texts) or not len(self._ids):
            return np.zeros(len(texts), np.int64)
        hashes = hash_strings(texts, self._salt)
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        found = np.flatnonzero(self._hashes[place] == hashes)
        there = self._values.take(pa.array(place[found]))
        same = pc.equal(there, texts.take(pa.array(found))).to_numpy()
        ids = np.zeros(len(texts), np.int64)
        ids[found] = np.where(same, self._ids[place[found]], 0)
        return ids


def boundaries(counts: NumberCounts, buckets: int) -> list[float]:
    """Boundaries that cut the counted numbers into about equal parts.

    Boundary i is the least number v such that at least i/buckets of all are at or below v.
    Boundaries that are equal are one, and the least number of all is none, since no number
    would be below it.
    """
    if not len(counts):
        return []
    upto = np.cumsum(counts.counts)
    wanted = np.arange(1, buckets) / buckets * upto[-1]
    place = np.searchsorted(upto, np.round(wanted, 6), side='left')
    return [float(number) for number in np.unique(counts.numbers()[place[place > 0]])]


def bucketize(numbers: np.ndarray, at: list[float]) -> np.ndarray:
    """0 for NaN, else 1 + the number of boundaries at or below; `int64[len(numbers)]`."""
    ids = 1 + np.searchsorted(np.asarray(at, np.float64), numbers, side='right')
    return np.where(np.isnan(numbers), 0, ids)
