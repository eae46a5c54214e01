"""Exports the examples of a dataset in another format."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam

from beam_jobs.features.ids import id_lists
from beam_jobs.runner import run_pipeline
from mdctr import storage
from mdctr.dataset import Dataset
from mdctr.errors import UserError
from mdctr.example_files import ExampleFile


def export_tfrecords(
    dataset: Dataset, output: str, beam_args: Sequence[str] = ()
) -> dict[str, int]:
    """Writes the examples as tf.Examples in TFRecord files, `<split>/part-*.tfrecord`.

    A tf.Example has an `int64_list` for each column of the example files.

    Args:
        dataset: Dataset to export.
        output: Directory or URL to write to, empty or not there yet.
        beam_args: Ordinary Beam options; without `--runner`, the job runs in this process.

    Returns:
        The number of examples of each split, by its name.

    Raises:
        UserError: There are files in `output`, or it cannot be written.
    """
    output = storage.resolve(output)
    with storage.reporting_errors(output):
        if storage.list_directory(output):
            raise UserError(f'{output} contains files: name an empty or new directory.')
        files = [
            (path, storage.join(output, split, _exported_name(path)))
            for split in dataset.manifest.splits
            for path in dataset.example_files(split)
        ]

        def make(pipeline: beam.Pipeline) -> None:
            _ = (
                pipeline
                | 'Files' >> beam.Create(files)
                | 'SpreadFiles' >> beam.Reshuffle()
                | 'Export' >> beam.MapTuple(_Export())
            )

        run_pipeline(make, beam_args)
    return {
        name: sum(split.examples.values()) for name, split in dataset.manifest.splits.items()
    }


@dataclass(frozen=True)
class _Export:
    """Writes one file of examples as a TFRecord file."""

    def __call__(self, path: str, target: str) -> None:
        import tensorflow as tf
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        encoder = RecordBatchToExamplesEncoder()
        file = ExampleFile.open(path)
        with tempfile.TemporaryDirectory() as directory:
            local = os.path.join(directory, 'examples')
            with tf.io.TFRecordWriter(local) as writer:
                for _, rows in file.read(file.columns):
                    for example in encoder.encode(id_lists(rows)):
                        writer.write(example)
            storage.upload_file(local, target)


def _exported_name(path: str) -> str:
    return os.path.splitext(storage.name(path))[0] + '.tfrecord'
