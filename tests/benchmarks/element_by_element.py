"""Builds the benchmark's dataset by a plain Beam pipeline with one Python object per row.

This is the straightforward implementation: dictionaries, a group by user, a loop over each
user's rows, a protocol buffer per example. It draws the same random numbers as `beam_jobs`, in
plain Python, so that it makes the same examples.
"""

import bisect
import collections
import datetime
import functools
import os
import struct
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_jobs.config import DatasetConfig
from beam_jobs.rows.random_draws import Stream, hash_strings

_MASK = 2**64 - 1
_HISTORIES = {
    'recent_items': ('item_id', 10, False),
    'recent_categories': ('category', 5, True),
}
_ITEM_FEATURES = ('category', 'price')
_VOCABULARIES = ('user_id', 'age', 'item_id', 'category', 'hour', 'weekday', 'domain_name')


def build(log, config: DatasetConfig, directory: str) -> None:
    """Writes <directory>/<split>-*.tfrecord with the examples of `log`."""
    negatives = round(1 / config.sampling.ctr_ratio)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = (
            pipeline
            | 'Shards' >> beam.Create(log.shards())
            | 'Read' >> beam.FlatMap(lambda shard: _rows(log, shard, config))
        )
        train = rows | 'Train' >> beam.Filter(lambda row: row['split'] == 'train')
        vocabularies = (
            train
            | 'Values'
            >> beam.FlatMap(lambda row: [(name, row[name]) for name in _VOCABULARIES])
            | 'CountValues' >> beam.combiners.Count.PerElement()
            | 'ByFeature' >> beam.Map(lambda pair: (pair[0][0], (-pair[1], pair[0][1])))
            | 'Together' >> beam.GroupByKey()
            | 'Number'
            >> beam.MapTuple(
                lambda name, counts: (
                    name,
                    {value: number for number, (_, value) in enumerate(sorted(counts), 1)},
                )
            )
        )
        prices = (
            train
            | 'Prices' >> beam.Map(lambda row: row['price'])
            | 'AllPrices' >> beam.combiners.ToList()
            | 'Boundaries' >> beam.Map(lambda found: _boundaries(found, 10))
        )
        items = (
            rows
            | 'Items'
            >> beam.Map(lambda row: ((row['domain_name'], row['item_id']), row['day']))
            | 'FirstDays' >> beam.CombinePerKey(min)
            | 'DomainFirst'
            >> beam.MapTuple(lambda domain_item, day: (domain_item[0], (day, domain_item[1])))
            | 'ByDomain' >> beam.GroupByKey()
            | 'SortItems' >> beam.MapTuple(lambda domain, found: (domain, sorted(found)))
        )
        features = (
            rows
            | 'ItemFeatures'
            >> beam.Map(
                lambda row: (row['item_id'], tuple(row[name] for name in _ITEM_FEATURES))
            )
            | 'DistinctFeatures' >> beam.Distinct()
        )
        examples = (
            rows
            | 'ByUser' >> beam.Map(lambda row: (row['user_id'], row))
            | 'GroupByUser' >> beam.GroupByKey()
            | 'Sample'
            >> beam.FlatMap(
                _user_examples,
                config.seed,
                negatives,
                {name: last for name, (_, last) in config.split.days.items()},
                beam.pvalue.AsDict(items),
                beam.pvalue.AsDict(features),
            )
            | 'Encode'
            >> beam.Map(
                _encode, beam.pvalue.AsDict(vocabularies), beam.pvalue.AsSingleton(prices)
            )
        )
        splits = list(config.split.days)
        parts = examples | 'BySplit' >> beam.Partition(
            lambda pair, _: splits.index(pair[0]), len(splits)
        )
        for split, part in zip(splits, parts, strict=True):
            _ = (
                part
                | f'Bytes_{split}' >> beam.Map(lambda pair: pair[1])
                | f'Write_{split}'
                >> beam.io.WriteToTFRecord(
                    os.path.join(directory, split), file_name_suffix='.tfrecord'
                )
            )


