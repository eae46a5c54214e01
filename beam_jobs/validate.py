"""Is a dataset sound? Its statistics against a schema, and its splits against each other."""

import os
import re
from collections.abc import Iterator

from beam_jobs.dataset import Manifest, read_manifest, read_vocabulary
from beam_jobs.errors import UserError
from beam_jobs.judge_config import ValidateConfig
from beam_jobs.statistics import OVERALL, statistics_path
from beam_jobs.validate_report import write_report
from beam_jobs.validation import Drift, Validation

# What no threshold judges unless `feature_drift` names it: of a split by days one hour or
# weekday follows another, and users come and go.
NATURAL_DRIFT = ('hour', 'weekday', 'user_id')


def validate_dataset(dataset: str, output: str, config: ValidateConfig) -> Validation:
    """Validates a dataset by the statistics that its build left.

    Every split, and every slice of it by domain, is held against the schema; the test split
    is compared with the training split, as a whole and domain by domain. Writes
    `schema.pbtxt` and `report.html`.

    Args:
        dataset: its directory.
        output: the directory for what is written.
        config: the thresholds.

    Raises:
        UserError: no dataset, split, statistics or schema.
    """
    manifest = read_manifest(dataset)
    train = config.train
    if train == 'train' and train not in manifest.splits:
        train = _last_before(manifest, config.test)
    for split in (train, config.test):
        if split not in manifest.splits:
            raise UserError(f'The dataset {dataset} has no split {split}; it has '
                            f'{", ".join(manifest.splits)}.')
    statistics = {split: _read_statistics(dataset, split) for split, of in
                  manifest.splits.items() if sum(of.examples.values())}
    if train not in statistics:
        raise UserError(f'The split {train} of the dataset {dataset} has no rows.')
    schema = _make_schema(manifest, statistics[train][OVERALL], config)
    os.makedirs(output, exist_ok=True)
    _write_schema(schema, output)
    names = {0: 'unseen', **{domain.id: domain.name for domain in manifest.domains}}
    anomalies = [f'{split} has no rows.' for split in manifest.splits
                 if split not in statistics]
    drift: list[Drift] = []
    for split, slices in statistics.items():
        previous = statistics[train] if split == config.test != train else {}
        anomalies += _judge(split, train, slices, previous, schema, names, config, drift)
    drift = [_named(dataset, manifest, names, found) for found in drift]
    anomalies += [_drift_sentence(found, train, config.test) for found in drift
                  if found.threshold is not None and found.distance > found.threshold]
    warnings = list(_click_warnings(manifest, train, config))
    validation = Validation(anomalies, _message(manifest, anomalies, warnings), warnings, drift)
    sampled = {split: slices[OVERALL].num_examples for split, slices in statistics.items()}
    write_report(os.path.join(output, 'report.html'), manifest, validation, sampled,
                 (train, config.test))
    return validation


def _last_before(manifest: Manifest, test: str) -> str:
    """Of a split by periods, the training split that ends last before the test begins."""
    of = manifest.splits
    before = [split for split in manifest.known_domains or of
              if test not in of or of[split].days[1] < of[test].days[0]]
    return max(before, key=lambda split: of[split].days[1], default=next(iter(of)))


def _read_statistics(dataset: str, split: str) -> dict:
    """`DatasetFeatureStatistics` by the name of their slice."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    path = statistics_path(dataset, split)
    try:
        with open(path, 'rb') as file:
            read = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read())
        return {OVERALL: read.datasets[0], **{of.name: of for of in read.datasets}}
    except FileNotFoundError:
        raise UserError(f'The dataset {dataset} has no statistics of the split {split}: build '
                        'it again.') from None
    except (ValueError, IndexError, _decode_error()):
        raise UserError(f'{path} holds no statistics: build the dataset again.') from None


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    return DecodeError


def _make_schema(manifest: Manifest, statistics, config: ValidateConfig):
    """The schema that is given, or what training looks like within the manifest's bounds."""
    from beam_jobs.data_validation import tfdv

    if config.schema is not None:
        schema = _read_schema(config.schema)
    else:
        schema = tfdv.infer_schema(_only(statistics), max_string_domain_size=0)
        del schema.string_domain[:]
        sizes = {feature.name: feature.size for feature in manifest.features}
        sizes['domain'] = manifest.num_domains
        for feature in schema.feature:
            if feature.name in sizes:
                feature.int_domain.min = 0
                feature.int_domain.max = sizes[feature.name] - 1
                feature.int_domain.is_categorical = True
            elif feature.name == 'click':
                feature.int_domain.min, feature.int_domain.max = 0, 1
    kinds = {feature.name for feature in manifest.features} | {'domain'}
    for feature in schema.feature:
        # Every distance is measured; the ones that are not judged can never pass 1.
        if feature.name in kinds and not feature.HasField('drift_comparator'):
            threshold = _threshold(manifest, feature.name, config)
            feature.drift_comparator.infinity_norm.threshold = (
                1.0 if threshold is None else threshold)
    return schema


def _read_schema(path: str):
    from google.protobuf.text_format import ParseError

    from beam_jobs.data_validation import tfdv

    try:
        return tfdv.load_schema_text(path)
    except (OSError, ParseError, _not_found()) as error:
        raise UserError(f'The schema {path} cannot be read '
                        f'({str(error).splitlines()[0]}).') from None


def _not_found() -> type[Exception]:
    import tensorflow as tf

    return tf.errors.OpError


