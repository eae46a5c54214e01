"""The exported model: a SavedModel that scores raw values of any mix of domains."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from beam_jobs.options import to_mapping
from trainer.config import TrainConfig
from trainer.examples import Examples
from trainer.frameworks.domain_models import DomainModels
from trainer.golden import write_golden
from trainer.golden_batch import GoldenBatch, make_golden_batch
from trainer.keras import tf
from trainer.models.base import CTRModel
from trainer.probability import probability
from trainer.raw_values import RawValues, encoded_signature, raw_signature
from trainer.structure import structure_of

MODEL_JSON = 'model.json'
WEIGHTS = os.path.join('weights', 'weights')  # as TensorFlow names the files of a checkpoint


def export_model(model: CTRModel | DomainModels, directory: str, dataset: str,
                 examples: Examples, config: TrainConfig, metrics: dict[str, Any], epoch: int,
                 trained_splits: Sequence[str] = ()) -> str:
    """Writes a SavedModel, `model.json`, `golden.json` and `weights/`, in one step.

    The signatures `serving_default` (raw values) and `encoded` (ids) take every feature of
    the model by name and `domain`, and give `score`, the probability of a click, float32
    [batch]. The model is folded in the export (STAR 4.4) and not outside; the golden scores
    are those of the graph that was trained. `weights/` and the structure in `model.json` are
    what `trainer.trained` makes the model of again; of a model with differences of each domain
    beside it, which a learning framework keeps, they are what `trainer.domain_parameters`
    makes the shared model and the differences of.

    Args:
        model: to export; it can be trained on afterwards.
        directory: of the export, replaced.
        dataset: the directory of the vocabularies.
        examples: a split of it, for the golden batch.
        config: of the run.
        metrics: of the validation split, for `model.json`.
        epoch: whose weights these are, from 1.
        trained_splits: that the weights have been trained on, in order.

    Returns:
        `directory`.
    """
    manifest = examples.manifest
    golden = make_golden_batch(dataset, examples)
    scores = score_ids(model, golden, manifest.keep_negatives)
    partial = directory + '.exporting'
    shutil.rmtree(partial, ignore_errors=True)
    shared = model if isinstance(model, CTRModel) else model.shared
    domains = shared.manifest.domains
    _save(model, RawValues(dataset, model.features, domains), manifest.keep_negatives, partial)
    structure = to_mapping(structure_of(shared, dataset))
    kind = _write_weights(model, os.path.join(partial, WEIGHTS))
    write_golden(partial, golden.raw, scores)
    description = {
        'model': config.model.name, 'framework': config.framework,
        'config': to_mapping(config),
        'dataset': {'name': manifest.name, 'fingerprint': manifest.fingerprint},
        'features': [feature.name for feature in model.features],
        'domains': [domain.name for domain in domains],
        'keep_negatives': manifest.keep_negatives,
        'parameters': int(sum(np.prod(variable.shape)
                              for variable in model.trainable_variables)),
        'epoch': epoch, 'validation': metrics, 'trained_splits': list(trained_splits),
        'structure': None, 'domain_parameters': None,
        **({kind: structure} if kind else {}),
    }
    with open(os.path.join(partial, MODEL_JSON), 'w', encoding='utf-8') as file:
        json.dump(description, file, indent=1, ensure_ascii=False)
    shutil.rmtree(directory, ignore_errors=True)
    os.replace(partial, directory)
    return directory


def _write_weights(model: CTRModel | DomainModels, path: str) -> str | None:
    """Writes what the model can be made of again; under which key its structure is kept."""
    if isinstance(model, CTRModel):
        tf.train.Checkpoint(model=model).write(path)
        return 'structure'
    if not model.specific.follow:  # models of their own, which are trained anew
        return None
    tf.train.Checkpoint(model=model.shared, specific=model.specific.trackable()).write(path)
    return 'domain_parameters'


def score_ids(model: CTRModel, golden: GoldenBatch, keep_negatives: float) -> np.ndarray:
    """Probabilities by the training graph of rows given as ids, float32 [rows]."""
    call = tf.function(lambda ids: model(ids, training=False), autograph=False)
    logits = call({name: tf.constant(ids) for name, ids in golden.ids.items()})
    return probability(logits, keep_negatives).numpy()


def _save(model: CTRModel, raw_values: RawValues, keep_negatives: float,
          directory: str) -> None:
    def score(ids):
        return {'score': probability(model(ids, training=False), keep_negatives)}

    model.fold()
    try:
        # The Keras model stays out of the SavedModel: only the variables that scoring reads
        # are written, as they are folded, and loading needs none of this project's code.
        module = tf.Module()
        module.raw_values = raw_values
        of_ids = tf.function(score, autograph=False,
                             input_signature=[encoded_signature(model.features)])
        encoded = of_ids.get_concrete_function()
        raw = tf.function(
            lambda values: of_ids(raw_values(values)), autograph=False,
            input_signature=[raw_signature(model.features)]).get_concrete_function()
        module.weights = [*encoded.variables]
        tf.saved_model.save(
            module, directory, signatures={'serving_default': raw, 'encoded': encoded},
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=True))
    finally:
        model.unfold()
