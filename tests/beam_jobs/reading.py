"""Reads everything that a reader gives, as a test wants to look at it."""

import pickle

import pandas as pd
import pyarrow as pa

from beam_jobs.config import DatasetConfig
from beam_jobs.options import from_mapping
from beam_jobs.readers import make_reader
from beam_jobs.readers.base import REJECTED


def reader_of(name: str, inputs=None, options=None, cache='/nowhere', columns=('user_id',)):
    """A reader as a configuration makes it; `columns` are the features beside the item."""
    names = list(dict.fromkeys(['user_id', 'item_id', *columns]))
    config = from_mapping(DatasetConfig, {
        'reader': name, 'inputs': inputs, 'options': options or {}, 'domain': [names[-1]],
        'features': [{'name': name} for name in names],
        'split': {'by': 'days', 'days': {'train': ['2020-01-01', '2020-01-02']}}}, 'test')
    return make_reader(config, cache)


def read_all(reader) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of all shards and the rejected ones, each read by a reader that was pickled."""
    rows, rejected = [], []
    for shard in reader.shards():
        worker = pickle.loads(pickle.dumps(reader))
        for batch in worker.read(pickle.loads(pickle.dumps(shard))):
            assert batch.rejected.schema.equals(REJECTED)
            rows.append(pa.Table.from_batches([batch.rows]).to_pandas())
            rejected.append(pa.Table.from_batches([batch.rejected]).to_pandas())
    return (pd.concat(rows, ignore_index=True).sort_values(['source', 'line'],
                                                           ignore_index=True),
            pd.concat(rejected, ignore_index=True).sort_values(['source', 'line'],
                                                               ignore_index=True))
