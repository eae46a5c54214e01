"""Validates a dataset: its statistics against a schema, its splits against each other."""

from collections.abc import Container, Iterator, Sequence

from beam_jobs.build.statistics import OVERALL
from beam_jobs.config import RANDOM
from beam_jobs.validation.config import DataValidationConfig
from beam_jobs.validation.features import (
    ValueName,
    feature_changes,
    feature_shares,
    value_namer,
)
from beam_jobs.validation.pair import Pair
from beam_jobs.validation.report import write_report
from beam_jobs.validation.result import Change, Validation
from beam_jobs.validation.sample import read_sample
from beam_jobs.validation.schema import (
    make_schema,
    read_statistics,
    schema_anomalies,
    write_schema,
)
from beam_jobs.validation.traffic import (
    ctr_changes,
    day_sizes,
    domain_changes,
    label_changes,
    new_domain_warnings,
    traffic_comparisons,
    user_shares,
)
from mdctr import storage
from mdctr.dataset import Dataset, open_dataset
from mdctr.errors import UserError
from mdctr.manifest import Manifest


def validate_dataset(
    dataset: str | Dataset, output: str, config: DataValidationConfig
) -> Validation:
    """Validates a dataset by the statistics and samples that its build left.

    Every split, and every slice of it by domain, is checked against the schema with TensorFlow
    Data Validation. The test split, and `validation`, are compared with the training split by
    tests of significance, as a whole and domain by domain (docs/validation.md). Writes
    `schema.pbtxt` and `report.html`.

    Args:
        dataset: Directory of the dataset or of a version, or an open dataset.
        output: Directory for what is written, outside of the dataset.
        config: What may change.

    Raises:
        UserError: No dataset, split, statistics, sample or schema, or `output` cannot be
            written.
    """
    storage.check_writable(output)
    dataset = open_dataset(dataset)
    manifest = dataset.manifest
    train = _training_split(manifest, config)
    for split in (train, config.test_split):
        if split not in manifest.splits:
            raise UserError(
                f'The dataset {dataset} has no split {split}; it has '
                f'{", ".join(manifest.splits)}.'
            )
    statistics = {
        split: read_statistics(dataset, split)
        for split, of in manifest.splits.items()
        if sum(of.examples.values())
    }
    if train not in statistics:
        raise UserError(f'The split {train} of the dataset {dataset} has no rows.')
    schema = make_schema(manifest, statistics[train][OVERALL], config.schema_path)
    with storage.reporting_errors(output):
        write_schema(schema, output)
    names = {0: 'unseen', **{domain.id: domain.name for domain in manifest.domains}}
    compared = _compared_splits(statistics, train, config)
    anomalies = [
        f'{split} has no rows.' for split in manifest.splits if split not in statistics
    ]
    for split, slices in statistics.items():
        previous = statistics[train][OVERALL] if split in compared else None
        anomalies += schema_anomalies(split, slices, previous, schema, names)
    pairs = make_pairs(dataset, train, compared, config)
    changes, comparisons = compare(pairs, config, value_namer(dataset))
    anomalies += [change.sentence for change in changes if change.failed]
    warnings = list(_click_warnings(manifest))
    for pair in pairs:
        warnings += new_domain_warnings(pair)
    message = _message(manifest, anomalies, warnings)
    validation = Validation(anomalies, message, warnings, changes, comparisons)
    sampled = {split: slices[OVERALL].num_examples for split, slices in statistics.items()}
    path = storage.join(output, 'report.html')
    with storage.reporting_errors(output):
        write_report(path, manifest, validation, sampled, train, config)
    return validation


def make_pairs(
    dataset: Dataset,
    train: str,
    compared: Sequence[str],
    config: DataValidationConfig,
) -> list[Pair]:
    """Reads the samples of the splits that are compared.

    Args:
        dataset: The dataset.
        train: Name of the training split.
        compared: Names of the splits that are compared with it.
        config: What may change.

    Raises:
        UserError: The dataset has no sample of a split.
    """
    if not compared:
        return []
    manifest, before = dataset.manifest, read_sample(dataset, train)
    return [
        Pair(
            manifest,
            config,
            before,
            read_sample(dataset, split),
            follows(manifest, train, split),
        )
        for split in compared
    ]


def follows(manifest: Manifest, before: str, split: str) -> bool:
    """Whether a split is later than another one, so that days may differ between them.

    Files that were split already (`by: inputs`) may have been split by time or at random: their
    days tell.
    """
    by = manifest.config.get('split', {}).get('by', 'days')
    if by == 'inputs':
        return manifest.splits[before].days[1] < manifest.splits[split].days[0]
    return by not in RANDOM


def compare(
    pairs: Sequence[Pair], config: DataValidationConfig, value_name: ValueName
) -> tuple[list[Change], int]:
    """Compares splits; the false-alarm rate is that of all comparisons together.

    Args:
        pairs: The splits.
        config: What may change.
        value_name: Names a feature's value in the words of the log.

    Returns:
        What changed, and the number of comparisons.
    """
    features = [list(feature_shares(pair)) for pair in pairs]
    of_features = sum(shares.comparisons for of in features for shares in of)
    of_traffic = sum(traffic_comparisons(pair) for pair in pairs)
    # Bonferroni. A comparison fails by two bounds, each of which may be wrong. Features have
    # thousands of values, so half of the rate is kept for the rest.
    errors = [
        config.false_alarm_rate / 2 / (2 * max(comparisons, 1))
        for comparisons in (of_features, of_traffic)
    ]
    changes: list[Change] = []
    for pair, of in zip(pairs, features, strict=True):
        for check in (day_sizes, domain_changes, user_shares, ctr_changes, label_changes):
            changes += check(pair, errors[1])
        for shares in of:
            changes += feature_changes(pair, shares, errors[0], value_name)
    return changes, of_features + of_traffic


def _training_split(manifest: Manifest, config: DataValidationConfig) -> str:
    if config.train_split == 'train' and 'train' not in manifest.splits:
        return _last_before(manifest, config.test_split)
    return config.train_split


def _last_before(manifest: Manifest, test: str) -> str:
    """Of a split by periods, the training split that ends last before the test begins."""
    of = manifest.splits
    before = [
        split
        for split in manifest.known_domains or of
        if test not in of or of[split].days[1] < of[test].days[0]
    ]
    return max(before, key=lambda split: of[split].days[1], default=next(iter(of)))


def _compared_splits(
    splits: Container[str], train: str, config: DataValidationConfig
) -> list[str]:
    names = ['validation', 'test'] if config.test_split == 'test' else [config.test_split]
    return [name for name in names if name in splits and name != train]


def _click_warnings(manifest: Manifest) -> Iterator[str]:
    for split, of in manifest.splits.items():
        for name, rows in of.examples.items():
            clicks = of.clicks.get(name, 0)
            if rows and clicks in (0, rows):
                yield (
                    f'{split}: the domain {name} has {rows:,} impressions and '
                    f'{"no click" if clicks == 0 else "nothing but clicks"}.'
                )


def _message(manifest: Manifest, anomalies: list[str], warnings: list[str]) -> str:
    if anomalies:
        more = f' and {len(anomalies) - 1} more' if len(anomalies) > 1 else ''
        return (
            f'The dataset {manifest.name} is not sound: '
            f'{anomalies[0].rstrip(".")}{more}; see the report.'
        )
    noted = (
        f', with {len(warnings)} warning{"s" if len(warnings) > 1 else ""} in the report'
        if warnings
        else ''
    )
    return f'The dataset {manifest.name} is sound{noted}.'
