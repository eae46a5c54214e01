"""Exports the examples of a dataset in another format."""

import functools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam

from beam_jobs.features.ids import id_lists
from beam_jobs.runner import raise_user_errors, report_user_errors, run_pipeline
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
        storage.check_writable(output)
        errors = f'{output}.errors'
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
                | 'Export' >> beam.MapTuple(_Export(errors))
            )

        try:
            with raise_user_errors(errors):
                run_pipeline(make, beam_args)
        except BaseException:
            storage.remove_directory(output)  # some of the files would look like all of them
            raise
        finally:
            storage.remove_directory(errors)
    return {
        name: sum(split.examples.values()) for name, split in dataset.manifest.splits.items()
    }


@dataclass(frozen=True)
class _Export:
    """Writes one file of examples as a TFRecord file.

    Attributes:
        errors: Directory for the errors that the user can fix.
    """

    errors: str

    def __call__(self, path: str, target: str) -> None:
        with report_user_errors(self.errors, functools.partial(storage.describe_error, target)):
            self._write(path, target)

    def _write(self, path: str, target: str) -> None:
        import tensorflow as tf
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        encoder = RecordBatchToExamplesEncoder()
        file = ExampleFile.open(path)
        with tempfile.TemporaryDirectory() as directory:
            local = os.path.join(directory, 'examples')
            with storage.reporting_errors(local), tf.io.TFRecordWriter(local) as writer:
                for _, rows in file.read(file.columns):
                    for example in encoder.encode(id_lists(rows)):
                        writer.write(example)
            storage.upload_file(local, target)


def _exported_name(path: str) -> str:
    return os.path.splitext(storage.name(path))[0] + '.tfrecord'
