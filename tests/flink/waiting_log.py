"""A generated log whose reading can be paused, so that a failure can be injected there."""

import itertools
import os
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    HistoryFeature,
    NumericFeature,
    SamplingConfig,
    SplitConfig,
)
from beam_jobs.readers.base import RawBatch, raw_batch

_START = 1_650_240_000  # 2022-04-18
_PATIENCE = 240  # seconds


class WaitingLog:
    """The same random clicks of 1,000 users on 1,000 items in ten domains every time."""

    def __init__(self, rows: int, shards: int, gate: str | None = None):
        """Args:
        rows: of the log.
        shards: that it is read in.
        gate: a directory; reading a shard leaves a file there, and waits for `open`.
        """
        self._rows, self._shards, self._gate = rows, shards, gate

    def files(self) -> list[str]:
        return []

    def shards(self) -> list[tuple[int, int]]:
        ends = np.linspace(0, self._rows, self._shards + 1).astype(int)
        return [(int(a), int(b)) for a, b in itertools.pairwise(ends)]

    def read(self, shard: tuple[int, int]) -> Iterator[RawBatch]:
        begin, end = shard
        if self._gate:
            self._wait(f'shard-{begin}')
        rng = np.random.default_rng([7, begin])
        rows = end - begin
        item = rng.integers(0, 1000, rows)
        click = rng.integers(0, 2, rows)
        click[0] = 7  # rejected
        yield raw_batch(
            'drawn',
            np.arange(begin, end) + 1,
            {
                'user_id': pa.array([f'user {n}' for n in rng.integers(0, 1000, rows)]),
                'item_id': pa.array([f'item {n}' for n in item]),
                'timestamp': pa.array(
                    (_START + rng.integers(0, 7 * 86400, rows)).astype(float)
                ),
                'click': pa.array(click),
                'scene': pa.array([f'scene {n % 10}' for n in item]),
                'price': pa.array(item * 7919 % 1009 / 10),
            },
        )

    def _wait(self, name: str) -> None:
        with open(os.path.join(self._gate, name), 'w'):
            pass
        deadline = time.monotonic() + _PATIENCE
        while not os.path.exists(os.path.join(self._gate, 'open')):
            if time.monotonic() > deadline:
                raise TimeoutError('nobody opened the gate')
            time.sleep(0.1)


def dataset_config(buckets: int) -> DatasetConfig:
    """Settings that use all stages: sampled negatives, a history, every kind of vocabulary."""
    return DatasetConfig(
        reader='drawn',
        domain_columns=['scene'],
        user_buckets=buckets,
        seed=5,
        features=[
            CategoricalFeature(name='user_id', owner='user'),
            CategoricalFeature(name='item_id', owner='item'),
            NumericFeature(name='price', owner='item', buckets=5),
            HistoryFeature(name='clicks', feature='item_id', max_length=5),
            CategoricalFeature(name='hour'),
        ],
        sampling=SamplingConfig(ctr_ratio=(0.2, 0.5)),
        split=SplitConfig(by='time', fractions=(0.7, 0.1, 0.2)),
    )
