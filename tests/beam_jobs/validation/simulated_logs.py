"""Simulated logs of six days, sound and with faults in the test day, as datasets."""

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from beam_jobs.build.statistics import (
    DOMAIN_ROWS,
    SAMPLE_ROWS,
    _SmallestHashes,
    compute_statistics,
    statistics_path,
    write_sample,
)
from mdctr.manifest import Domain, Feature, Manifest, Rows, Split, write_manifest

DOMAINS = {'large': 0.6, 'rest': 0.285, 'middle': 0.1, 'small': 0.01, 'tiny': 0.005}
PLACES = {
    None: 'all rows',
    'large': '60 %',
    'middle': '10 %',
    'small': '1 %',
    'tiny': '0.5 %',
}
FIRST = pd.Timestamp('2026-03-02', tz='UTC').timestamp()
DAYS, VALIDATION, TEST = 6, 4, 5  # four days of training, one of validation, one of test
DAYS_OF_SPLITS = {
    'train': ('2026-03-02', '2026-03-05'),
    'validation': ('2026-03-06', '2026-03-06'),
    'test': ('2026-03-07', '2026-03-07'),
}


def make_log(rows: int, seed: int, drift: float = 0.05) -> pd.DataFrame:
    """Draws a log of six days.

    Args:
        rows: Number of rows.
        seed: Random seed.
        drift: Standard deviation by which a day's click rate differs, in log-odds.
    """
    rng = np.random.default_rng(seed)
    users, items = max(rows // 20, 20), max(rows // 60, 30)
    user = np.minimum(rng.zipf(2.5, rows) * rng.integers(1, users, rows) % users, users - 1)
    item = (items * rng.random(rows) ** 2).astype(int)
    day = rng.integers(0, DAYS, rows)
    domain = rng.choice(list(DOMAINS), rows, p=list(DOMAINS.values()))
    quality = rng.normal(0, 0.8, items)
    logit = -1.5 + quality[item] + rng.normal(0, drift, DAYS)[day]
    tags = np.array(['news', 'sport', 'film', 'food', 'travel'])
    return pd.DataFrame(
        {
            'user_id': [f'u{n}' for n in user],
            'item_id': [f'i{n}' for n in item],
            'domain': domain,
            'timestamp': int(FIRST) + 86400 * day + rng.integers(0, 86400, rows),
            'click': (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int),
            'gender': np.where(user % 3 == 0, 'f', 'm'),
            'price': np.round(np.exp(rng.normal(2, 1, items))[item], 2),
            'tags': [[] if n % 50 == 0 else tags[[n % 5, (n + 1) % 5]].tolist() for n in item],
        }
    )


def is_test(log: pd.DataFrame) -> pd.Series:
    """The rows of the test day."""
    return log['timestamp'] >= FIRST + 86400 * TEST


def no_price(log: pd.DataFrame, where: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """The price is missing on half of the rows."""
    log.loc[where & (rng.random(len(log)) < 0.5), 'price'] = np.nan
    return log


def cents(log: pd.DataFrame, where: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """The price is in cents."""
    log.loc[where, 'price'] *= 100
    return log


def one_item(log: pd.DataFrame, where: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Half of the rows are of one item."""
    log.loc[where & (rng.random(len(log)) < 0.5), 'item_id'] = 'i7'
    return log


def other_ids(log: pd.DataFrame, where: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Items are written with another prefix."""
    log.loc[where, 'item_id'] = 'item-' + log.loc[where, 'item_id']
    return log


def no_tags(log: pd.DataFrame, where: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """The tags are missing."""
    log['tags'] = [
        [] if is_in else tags for is_in, tags in zip(where, log['tags'], strict=True)
    ]
    return log


def inverted(log: pd.DataFrame, where: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Labels are inverted."""
    log.loc[where, 'click'] = 1 - log.loc[where, 'click']
    return log


def one_user(log: pd.DataFrame, where: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Half of the rows are of one user."""
    log.loc[where & (rng.random(len(log)) < 0.5), 'user_id'] = 'u7'
    return log


def lost_rows(log: pd.DataFrame, where: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Nine of ten rows are lost (all rows), or all rows of the domain."""
    is_all = where.sum() == is_test(log).sum()
    return log[~where | (rng.random(len(log)) < (0.1 if is_all else 0.0))]


FAULTS: dict[str, Callable[[pd.DataFrame, np.ndarray, np.random.Generator], pd.DataFrame]] = {
    'a number is missing on half of the rows': no_price,
    'a number is in another unit (times 100)': cents,
    'half of the rows are of one item': one_item,
    'all items are written differently': other_ids,
    'lists are empty': no_tags,
    'labels are inverted': inverted,
    'half of the rows are of one user': one_user,
    'rows are lost: nine of ten, or the whole domain': lost_rows,
}


class LogDataset:
    """A log encoded as a build encodes it: by the vocabularies and quantiles of training.

    Args:
        log: See `make_log`.
        by: How the manifest says that the log was split.
    """

    def __init__(self, log: pd.DataFrame, by: str = 'days'):
        log = log.sort_values(['user_id', 'timestamp'], kind='stable').reset_index(drop=True)
        day = ((log['timestamp'] - FIRST) // 86400).to_numpy().astype(int)
        self._split = np.where(day < VALIDATION, 'train', 'validation')
        self._split[day == TEST] = 'test'
        train = self._split == 'train'
        self._features: list[Feature] = []
        self.vocabularies: dict[str, list[str]] = {}
        self._columns: dict[str, Any] = {}
        for name, owner in (('user_id', 'user'), ('item_id', 'item'), ('gender', 'user')):
            self._add_categorical(log[name], name, owner, train)
        hours = pd.Series(np.where(log['timestamp'] // 3600 % 24 < 12, 'am', 'pm'))
        self._add_categorical(hours, 'hour', 'context', train)
        self._add_numeric(log['price'].to_numpy(), 'price', train)
        known = sorted({tag for tags in log['tags'][train] for tag in tags})
        self.vocabularies['tags'] = known
        self._features.append(Feature('tags', 'sequence', 'item', len(known) + 1, 'tags', 3))
        self._columns['tags'] = [
            [known.index(tag) + 1 if tag in known else 0 for tag in tags]
            for tags in log['tags']
        ]
        self._add_history(log)
        earlier = log.assign(day=day).groupby(['item_id', 'day']).size().unstack(fill_value=0)
        before = earlier.cumsum(axis=1).shift(axis=1, fill_value=0).stack()
        count = before.reindex(pd.MultiIndex.from_arrays([log['item_id'], day])).to_numpy()
        self._add_numeric(count.astype(float), 'item_count', train)
        domains = log['domain'][train].value_counts().index.tolist()
        self.domains = [Domain(n, name) for n, name in enumerate(domains, start=1)]
        ids = {name: n for n, name in enumerate(domains, start=1)}
        self._columns['domain'] = log['domain'].map(ids).fillna(0).astype(int).to_numpy()
        self._columns['timestamp'] = log['timestamp'].to_numpy()
        self._columns['click'] = log['click'].to_numpy()
        self._columns['user_key'] = pd.factorize(log['user_id'])[0]
        self._names, self._by = log['domain'].to_numpy(), by

    def write(self, directory: str, statistics: bool = True) -> str:
        """Writes the dataset, less its examples.

        Args:
            directory: Directory of the dataset.
            statistics: Whether to compute TFDV's statistics, which takes seconds.
        """
        for name, lines in self.vocabularies.items():
            path = os.path.join(directory, 'vocabulary', f'{name}.txt')
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'w') as file:
                file.writelines(line + '\n' for line in lines)
        splits = {}
        for split in dict.fromkeys(['train', 'validation', 'test']):
            mine = np.flatnonzero(self._split == split)
            sample = _SmallestHashes(SAMPLE_ROWS, DOMAIN_ROWS)
            batch = _record_batch({k: _take(v, mine) for k, v in self._columns.items()})
            table = sample.extract_output(sample.add_input([], batch))
            os.makedirs(os.path.join(directory, 'statistics'), exist_ok=True)
            write_sample(directory, split, table)
            if statistics:
                with open(statistics_path(directory, split), 'wb') as file:
                    file.write(_statistics(table))
            days = DAYS_OF_SPLITS[split]
            names, clicks = self._names[mine], self._columns['click'][mine]
            counts = dict(zip(*np.unique(names, return_counts=True), strict=True))
            splits[split] = Split(
                days,
                {str(name): int(rows) for name, rows in counts.items()},
                {str(name): int(clicks[names == name].sum()) for name in counts},
            )
        config = {
            'split': {'by': self._by},
            'features': [
                {'name': feature.name, 'kind': _KINDS.get(feature.name, feature.kind)}
                for feature in self._features
            ],
        }
        manifest = Manifest(
            'simulated',
            'none',
            self._features,
            self.domains,
            splits,
            Rows(0, 0, 0, 0, 0, 0, 0),
            config=config,
        )
        write_manifest(directory, manifest)
        return directory

    def _add_categorical(
        self, column: pd.Series, name: str, owner: Any, train: np.ndarray
    ) -> None:
        known = column[train].value_counts().index.tolist()
        ids = {value: n for n, value in enumerate(known, start=1)}
        self.vocabularies[name] = known
        self._features.append(Feature(name, 'categorical', owner, len(known) + 1, name))
        self._columns[name] = column.map(ids).fillna(0).astype(int).to_numpy()

    def _add_numeric(self, values: np.ndarray, name: str, train: np.ndarray) -> None:
        of_train = values[train & ~np.isnan(values)]
        boundaries = np.unique(np.quantile(of_train, np.linspace(0, 1, 11)[1:-1])).tolist()
        self._features.append(
            Feature(name, 'numeric', 'item', len(boundaries) + 2, boundaries=boundaries)
        )
        ids = 1 + np.searchsorted(boundaries, values, side='right')
        self._columns[name] = np.where(np.isnan(values), 0, ids)

    def _add_history(self, log: pd.DataFrame) -> None:
        histories, items = [], self._columns['item_id'].tolist()
        last, user = [], None
        for row_user, item, click in zip(log['user_id'], items, log['click'], strict=True):
            if row_user != user:
                user, last = row_user, []
            histories.append(last[:5])
            if click:
                last = [item, *last]
        size = len(self.vocabularies['item_id']) + 1
        self._features.append(
            Feature('clicked', 'sequence', 'user', size, 'item_id', 5, history=True)
        )
        self._columns['clicked'] = histories


_KINDS = {'item_count': 'statistic', 'clicked': 'history'}


def _take(values: Any, rows: np.ndarray) -> Any:
    return [values[row] for row in rows] if isinstance(values, list) else values[rows]


def _record_batch(columns: dict[str, Any]) -> pa.RecordBatch:
    arrays = [
        pa.array(values, pa.list_(pa.int64()))
        if isinstance(values, list)
        else pa.ListArray.from_arrays(
            pa.array(np.arange(len(values) + 1), pa.int32()), pa.array(values, pa.int64())
        )
        for values in columns.values()
    ]
    return pa.RecordBatch.from_arrays(arrays, list(columns))


class _Rows:
    """A table that is hashed by its content."""

    def __init__(self, table: pa.Table):
        self.table = table
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        self._bytes = sink.getvalue().to_pybytes()

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rows) and self._bytes == other._bytes


def _statistics(table: pa.Table) -> bytes:
    return _statistics_of(_Rows(table))


@functools.lru_cache(maxsize=4)
def _statistics_of(rows: _Rows) -> bytes:
    """The training rows of logs that differ in the test day are the same."""
    return compute_statistics(rows.table).SerializeToString()
