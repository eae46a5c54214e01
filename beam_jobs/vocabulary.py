"""Vocabularies and bucket boundaries: counted by bucket, merged, looked up by hash.

A value with a line break cannot stand in a vocabulary file; it gets no id and is unseen (0),
in the dataset as at serving.
"""

import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.atomic import read_arrow, write_arrow
from beam_jobs.bucket import codes, values
from beam_jobs.draws import hash_strings
from beam_jobs.summaries import NumberCounts, ValueCounts, sorted_codes


def count_values(table: pa.Table, column: str, rows: np.ndarray) -> ValueCounts:
    """Counts the values of `column` (texts or lists of them) where `rows` is true."""
    if pa.types.is_dictionary(table.schema.field(column).type):
        of_row = codes(table, column)
        found, distinct = of_row[rows & (of_row >= 0)], values(table, column)
    else:
        lists = table.column(column).filter(pa.array(rows)).combine_chunks()
        found, distinct = sorted_codes(pc.list_flatten(lists))
    counts = np.bincount(found, minlength=len(distinct))
    broken = pc.or_(pc.match_substring(distinct, '\n'), pc.match_substring(distinct, '\r'))
    keep = pa.array((counts > 0) & ~broken.to_numpy(zero_copy_only=False))
    distinct, counts = distinct.filter(keep), counts[keep.to_numpy(zero_copy_only=False)]
    order = pc.sort_indices(distinct)
    return ValueCounts(distinct.take(order), counts[order.to_numpy()])


def by_frequency(counts: ValueCounts, min_count: int = 1) -> pa.Array:
    """The values, most frequent first and then by their bytes; the value at n has id n + 1."""
    table = pa.table({'value': counts.values, 'count': counts.counts})
    table = table.filter(pc.greater_equal(table['count'], min_count))
    order = pc.sort_indices(table, [('count', 'descending'), ('value', 'ascending')])
    taken = table['value'].take(order)
    return pa.concat_arrays(taken.chunks) if taken.num_chunks else pa.array([], pa.string())


def write_lines(path: str, vocabulary: pa.Array) -> None:
    """Writes one value a line."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lines = pc.binary_join_element_wise(vocabulary, '', '\n')
    data = lines.buffers()[2]
    with open(path, 'wb') as file:
        if len(lines):
            file.write(data)


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
