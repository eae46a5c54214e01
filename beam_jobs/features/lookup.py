"""Looks up the ids of texts in a vocabulary."""

import functools
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.arrow_files import fetch_arrow, write_arrow
from beam_jobs.rows.random_draws import hash_strings
from mdctr import storage


class Lookup:
    """Ids of texts, by hash, from a mapped file that all workers of a machine share.

    Time and memory of a lookup depend on the number of texts, not on the vocabulary's size.
    """

    def __init__(self, path: str):
        """Opens the file that `Lookup.write` wrote."""
        table = fetch_arrow(path)
        self._hashes = table['hash'].to_numpy()
        self._ids = table['id'].to_numpy()
        self._values = table['value']
        self._salt = int(table.schema.metadata[b'salt'])

    @staticmethod
    def write(path: str, vocabulary: pa.Array) -> None:
        """Writes the lookup in which the value at index n has the id n + 1."""
        salt = 0
        hashes = hash_strings(vocabulary, salt)
        while len(np.unique(hashes)) < len(hashes):  # once in a million large vocabularies
            salt += 1
            hashes = hash_strings(vocabulary, salt)
        order = np.argsort(hashes)
        table = pa.table(
            {'hash': hashes[order], 'id': order + 1, 'value': vocabulary.take(pa.array(order))}
        )
        write_arrow(path, table.replace_schema_metadata({'salt': str(salt)}))

    def ids(self, texts: pa.Array) -> np.ndarray:
        """The id of each text, 0 if the vocabulary does not contain it; `int64[len(texts)]`."""
        if not len(texts) or not len(self._ids):
            return np.zeros(len(texts), np.int64)
        hashes = hash_strings(texts, self._salt)
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        candidates = np.flatnonzero(self._hashes[place] == hashes)
        stored = self._values.take(pa.array(place[candidates]))
        equal = pc.equal(stored, texts.take(pa.array(candidates))).to_numpy()
        ids = np.zeros(len(texts), np.int64)
        ids[candidates] = np.where(equal, self._ids[place[candidates]], 0)
        return ids


def open_lookup(path: str) -> Lookup:
    """The lookup in a file, kept open in this process."""
    if storage.is_url(path):
        return _open_lookup(path)
    file = os.stat(path)  # a later build in this process may have the same path
    return _open_lookup(path, file.st_ino, file.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _open_lookup(path: str, *_: int) -> Lookup:
    return Lookup(path)
