"""Gradient-boosted trees with time-ordered target encoding, as a reference method.

scikit-learn's HistGradientBoostingClassifier is trained on the examples of a dataset. Its
columns are the domain and the ids of all features except sequences. (Ids are ordered by
frequency; those of numbers and statistics are ordered by value.) Since trees make little use of
ten thousand unordered ids, every categorical feature adds four columns: the click rate and the
number of impressions of its value, and of its value together with the domain, both of the past
(target encoding).

Target encoding must not see the row's own click. A training row is therefore encoded with the
training rows of earlier days, and a row of the validation or test split with all training rows.
Time is counted in days, for the reason given in `beam_jobs.features.target_statistics`.

    rate = (clicks + 20 p) / (impressions + 20),   p: click rate of all these rows

Early stopping uses the log loss of the validation split.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mdctr.dataset import Dataset
from mdctr.days import days_of
from mdctr.example_files import open_example_files
from mdctr.manifest import Manifest
from pipeline.compare.score import Scores

_SMOOTHING = 20.0
# Chosen on the validation split of KuaiRand; the result depends little on them.
SETTINGS = {
    'learning_rate': 0.05,
    'max_iter': 500,
    'max_leaf_nodes': 15,
    'min_samples_leaf': 50,
    'l2_regularization': 5.0,
    'max_features': 0.5,
    'n_iter_no_change': 20,
}


class SplitColumns(NamedTuple):
    """The columns of a split, in the order of its files.

    Attributes:
        ids: Ids by feature name, `domain` included, `int64[rows]` each; no sequences.
        click: Labels, 0 or 1, `int64[rows]`.
        user_key: Hashes of the raw users, `int64[rows]`.
        day: Day numbers, `int64[rows]`.
    """

    ids: dict[str, NDArray[Any]]
    click: NDArray[Any]
    user_key: NDArray[Any]
    day: NDArray[Any]


def boosted_trees(dataset: Dataset, split: str, seed: int) -> Scores:
    """Trains boosted trees on the training split and scores another split.

    Args:
        dataset: Dataset with the splits `train` and `validation`.
        split: Name of the split to score.
        seed: Random seed of the columns that each split of a tree may choose from.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    from trainer.keras import tf
    from trainer.models.probability import probability

    manifest = dataset.manifest
    train, validation, scored = (
        _read_split(dataset, name) for name in ('train', 'validation', split)
    )
    columns = [
        column
        for number, column in enumerate(_columns(manifest, train, (validation, scored)))
        if number == 0 or _varies(column[0])
    ]
    train_inputs, validation_inputs, scored_inputs = (
        np.stack(parts, axis=1) for parts in zip(*columns, strict=True)
    )
    trees = HistGradientBoostingClassifier(
        categorical_features=[0] if len(manifest.domains) < 255 else None,
        early_stopping=True,
        random_state=seed,
        **SETTINGS,
    )
    trees.fit(train_inputs, train.click, X_val=validation_inputs, y_val=validation.click)
    score = probability(
        tf.constant(trees.decision_function(scored_inputs)), manifest.keep_negatives
    ).numpy()
    return Scores(
        domain=scored.ids['domain'],
        user_id=scored.ids['user_id'],
        item_id=scored.ids['item_id'],
        user_key=scored.user_key,
        click=scored.click,
        score=score,
    )


def _varies(column: NDArray[Any]) -> bool:
    """Whether a column has two different values, so that a tree can split on it."""
    defined = column[~np.isnan(column)]
    return len(defined) > 0 and bool(defined.min() < defined.max())


def _columns(
    manifest: Manifest, train: SplitColumns, others: tuple[SplitColumns, ...]
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yields each input column of the trees, for the training split and the other splits."""
    splits = (train, *others)
    yield tuple(split.ids['domain'].astype(np.float64) for split in splits)
    for feature in manifest.features:
        if feature.kind == 'sequence':
            continue
        yield tuple(split.ids[feature.name].astype(np.float64) for split in splits)
        if feature.kind == 'categorical':
            yield from _encoded_columns([feature.name], train, others)
            yield from _encoded_columns([feature.name, 'domain'], train, others)


def _encoded_columns(
    keys: list[str], train: SplitColumns, others: tuple[SplitColumns, ...]
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yields the target encoding of a combination of features: its rates, then its counts."""
    values = [np.stack([split.ids[key] for key in keys], axis=1) for split in (train, *others)]
    _, codes = np.unique(np.concatenate(values), axis=0, return_inverse=True)
    parts = np.split(codes.ravel(), np.cumsum([len(value) for value in values])[:-1])
    end_of_time = np.iinfo(np.int64).max
    days = [train.day, *(np.full(len(part), end_of_time) for part in parts[1:])]
    encoded = [
        target_encoding(parts[0], train.day, train.click, part, day)
        for part, day in zip(parts, days, strict=True)
    ]
    yield tuple(rate for rate, _ in encoded)
    yield tuple(count for _, count in encoded)


def target_encoding(
    train_values: NDArray[Any],
    train_days: NDArray[Any],
    train_clicks: NDArray[Any],
    values: NDArray[Any],
    days: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The smoothed click rate and the number of training rows of values before given days.

    Args:
        train_values: Value of each training row, `int[train rows]`.
        train_days: Day of each training row, `int[train rows]`.
        train_clicks: Label of each training row, 0 or 1, `[train rows]`.
        values: Values to encode, `int[rows]`.
        days: Day of each value; only training rows of earlier days count, `int[rows]`.

    Returns:
        Rates, `float64[rows]`, NaN for a value without such a training row; and the numbers of
        such rows, `float64[rows]`.
    """
    order = np.lexsort((train_days, train_values))
    train_values, train_days, train_clicks = (
        column[order] for column in (train_values, train_days, train_clicks)
    )
    cumulative_clicks = np.append(0, np.cumsum(train_clicks))
    begin = np.searchsorted(train_values, values)
    distinct_days, rank = np.unique(np.append(train_days, days), return_inverse=True)
    # One sorted key of value and day, which finds the first row of a value on or after a day.
    num_days = np.int64(len(distinct_days))
    train_keys = train_values * num_days + rank[: len(train_days)]
    end = np.searchsorted(train_keys, values * num_days + rank[len(train_days) :])
    count = (end - begin).astype(np.float64)
    by_day = np.argsort(train_days, kind='stable')
    clicks_by_day = np.append(0, np.cumsum(train_clicks[by_day]))
    earlier_rows = np.searchsorted(train_days[by_day], days)
    prior = clicks_by_day[earlier_rows] / np.maximum(earlier_rows, 1)
    clicks = cumulative_clicks[end] - cumulative_clicks[begin]
    rate = (clicks + _SMOOTHING * prior) / (count + _SMOOTHING)
    return np.where(count > 0, rate, np.nan), count


def _read_split(dataset: Dataset, split: str) -> SplitColumns:
    manifest = dataset.manifest
    names = [feature.name for feature in manifest.features if feature.kind != 'sequence']
    names.append('domain')
    rows = pa.concat_tables(
        table
        for file in open_example_files(dataset.example_files(split))
        for _, table in file.read([*names, 'click', 'user_key', 'timestamp'])
    )
    columns = {name: rows[name].to_numpy().astype(np.int64) for name in rows.column_names}
    timestamps = columns['timestamp'].astype(np.float64)
    return SplitColumns(
        ids={name: columns[name] for name in names},
        click=columns['click'],
        user_key=columns['user_key'],
        day=days_of(timestamps, manifest.config.get('utc_offset', 0.0)),
    )
