"""Reads everything that a reader gives, as a test wants to look at it."""

import pickle
from pathlib import Path

import pandas as pd
import pyarrow as pa

from beam_jobs.config import DatasetConfig
from beam_jobs.readers import make_reader
from beam_jobs.readers.base import REJECTED
from beam_jobs.rows.validate_rows import validate_rows
from mdctr.settings import parse

DAYS = {'by': 'days', 'days': {'train': ['2020-01-01', '2020-01-02']}}


def reader_of(
    name: str, inputs=None, options=None, cache='/nowhere', columns=('user_id',), split=DAYS
):
    """A reader as a configuration makes it; `columns` are the features beside the item."""
    names = list(dict.fromkeys(['user_id', 'item_id', *columns]))
    config = parse(
        DatasetConfig,
        {
            'reader': name,
            'inputs': inputs,
            'reader_options': options or {},
            'domain_columns': [names[-1]],
            'features': [{'name': name} for name in names],
            'split': split,
        },
        'test',
    )
    return make_reader(config, cache)


def config_of(path: Path, features: list | None = None, **options) -> DatasetConfig:
    """A configuration of the reader `generic` with the domain `shop`."""
    return parse(
        DatasetConfig,
        {
            'reader': 'generic',
            'inputs': [str(path)],
            'reader_options': options,
            'domain_columns': ['shop'],
            'features': [
                {'name': 'user_id', 'owner': 'user'},
                {'name': 'item_id', 'owner': 'item'},
                *(features or []),
            ],
            'split': {'by': 'time', 'fractions': [0.5, 0.25, 0.25]},
        },
        'test',
    )


def read_and_validate(config: DatasetConfig) -> tuple[list[dict], dict[int, str]]:
    """The validated rows of a log, and the reason against each rejected line."""
    reader = make_reader(config, '/nowhere')
    rows, rejected = [], {}
    for shard in reader.shards():
        for batch in pickle.loads(pickle.dumps(reader)).read(shard):
            valid, invalid = validate_rows(batch.rows, config)
            rows += valid.to_pylist()
            for part in (batch.rejected, invalid):
                rejected |= dict(
                    zip(part['line'].to_pylist(), part['reason'].to_pylist(), strict=True)
                )
    return sorted(rows, key=lambda row: (row['source'], row['line'])), rejected


def read_all(reader) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of all shards and the rejected ones, each read by a reader that was pickled."""
    rows, rejected = [], []
    for shard in reader.shards():
        worker = pickle.loads(pickle.dumps(reader))
        for batch in worker.read(pickle.loads(pickle.dumps(shard))):
            assert batch.rejected.schema.equals(REJECTED)
            rows.append(pa.Table.from_batches([batch.rows]).to_pandas())
            rejected.append(pa.Table.from_batches([batch.rejected]).to_pandas())
    return (
        pd.concat(rows, ignore_index=True).sort_values(['source', 'line'], ignore_index=True),
        pd.concat(rejected, ignore_index=True).sort_values(
            ['source', 'line'], ignore_index=True
        ),
    )