def _rows(log, shard: int, config: DatasetConfig) -> Iterator[dict]:
    for batch in log.read(shard):
        for row in batch.rows.to_pylist():
            if not row['user_id'] or not row['item_id'] or row['click'] not in (0, 1):
                continue
            when = datetime.datetime.fromtimestamp(row['timestamp'], datetime.UTC)
            row['hour'], row['weekday'] = str(when.hour), str(when.weekday())
            row['day'] = day = when.date().isoformat()
            row['split'] = next(
                name
                for name, (first, last) in config.split.days.items()
                if first <= day <= last
            )
            yield row


def _boundaries(numbers: list[float], buckets: int) -> list[float]:
    numbers = sorted(numbers)
    cuts = {numbers[int(np.ceil(k * len(numbers) / buckets)) - 1] for k in range(1, buckets)}
    return sorted(cuts - {numbers[0]})


def _user_examples(
    pair, seed: int, negatives: int, last_days: dict, items: dict, features: dict
) -> Iterator[dict]:
    user, rows = pair
    rows = sorted(
        {(row['timestamp'], row['domain_name'], row['item_id']): row for row in rows}.items()
    )
    known = {
        split: {row['item_id'] for _, row in rows if row['day'] <= last}
        for split, last in last_days.items()
    }
    past: list[dict] = []
    for _, row in rows:
        earlier = [other for other in past if other['timestamp'] < row['timestamp']]
        example = dict(row)
        for name, (of, length, in_domain) in _HISTORIES.items():
            example[name] = [
                other[of]
                for other in reversed(earlier)
                if not in_domain or other['domain_name'] == row['domain_name']
            ][:length]
        yield example
        past.append(row)
        key = _mix(
            _hash(user),
            _hash(row['domain_name']),
            _hash(row['item_id']),
            struct.unpack('<Q', struct.pack('<d', row['timestamp']))[0],
        )
        candidates = [item for day, item in items[row['domain_name']] if day <= row['day']]
        for number in range(negatives):
            item = _draw(seed, _mix(key, number), candidates, known[row['split']])
            if item is not None:
                yield (
                    example
                    | dict(zip(_ITEM_FEATURES, features[item], strict=True))
                    | {'item_id': item, 'click': 0}
                )


def _draw(seed: int, key: int, items: list[str], known: set[str]) -> str | None:
    for attempt in range(4):
        item = items[int(_uniform(seed, Stream.NEGATIVE, key, attempt) * len(items))]
        if item not in known:
            return item
    rest = [item for item in items if item not in known]
    if not rest:
        return None
    return rest[int(_uniform(seed, Stream.NEGATIVE_RANK, key, 0) * len(rest))]


def _encode(row: dict, vocabularies: dict, boundaries: list[float]) -> tuple[str, bytes]:
    import tensorflow as tf

    ids = {name: [vocabularies[name].get(row[name], 0)] for name in _VOCABULARIES}
    ids['domain'] = ids.pop('domain_name')
    ids['price'] = [1 + bisect.bisect_right(boundaries, row['price'])]
    for name, (of, _, _) in _HISTORIES.items():
        ids[name] = [vocabularies[of].get(value, 0) for value in row[name]]
    ids['timestamp'], ids['click'] = [row['timestamp']], [row['click']]
    key = _hash(row['user_id'])
    ids['user_key'] = [key - 2**64 if key >= 2**63 else key]
    example = tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(int64_list=tf.train.Int64List(value=values))
                for name, values in ids.items()
            }
        )
    )
    return row['split'], example.SerializeToString()


@functools.lru_cache(1 << 20)
def _hash(text: str) -> int:
    return int(hash_strings(pa.array([text]))[0])


def _mix(*parts: int) -> int:
    mixed = 0
    for part in parts:
        mixed = (mixed + 0x9E3779B97F4A7C15 & _MASK) ^ part
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
        mixed ^= mixed >> 31
    return mixed


def _uniform(seed: int, stream: Stream, *keys: int) -> float:
    return (_mix(seed, int(stream), *keys) >> 11) * 2.0**-53


def count_examples(pattern: str) -> collections.Counter:
    """Counts each example in TFRecord files, independent of the order of its features."""
    import glob

    import tensorflow as tf

    counts: collections.Counter = collections.Counter()
    for record in tf.data.TFRecordDataset(sorted(glob.glob(pattern))).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        counts[
            tuple(
                sorted(
                    (name, tuple(feature.int64_list.value))
                    for name, feature in features.items()
                )
            )
        ] += 1
    return counts