def _write_schema(schema, output: str) -> None:
    from google.protobuf import text_format

    with open(os.path.join(output, 'schema.pbtxt'), 'w', encoding='utf-8') as file:
        file.write(text_format.MessageToString(schema, as_utf8=True))


def _threshold(manifest: Manifest, name: str, config: ValidateConfig) -> float | None:
    if name in config.feature_drift:
        return config.feature_drift[name]
    if name == 'domain':
        return config.domain_drift
    columns = {feature['name']: feature.get('column') or feature['name']
               for feature in manifest.config.get('features', [])}
    return None if columns.get(name, name) in NATURAL_DRIFT else config.drift


def _judge(split: str, train: str, slices: dict, previous: dict, schema,
           names: dict[int, str], config: ValidateConfig,
           drift: list[Drift]) -> Iterator[str]:
    """Sentences on what breaks the schema; distances are added to `drift`."""
    from beam_jobs.data_validation import tfdv

    said = set()
    for key, of in slices.items():
        before = previous.get(key)
        few = min(of.num_examples, before.num_examples if before else 0) < config.min_rows
        if key != OVERALL and few:
            before = None
        found = tfdv.validate_statistics(
            _only(of), schema, previous_statistics=_only(before) if before else None)
        domain = None if key == OVERALL else names.get(int(key.removeprefix('domain_')), key)
        reasons = {name: list(info.reason) for name, info in found.anomaly_info.items()}
        for measured in found.drift_skew_info:
            name = measured.path.step[0]
            if name == 'domain' and domain is not None:
                continue
            threshold = measured.drift_measurements[0].threshold
            drift.append(Drift(
                name, domain, measured.drift_measurements[0].value,
                threshold if threshold < 1 else None, _worst_value(reasons.get(name, []))))
        for name, several in reasons.items():
            for reason in several:
                sentence = f'{name}: {reason.description}'
                if _is_drift(reason) or sentence in said:
                    continue
                said.add(sentence)
                where = split if domain is None else f'{split}, domain {domain}'
                yield f'{where}: {sentence}'


def _is_drift(reason) -> bool:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    return reason.type == anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH


def _worst_value(reasons: list) -> str | None:
    for reason in reasons:
        found = re.search(r'maximum difference is: (\S+)', reason.description)
        if _is_drift(reason) and found:
            return found.group(1)
    return None


def _named(dataset: str, manifest: Manifest, names: dict[int, str], drift: Drift) -> Drift:
    """The same with the value in the log's own words in the place of its id."""
    if drift.value is None or not drift.value.isdigit():
        return drift
    number = int(drift.value)
    value = f'the id {number}'
    if drift.feature == 'domain':
        value = names.get(number, value)
    elif number == 0:
        value = 'unseen or missing values'
    elif any(feature.name == drift.feature for feature in manifest.features):
        feature = manifest.feature(drift.feature)
        if feature.kind == 'numeric':
            value = _bucket(feature.boundaries, number)
        else:
            known = read_vocabulary(dataset, feature.vocabulary)
            value = known[number - 1] if number <= len(known) else value
    return Drift(drift.feature, drift.domain, drift.distance, drift.threshold, value)


def _bucket(boundaries: list[float], number: int) -> str:
    low = f' from {boundaries[number - 2]:g}' if number >= 2 else ''
    high = f' below {boundaries[number - 1]:g}' if number <= len(boundaries) else ''
    return f'numbers{low}{high}'


def _drift_sentence(drift: Drift, train: str, test: str) -> str:
    where = '' if drift.domain is None else f', domain {drift.domain}'
    which = '' if drift.value is None else f' of {drift.value}'
    return (f'{test}{where}: {drift.feature} drifted from {train}: the share{which} differs by '
            f'{drift.distance:.3f}, and {drift.threshold:g} is allowed.')


def _click_warnings(manifest: Manifest, train: str, config: ValidateConfig) -> Iterator[str]:
    for split, of in manifest.splits.items():
        for name, rows in of.examples.items():
            clicks = of.clicks.get(name, 0)
            if rows and clicks in (0, rows):
                yield (f'{split}: the domain {name} has {rows:,} impressions and '
                       f'{"no click" if clicks == 0 else "nothing but clicks"}.')
    first, second = manifest.splits[train], manifest.splits[config.test]
    for name in first.examples:
        rows = [of.examples.get(name, 0) for of in (first, second)]
        clicks = [of.clicks.get(name, 0) for of in (first, second)]
        if config.ctr_drift is None or min(rows) < config.min_rows or not all(clicks):
            continue
        before, after = (a / b for a, b in zip(clicks, rows, strict=True))
        if max(before, after) / min(before, after) > config.ctr_drift:
            yield (f'{config.test}: the CTR of the domain {name} is {after:.4f}, and '
                   f'{before:.4f} in {train}.')


def _message(manifest: Manifest, anomalies: list[str], warnings: list[str]) -> str:
    if anomalies:
        more = f' and {len(anomalies) - 1} more' if len(anomalies) > 1 else ''
        return (f'The dataset {manifest.name} is not sound: '
                f'{anomalies[0].rstrip(".")}{more}; see the report.')
    noted = (f', with {len(warnings)} warning{"s" if len(warnings) > 1 else ""} in the report'
             if warnings else '')
    return f'The dataset {manifest.name} is sound{noted}.'


def _only(dataset):
    """A list of one, under the name that TFDV validates."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    listed = statistics_pb2.DatasetFeatureStatisticsList()
    listed.datasets.add().CopyFrom(dataset)
    listed.datasets[0].name = OVERALL
    return listed
