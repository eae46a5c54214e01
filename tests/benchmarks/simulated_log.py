"""A reader for benchmarks that generates random positives instead of reading files."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    HistoryFeature,
    NumericFeature,
    SamplingConfig,
    SplitConfig,
)
from beam_jobs.readers.base import RawBatch, raw_batch

_DOMAINS, _ITEMS, _BATCH = 10, 50_000, 1 << 16
_START, _DAYS = 1_650_240_000, 10  # 2022-04-18
POSITIVES_PER_BUCKET = 125_000


class SimulatedLog:
    """`rows` positives of rows / 10 users and 50,000 items, each item in one of ten domains."""

    def __init__(self, rows: int, seed: int = 1):
        self._rows, self._seed = rows, seed

    def files(self) -> list[str]:
        return []

    def shards(self) -> list[int]:
        return list(range(0, self._rows, _BATCH))

    def read(self, shard: int) -> Iterator[RawBatch]:
        rows = min(_BATCH, self._rows - shard)
        rng = np.random.default_rng([self._seed, shard])
        users = max(1, self._rows // 10)
        # Squared: some users and items are much more active than others.
        user = (rng.random(rows) ** 2 * users).astype(np.int64)
        item = (rng.random(rows) ** 2 * _ITEMS).astype(np.int64)
        yield raw_batch(
            'simulated',
            np.arange(shard, shard + rows) + 1,
            {
                'user_id': _named('user', user),
                'item_id': _named('item', item),
                'timestamp': pa.array(_START + rng.integers(0, _DAYS * 86400, rows)),
                'click': pa.array(np.ones(rows, np.int64)),
                'domain_name': _named('domain', item % _DOMAINS),
                'age': _named('age', user % 7),
                'category': _named('category', item % 211),
                'price': pa.array((item * 7919 % 10_007) / 100),
            },
        )


def benchmark_config(rows: int, buckets: int | None = None) -> DatasetConfig:
    """Four negatives per positive, two histories, every kind of feature except a sequence."""
    return DatasetConfig(
        reader='simulated',
        domain_columns=['domain_name'],
        features=[
            CategoricalFeature(name='user_id', owner='user'),
            CategoricalFeature(name='age', owner='user'),
            CategoricalFeature(name='item_id', owner='item'),
            CategoricalFeature(name='category', owner='item'),
            NumericFeature(name='price', owner='item', buckets=10),
            HistoryFeature(name='recent_items', feature='item_id', max_length=10),
            HistoryFeature(
                name='recent_categories', feature='category', scope='domain', max_length=5
            ),
            CategoricalFeature(name='hour'),
            CategoricalFeature(name='weekday'),
        ],
        split=SplitConfig(
            by='days',
            days={'train': ('2022-04-18', '2022-04-25'), 'test': ('2022-04-26', '2022-04-27')},
        ),
        sampling=SamplingConfig(ctr_ratio=0.25),
        user_buckets=buckets or max(1, round(rows / POSITIVES_PER_BUCKET)),
    )


def _named(name: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(name, pa.array(numbers).cast(pa.string()), '')
