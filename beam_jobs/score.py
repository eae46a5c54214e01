"""The Beam job that scores a split with an exported model.

    example files -> batches of examples -> RunInference -> a file of scores for each
"""

import gc
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.utils.shared import Shared

from beam_jobs.dataset import Manifest, split_directory
from beam_jobs.errors import UserError
from beam_jobs.model_inputs import ModelInputs, single
from beam_jobs.runner import run

Batch = tuple[tuple[str, int], pa.RecordBatch]


def score_split(dataset: str, manifest: Manifest, split: str, model: str, output: str,
                batch_size: int, beam_args: Sequence[str] = (),
                domains: Sequence[str] | None = None) -> None:
    """Scores every row of a split and writes them as Parquet files into `output`.

    Columns: `user_key`, `domain`, `click` (int64) and `score` (float32), in the order of the
    example files, file by file.

    Args:
        dataset: its directory.
        manifest: its manifest.
        split: whose rows.
        model: the directory of the exported model.
        output: a directory, which the files are written into.
        batch_size: rows at a time.
        beam_args: ordinary Beam options; without `--runner` it runs in this process.
        domains: the names of those whose rows are scored; all when absent.

    Raises:
        UserError: a missing split or model.
    """
    if split not in manifest.splits:
        raise UserError(f'The dataset {dataset} has no split {split}; it has '
                        f'{", ".join(manifest.splits)}.')
    inputs = ModelInputs.of(dataset, manifest, model)
    folder = split_directory(dataset, split)
    files = sorted(name for name in os.listdir(folder) if name.endswith('.tfrecord'))
    os.makedirs(output, exist_ok=True)
    ids = None if domains is None else [
        domain.id for domain in manifest.domains if domain.name in domains]

    def make(pipeline: beam.Pipeline) -> None:
        _ = (pipeline
             | 'Files' >> beam.Create([os.path.join(folder, name) for name in files])
             | 'SpreadFiles' >> beam.Reshuffle()
             | 'ReadBatches' >> beam.ParDo(_ReadBatches(batch_size, ids))
             | 'Score' >> RunInference(KeyedModelHandler(SavedModelHandler(model, inputs)))
             | 'KeyByFile' >> beam.MapTuple(lambda key, scores: (key[0], (key[1], scores)))
             | 'ScoresByFile' >> beam.GroupByKey()
             | 'WriteScores' >> beam.ParDo(_WriteScores(output)))

    run(make, beam_args)
    _release_models()


def _release_models() -> None:
    """Lets go of a model that Beam keeps in this process in case that it is wanted again.

    A TensorFlow function that is still there when the interpreter ends complains of that.
    """
    Shared().acquire(set)  # Beam keeps what was acquired last
    gc.collect()


def read_scores(directory: str) -> dict[str, np.ndarray]:
    """The columns of all files of scores in `directory`, in the order of their names."""
    names = sorted(name for name in os.listdir(directory) if name.endswith('.parquet'))
    tables = [pq.read_table(os.path.join(directory, name)) for name in names]
    if not tables:
        return {name: np.zeros(0, np.float32 if name == 'score' else np.int64)
                for name in ('user_key', 'domain', 'click', 'score')}
    whole = pa.concat_tables(tables)
    return {name: whole[name].to_numpy() for name in whole.column_names}


class SavedModelHandler(ModelHandler[pa.RecordBatch, pa.Table, Any]):
    """Scores record batches of examples with a SavedModel; a batch is one inference."""

    def __init__(self, path: str, inputs: ModelInputs):
        super().__init__()
        self._path, self._inputs = path, inputs

    def load_model(self) -> Any:
        import tensorflow as tf

        # The whole model: its signature alone does not keep its tables alive.
        return tf.saved_model.load(self._path)

    def run_inference(self, batch: Sequence[pa.RecordBatch], model: Any,
                      inference_args: dict | None = None) -> Iterable[pa.Table]:
        import tensorflow as tf

        signature = model.signatures[self._inputs.signature]
        wanted = signature.structured_input_signature[1]
        for examples in batch:
            values = self._inputs(examples)
            scores = signature(**{name: tf.constant(values[name], spec.dtype)
                                  for name, spec in wanted.items()})['score'].numpy()
            yield pa.table({
                **{name: single(examples, name) for name in ('user_key', 'domain', 'click')},
                'score': scores.reshape(-1).astype(np.float32)})

    def batch_elements_kwargs(self) -> dict[str, Any]:
        return {'min_batch_size': 1, 'max_batch_size': 1}  # an element is a batch already

    def model_copies(self) -> int:
        return 1

    def share_model_across_processes(self) -> bool:
        return False

    def get_metrics_namespace(self) -> str:
        return 'mdctr_scores_' + hashlib.sha256(self._path.encode()).hexdigest()[:8]


class _ReadBatches(beam.DoFn):
    """Reads a file of examples as record batches, with the file and their number as key.

    Of the domains with the ids `domains` alone, if it is not None.
    """

    def __init__(self, batch_size: int, domains: list[int] | None):
        self._batch_size, self._domains = batch_size, domains

    def process(self, path: str) -> Iterator[Batch]:
        import tensorflow as tf
        from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

        decoder = ExamplesToRecordBatchDecoder()
        records = tf.data.TFRecordDataset(path, buffer_size=1 << 22).batch(self._batch_size)
        for number, some in enumerate(records.as_numpy_iterator()):
            batch = decoder.DecodeBatch(some.tolist())
            if self._domains is not None:
                batch = batch.filter(pa.array(np.isin(single(batch, 'domain'), self._domains)))
            if batch.num_rows:
                yield (os.path.basename(path), number), batch


class _WriteScores(beam.DoFn):
    """Writes the scores of one file of examples, complete or not at all."""

    def __init__(self, output: str):
        self._output = output

    def process(self, scored: tuple[str, Iterable[tuple[int, pa.Table]]]) -> None:
        name, parts = scored
        ordered = [table for _, table in sorted(parts, key=lambda part: part[0])]
        path = os.path.join(self._output, name.removesuffix('.tfrecord') + '.parquet')
        pq.write_table(pa.concat_tables(ordered), path + '.tmp')
        os.replace(path + '.tmp', path)
