"""Checks the statistics of a dataset against a schema, with TensorFlow Data Validation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from beam_jobs.build.statistics import OVERALL, statistics_path
from beam_jobs.validation.result import part_of
from mdctr import storage
from mdctr.dataset import Dataset
from mdctr.errors import UserError
from mdctr.manifest import Manifest

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2


def read_statistics(
    dataset: Dataset, split: str
) -> 'dict[str, statistics_pb2.DatasetFeatureStatistics]':
    """Reads the statistics of a split, by the name of their slice.

    Args:
        dataset: The dataset.
        split: Name of the split.

    Raises:
        UserError: The dataset has no statistics of the split, or they have changed since it was
            built.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    content = dataset.read_file(statistics_path('', split))
    read = statistics_pb2.DatasetFeatureStatisticsList.FromString(content)
    return {OVERALL: read.datasets[0], **{of.name: of for of in read.datasets}}


def make_schema(
    manifest: Manifest,
    statistics: 'statistics_pb2.DatasetFeatureStatistics',
    path: str | None,
) -> 'schema_pb2.Schema':
    """Reads the schema, or infers one from the training split.

    An inferred schema has the bounds of the manifest. It does not say how many rows have a
    value, which TFDV would infer from the sample as an exact rule: the shares of missing values
    are compared by tests.

    Args:
        manifest: Manifest of the dataset.
        statistics: Statistics of the training split.
        path: Path of a schema, None to infer one.

    Raises:
        UserError: The schema cannot be read.
    """
    from beam_jobs.quiet_tfdv import tfdv

    if path is not None:
        return _read_schema(path)
    schema = tfdv.infer_schema(_only(statistics), max_string_domain_size=0)
    del schema.string_domain[:]
    sizes = {feature.name: feature.size for feature in manifest.features}
    sizes['domain'] = manifest.num_domains
    sequences = {feature.name for feature in manifest.features if feature.kind == 'sequence'}
    histories = {feature.name for feature in manifest.features if feature.history}
    for feature in schema.feature:
        if feature.name in sizes:
            feature.int_domain.min = 0
            feature.int_domain.max = sizes[feature.name] - 1
            feature.int_domain.is_categorical = True
        elif feature.name == 'click':
            feature.int_domain.min, feature.int_domain.max = 0, 1
        if feature.name in sequences:
            feature.ClearField('shape')
            feature.ClearField('value_count')
            feature.presence.min_fraction = 0.0
            feature.presence.min_count = 0 if feature.name in histories else 1
    return schema


def write_schema(schema: 'schema_pb2.Schema', output: str) -> None:
    """Writes `schema.pbtxt` to a directory."""
    from google.protobuf import text_format

    text = text_format.MessageToString(schema, as_utf8=True)
    storage.write_text(storage.join(output, 'schema.pbtxt'), text)


def schema_anomalies(
    split: str,
    slices: 'dict[str, statistics_pb2.DatasetFeatureStatistics]',
    previous: 'statistics_pb2.DatasetFeatureStatistics | None',
    schema: 'schema_pb2.Schema',
    names: dict[int, str],
) -> Iterator[str]:
    """Sentences on what in a split does not match the schema.

    Args:
        split: Name of the split.
        slices: Statistics by name of the slice.
        previous: Statistics of the training split, for drift comparators of the schema; None
            if the split is not compared with it.
        schema: The schema.
        names: Names of the domains by id.
    """
    from beam_jobs.quiet_tfdv import tfdv

    said = set()
    for key, of in slices.items():
        found = tfdv.validate_statistics(
            _only(of),
            schema,
            previous_statistics=_only(previous) if previous and key == OVERALL else None,
        )
        domain = None if key == OVERALL else names.get(int(key.removeprefix('domain_')), key)
        where = part_of(split, domain)
        for name, info in found.anomaly_info.items():
            for reason in info.reason:
                sentence = f'{name}: {reason.description}'
                if sentence not in said:
                    said.add(sentence)
                    yield f'{where}: {sentence}'


def _read_schema(path: str) -> 'schema_pb2.Schema':
    import tensorflow as tf
    from google.protobuf.text_format import ParseError

    from beam_jobs.quiet_tfdv import tfdv

    try:
        return tfdv.load_schema_text(path)
    except (OSError, ParseError, tf.errors.OpError) as error:
        raise UserError(
            f'The schema {path} cannot be read ({str(error).splitlines()[0]}).'
        ) from None


def _only(
    dataset: 'statistics_pb2.DatasetFeatureStatistics',
) -> 'statistics_pb2.DatasetFeatureStatisticsList':
    """A list of one, under the name that TFDV validates."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    listed = statistics_pb2.DatasetFeatureStatisticsList()
    listed.datasets.add().CopyFrom(dataset)
    listed.datasets[0].name = OVERALL
    return listed
