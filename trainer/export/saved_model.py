"""Exports a model as a SavedModel that scores raw values of any mix of domains."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mdctr import storage
from mdctr.exported_model import MODEL_JSON, write_model_json
from mdctr.settings import to_mapping
from trainer.config import TrainConfig
from trainer.data.examples import Examples
from trainer.export.calendar_features import CalendarFeatures, calendar_features
from trainer.export.golden import write_golden
from trainer.export.golden_batch import GoldenBatch, make_golden_batch
from trainer.export.preprocessing import RawFeatureEncoder
from trainer.export.signatures import (
    ENCODED,
    check_signatures,
    describe_signatures,
    make_signatures,
)
from trainer.export.structure import structure_of
from trainer.export.weights import write_weights
from trainer.frameworks.core.domain_specific_model import DomainSpecificModel
from trainer.keras import tf
from trainer.models.base import CTRModel
from trainer.models.probability import probability

_NAMES = 1_000_000  # more names than a run uses before its export


def export_model(
    model: CTRModel | DomainSpecificModel,
    directory: str,
    examples: Examples,
    config: TrainConfig,
    metrics: dict[str, Any],
    epoch: int,
    trained_splits: Sequence[str] = (),
) -> str:
    """Writes a SavedModel with `model.json`, `golden.json` and `weights/`, atomically.

    The signatures `serving_default` (raw values) and `encoded` (ids) take every feature of the
    model by name, and `domain`, and return `score`, the probability of a click, float32
    [batch]. `serving_timestamp` takes `timestamp` instead of the features that are an hour or a
    weekday. The exported graph is folded (STAR 4.4); the golden scores are those of the
    training graph. `serving_default` and `encoded` must agree on all rows of `examples`.

    `trainer.export.load` rebuilds the model from `weights/` and the structure in `model.json`;
    `trainer.export.load_domain_parameters` rebuilds a model with domain-specific parameters.

    Args:
        model: Model to export; it can be trained further afterwards.
        directory: Directory or URL of the export, which is replaced.
        examples: Split of the dataset, with the features of the model, on which the signatures
            are compared and of which the golden batch is made.
        config: Configuration of the run.
        metrics: Validation metrics, for `model.json`.
        epoch: Number, from 1, of the epoch that the weights are of.
        trained_splits: Names of the splits that the weights were trained on, in order.

    Returns:
        `directory`.

    Raises:
        UserError: `serving_default` and `encoded` score a row of `examples` differently.
    """
    with _replacing(directory) as partial:
        _write(model, partial, examples, config, metrics, epoch, trained_splits)
    return directory


def partial_export(directory: str) -> str:
    """The local directory in which an export is written before it is renamed."""
    return directory + '.exporting'


@contextlib.contextmanager
def _replacing(directory: str) -> Iterator[str]:
    """A local directory whose content replaces that of `directory` in the end.

    On an object store, `model.json` is written last: without it, there is no export.
    """
    if storage.is_url(directory):
        with tempfile.TemporaryDirectory(prefix='mdctr-') as partial:
            yield partial
            storage.remove_directory(directory)
            storage.upload(partial, directory, last=[MODEL_JSON])
        return
    partial = partial_export(directory)
    storage.remove_directory(partial)
    yield partial
    storage.remove_directory(directory)
    storage.rename_directory(partial, directory)


def _write(
    model: CTRModel | DomainSpecificModel,
    partial: str,
    examples: Examples,
    config: TrainConfig,
    metrics: dict[str, Any],
    epoch: int,
    trained_splits: Sequence[str],
) -> None:
    """Writes the export to a local directory."""
    _advance_name_counter()
    dataset, manifest = examples.dataset, examples.manifest
    golden = make_golden_batch(examples)
    scores = _training_scores(model, golden, manifest.keep_negatives)
    shared = model if isinstance(model, CTRModel) else model.shared
    domains = shared.manifest.domains
    encoder = RawFeatureEncoder(dataset, model.features, domains)
    calendar = calendar_features(manifest, model.features)
    _save_graph(model, encoder, calendar, examples, partial)
    structures: dict[str, Any] = {'structure': None, 'domain_parameters': None}
    structure = to_mapping(structure_of(shared, dataset))
    if isinstance(model, CTRModel):
        write_weights(partial, model=model)
        structures['structure'] = structure
    elif model.domain_specific.relative:  # otherwise separate models, which are not continued
        write_weights(partial, model=shared, specific=model.domain_specific.trackable())
        structures['domain_parameters'] = structure
    write_golden(partial, golden.raw, scores)
    description = {
        'model': config.model.name,
        'framework': config.framework,
        'config': to_mapping(config),
        'dataset': {'name': manifest.name, 'fingerprint': manifest.fingerprint},
        'features': [feature.name for feature in model.features],
        'domains': [domain.name for domain in domains],
        'keep_negatives': manifest.keep_negatives,
        'utc_offset': calendar.utc_offset,
        'signatures': describe_signatures(model.features, calendar),
        'parameters': int(
            sum(np.prod(variable.shape) for variable in model.trainable_variables)
        ),
        'epoch': epoch,
        'validation': metrics,
        'trained_splits': list(trained_splits),
        **structures,
    }
    write_model_json(partial, description)


def _training_scores(
    model: CTRModel | DomainSpecificModel, golden: GoldenBatch, keep_negatives: float
) -> np.ndarray:
    """Returns the scores that the training graph gives the golden batch, float32 [rows]."""
    call = tf.function(lambda ids: model(ids, training=False), autograph=False)
    logits = call({name: tf.constant(ids) for name, ids in golden.ids.items()})
    return probability(logits, keep_negatives).numpy()


def _save_graph(
    model: CTRModel | DomainSpecificModel,
    encoder: RawFeatureEncoder,
    calendar: CalendarFeatures,
    examples: Examples,
    directory: str,
) -> None:
    keep_negatives = examples.manifest.keep_negatives
    model.fold()
    try:
        signatures = make_signatures(
            lambda ids: probability(model(ids, training=False), keep_negatives),
            encoder,
            calendar,
            model.num_domains,
        )
        check_signatures(signatures, examples)
        # The Keras model stays out of the SavedModel: only the variables that scoring reads
        # are written, as they are folded, and loading needs none of this project's code.
        module = tf.Module()
        module.encoder = encoder
        module.weights = _in_order(signatures[ENCODED])
        tf.saved_model.save(
            module,
            directory,
            signatures=signatures,
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=True),
        )
    finally:
        model.unfold()


def _advance_name_counter() -> None:
    """Makes the names of the functions in the SavedModel independent of what was traced before.

    They end in a counter of this process, and a run that resumes has traced fewer functions
    than one that was not interrupted.
    """
    from tensorflow.python.framework import ops

    while ops.uid() % _NAMES:
        pass


def _in_order(function: Any) -> list[tf.Variable]:
    """The variables of a concrete function in the order in which its graph captured them.

    `function.variables` is in the order of addresses in memory, with which two exports of one
    model would differ.
    """
    variables = {id(variable.handle): variable for variable in function.variables}
    captured = dict.fromkeys(id(handle) for handle in function.captured_inputs)
    return [variables[key] for key in captured if key in variables]
