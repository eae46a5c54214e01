"""Gradient-boosted trees with time-ordered target encoding: a reference from outside.

scikit-learn's HistGradientBoostingClassifier on the examples of a dataset. The trees see what
a model sees of a row but its sequences: the ids of its features and its domain as they are
(ids are in the order of frequency, those of numbers and statistics in the order of the
numbers), and, of every categorical feature and of every one together with the domain, two
columns more, the click rate and the number of impressions of its value in the past (target
encoding). A tree could make little of ten thousand ids without them.

Target encoding is ordered by time, or a row's own click would be in its features: what a
training row sees of a value is of the training rows of earlier days; rows of the validation
and the test split see all training rows. By day, not by the second, for the reason that
`beam_jobs.past_counts` gives.

    rate = (clicks + 20 p) / (impressions + 20),   p the rate of all these rows

Iterations stop by the log loss of the validation split.
"""

import glob
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from beam_jobs.dataset import Manifest, read_manifest, split_directory
from beam_jobs.rows import days_of
from pipeline.compare.score import Scores

_SMOOTHING = 20.0
_BATCH = 8192
# Chosen on KuaiRand's validation split, where they matter little.
SETTINGS = {'learning_rate': 0.05, 'max_iter': 500, 'max_leaf_nodes': 15,
            'min_samples_leaf': 50, 'l2_regularization': 5.0, 'max_features': 0.5,
            'n_iter_no_change': 20}


class Rows(NamedTuple):
    """A split: its columns of ids by feature name, `domain` among them, and what else is read
    of a row; in the order of the files."""

    ids: dict[str, np.ndarray]
    click: np.ndarray
    user_key: np.ndarray
    day: np.ndarray


def boosted_trees(dataset: str, split: str, seed: int) -> Scores:
    """Fits trees to the training split and scores another.

    Args:
        dataset: the dataset's directory.
        split: the split that is scored.
        seed: of the columns that each split of a tree may choose from.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    from trainer.keras import tf
    from trainer.probability import probability

    manifest = read_manifest(dataset)
    names = ('train', 'validation', split)
    train, validation, scored = (_read(dataset, manifest, name) for name in names)
    coded = [columns for number, columns in enumerate(_columns(
        manifest, train, (validation, scored))) if number == 0 or _varies(columns[0])]
    fitted, checked, wanted = (np.stack(of, axis=1) for of in zip(*coded, strict=True))
    trees = HistGradientBoostingClassifier(
        categorical_features=[0] if len(manifest.domains) < 255 else None,
        early_stopping=True, random_state=seed, **SETTINGS)
    trees.fit(fitted, train.click, X_val=checked, y_val=validation.click)
    score = probability(tf.constant(trees.decision_function(wanted)),
                        manifest.keep_negatives).numpy()
    return Scores(domain=scored.ids['domain'], user_id=scored.ids['user_id'],
                  item_id=scored.ids['item_id'], user_key=scored.user_key,
                  click=scored.click, score=score)


def _varies(column: np.ndarray) -> bool:
    """Whether there is anything to split at."""
    there = column[~np.isnan(column)]
    return len(there) > 0 and there.min() < there.max()


def _columns(manifest: Manifest, train: Rows,
             others: tuple[Rows, ...]) -> Iterator[tuple[np.ndarray, ...]]:
    """Columns of numbers: of the training rows, then of each other split's."""
    yield tuple(rows.ids['domain'].astype(np.float64) for rows in (train, *others))
    for feature in manifest.features:
        if feature.kind == 'sequence':
            continue
        yield tuple(rows.ids[feature.name].astype(np.float64) for rows in (train, *others))
        if feature.kind == 'categorical':
            for keys in ([feature.name], [feature.name, 'domain']):
                yield from _encoded(keys, train, others)


def _encoded(keys: list[str], train: Rows,
             others: tuple[Rows, ...]) -> Iterator[tuple[np.ndarray, ...]]:
    values = [np.stack([rows.ids[key] for key in keys], axis=1) for rows in (train, *others)]
    _, code = np.unique(np.concatenate(values), axis=0, return_inverse=True)
    first, *rest = np.split(code.ravel(), np.cumsum([len(value) for value in values])[:-1])
    after = np.iinfo(np.int64).max
    days = [train.day, *(np.full(len(codes), after) for codes in rest)]
    known = [past(first, train.day, train.click, codes, day)
             for codes, day in zip((first, *rest), days, strict=True)]
    yield tuple(rate for rate, _ in known)
    yield tuple(count for _, count in known)


def past(code: np.ndarray, day: np.ndarray, click: np.ndarray, wanted: np.ndarray,
         before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smoothed click rate and the number of rows of a value on the days before one.

    Args:
        code: the value of each training row.
        day: its day.
        click: 0 or 1.
        wanted: values to encode.
        before: the day of each, of which and of later ones nothing is known.

    Returns:
        The rate, NaN where the value has no such row, and the number.
    """
    order = np.lexsort((day, code))
    code, day, clicks = code[order], day[order], np.append(0, np.cumsum(click[order]))
    begin = np.searchsorted(code, wanted)
    days, rank = np.unique(np.append(day, before), return_inverse=True)
    place = code * np.int64(len(days)) + rank[:len(day)]
    end = np.searchsorted(place, wanted * np.int64(len(days)) + rank[len(day):])
    count = (end - begin).astype(np.float64)
    by_day = np.argsort(day, kind='stable')
    all_clicks = np.append(0, np.cumsum(click[order][by_day]))
    rows = np.searchsorted(day[by_day], before)
    prior = all_clicks[rows] / np.maximum(rows, 1)
    rate = (clicks[end] - clicks[begin] + _SMOOTHING * prior) / (count + _SMOOTHING)
    return np.where(count > 0, rate, np.nan), count


def _read(dataset: str, manifest: Manifest, split: str) -> Rows:
    """Every row of a split."""
    from trainer.keras import tf

    names = [feature.name for feature in manifest.features if feature.kind != 'sequence']
    others = ['domain', 'click', 'user_key', 'timestamp']
    wanted = {name: tf.io.FixedLenFeature([], tf.int64) for name in [*names, *others]}
    files = sorted(glob.glob(os.path.join(split_directory(dataset, split), '*.tfrecord')))
    parts: dict[str, list[Any]] = {name: [] for name in wanted}
    for batch in tf.data.TFRecordDataset(files).batch(_BATCH):
        for name, values in tf.io.parse_example(batch, wanted).items():
            parts[name].append(values.numpy())
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    day = days_of(columns['timestamp'].astype(np.float64),
                  manifest.config.get('utc_offset', 0.0))
    return Rows({name: columns[name] for name in [*names, 'domain']}, columns['click'],
                columns['user_key'], day)
