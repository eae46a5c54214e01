"""The Beam job that scores a split with an exported model.

example files -> batches of examples -> RunInference -> a file of scores for each
"""

import functools
import gc
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.utils.shared import Shared

from beam_jobs.evaluation.model_inputs import ModelInputs, single
from beam_jobs.runner import raise_user_errors, report_user_errors, run_pipeline
from mdctr import storage
from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.example_files import ExampleFile
from mdctr.exported_model import load_saved_model
from mdctr.manifest import Manifest

Batch = tuple[tuple[str, int], pa.RecordBatch]
_checked: dict[str, Any] = {}  # the model that `scoring_problem` has loaded, by directory


def score_split(
    dataset: str,
    manifest: Manifest,
    split: str,
    model: str,
    output: str,
    batch_size: int,
    beam_args: Sequence[str] = (),
    domains: Sequence[str] | None = None,
) -> None:
    """Scores every row of a split and writes them as Parquet files into `output`.

    Columns: `user_key`, `domain`, `click` (int64) and `score` (float32), in the order of the
    example files, file by file.

    Args:
        dataset: Directory of the dataset.
        manifest: Its manifest.
        split: Split whose rows are scored.
        model: Directory of the exported model.
        output: Directory that the files are written to.
        batch_size: Rows that are scored at a time.
        beam_args: Ordinary Beam options; without `--runner`, the job runs in this process.
        domains: Names of the domains whose rows are scored; all by default.

    Raises:
        UserError: The split or the model does not exist.
    """
    if split not in manifest.splits:
        raise UserError(
            f'The dataset {dataset} has no split {split}; it has {", ".join(manifest.splits)}.'
        )
    inputs = ModelInputs.of(dataset, manifest, model)
    files = open_dataset(dataset).example_files(split)
    ids = (
        None
        if domains is None
        else [domain.id for domain in manifest.domains if domain.name in domains]
    )

    errors = f'{output}.errors'
    storage.remove_directory(errors)

    def make(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | 'Files' >> beam.Create(files)
            | 'SpreadFiles' >> beam.Reshuffle()
            | 'ReadBatches' >> beam.ParDo(_ReadBatches(inputs.columns, batch_size, ids))
            | 'Score' >> RunInference(KeyedModelHandler(SavedModelHandler(model, inputs)))
            | 'KeyByFile' >> beam.MapTuple(lambda key, scores: (key[0], (key[1], scores)))
            | 'ScoresByFile' >> beam.GroupByKey()
            | 'WriteScores' >> beam.ParDo(_WriteScores(output, errors))
        )

    try:
        with raise_user_errors(errors):
            run_pipeline(make, beam_args)
    finally:
        storage.remove_directory(errors)
    _release_models()


def scoring_problem(dataset: str, manifest: Manifest, model: str) -> str | None:
    """Why a pushed model cannot score a dataset, in a few words; None if it can.

    A model that can is kept for the next `score_split`, which need not load it again in this
    process.

    Args:
        dataset: Directory of the dataset.
        manifest: Its manifest.
        model: Directory of the pushed model.
    """
    import tensorflow as tf

    with storage.local_directory(model) as local:
        try:
            inputs = ModelInputs.of(dataset, manifest, model)
            loaded = tf.saved_model.load(local)
        except UserError as error:
            return str(error).rstrip('.')
        except Exception as error:  # TensorFlow raises many types for a damaged SavedModel
            lines = str(error).strip().splitlines()
            return lines[0][:200] if lines else type(error).__name__
    if inputs.signature not in loaded.signatures:
        return f'no signature {inputs.signature}'
    _checked.clear()
    _checked[model] = loaded
    return None


def _release_models() -> None:
    """Releases the model that Beam caches in this process for reuse.

    A TensorFlow function that still exists when the interpreter exits logs an error.
    """
    _checked.clear()
    Shared().acquire(set)  # Beam caches the object that was acquired last
    gc.collect()


def read_scores(directory: str) -> dict[str, np.ndarray]:
    """The columns of all files of scores in `directory`, in the order of their names."""
    tables = []
    for name in storage.list_directory(directory):
        if name.endswith('.parquet'):
            with storage.open_file(storage.join(directory, name)) as file:
                tables.append(pq.read_table(file))
    if not tables:
        return {
            name: np.zeros(0, np.float32 if name == 'score' else np.int64)
            for name in ('user_key', 'domain', 'click', 'score')
        }
    whole = pa.concat_tables(tables)
    return {name: whole[name].to_numpy() for name in whole.column_names}


class SavedModelHandler(ModelHandler[pa.RecordBatch, pa.Table, Any]):
    """Scores record batches of examples with a SavedModel; a batch is one inference."""

    def __init__(self, path: str, inputs: ModelInputs):
        super().__init__()
        self._path, self._inputs = path, inputs

    def load_model(self) -> Any:
        return _checked.pop(self._path, None) or load_saved_model(self._path)

    def run_inference(
        self, batch: Sequence[pa.RecordBatch], model: Any, inference_args: dict | None = None
    ) -> Iterable[pa.Table]:
        import tensorflow as tf

        signature = model.signatures[self._inputs.signature]
        wanted = signature.structured_input_signature[1]
        for examples in batch:
            values = self._inputs(examples)
            scores = signature(
                **{name: tf.constant(values[name], spec.dtype) for name, spec in wanted.items()}
            )['score'].numpy()
            yield pa.table(
                {
                    **{
                        name: single(examples, name).astype(np.int64)
                        for name in ('user_key', 'domain', 'click')
                    },
                    'score': scores.reshape(-1).astype(np.float32),
                }
            )

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

    Args:
        columns: Names of the columns.
        batch_size: Maximum number of rows of a batch.
        domains: Ids of the domains to read; all if None.
    """

    def __init__(self, columns: list[str], batch_size: int, domains: list[int] | None):
        self._columns, self._batch_size = columns, batch_size
        self._domains = None if domains is None else np.array(domains, np.int32)

    def process(self, path: str) -> Iterator[Batch]:
        number = 0
        for _, rows in ExampleFile.open(path).read(self._columns):
            if self._domains is not None:
                rows = rows.filter(pc.is_in(rows['domain'], pa.array(self._domains)))
            for batch in rows.combine_chunks().to_batches(self._batch_size):
                yield (storage.name(path), number), batch
                number += 1


class _WriteScores(beam.DoFn):
    """Writes the scores of one file of examples, complete or not at all."""

    def __init__(self, output: str, errors: str):
        self._output, self._errors = output, errors

    def process(self, scored: tuple[str, Iterable[tuple[int, pa.Table]]]) -> None:
        name, parts = scored
        ordered = [table for _, table in sorted(parts, key=lambda part: part[0])]
        path = storage.join(self._output, name)
        with (
            report_user_errors(self._errors, functools.partial(storage.describe_error, path)),
            storage.atomic_file(path) as file,
        ):
            pq.write_table(pa.concat_tables(ordered), file)
