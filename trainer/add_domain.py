"""Adds a domain to an exported model, trained on the domain's rows only.

The learners are in `trainer.frameworks.core.new_domain_learner`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from mdctr import storage
from mdctr.dataset import Dataset, open_dataset
from mdctr.errors import UserError
from mdctr.exported_model import read_model_json
from mdctr.manifest import Manifest
from mdctr.renamed_keys import with_new_names
from mdctr.settings import parse
from trainer.config import TrainConfig
from trainer.data.examples import Examples
from trainer.data.vocabularies import check_vocabularies
from trainer.export.load import load_model
from trainer.export.load_domain_parameters import load_domain_parameters
from trainer.export.saved_model import export_model
from trainer.export.structure import Structure
from trainer.frameworks.core.domain_specific import DomainDelta
from trainer.frameworks.core.new_domain_learner import (
    DomainDeltaLearner,
    DomainRowsLearner,
    NewDomainLearner,
    per_domain_variables,
)
from trainer.frameworks.mamdr import MAMDR
from trainer.keras import keras
from trainer.loop.custom_gradients import release_custom_gradients
from trainer.loop.non_finite import NonFinite
from trainer.loop.validation import stopping_value, validate
from trainer.models.base import CTRModel
from trainer.models.extend_model import extend_model
from trainer.optimizers.row_wise import make_optimizer

logger = logging.getLogger(__name__)


class TrainedModel(NamedTuple):
    """An exported model and the domain-specific parameters that a framework added.

    Attributes:
        model: Model with the shared parameters.
        structure: Structure of the model.
        deltas: theta_i by domain id; empty if the framework has none.
        options: Options of the framework that trained them.
        splits: Names of the splits that the model was trained on.
    """

    model: CTRModel
    structure: Structure
    deltas: list[DomainDelta]
    options: dict[str, Any]
    splits: list[str]


@release_custom_gradients()
def add_domain(
    source: str,
    dataset: str | Dataset,
    name: str,
    directory: str,
    config: TrainConfig,
    split: str | Sequence[str] = 'train',
    validation_split: str | Sequence[str] | None = 'validation',
    parameters: Literal['rows', 'all'] | None = None,
) -> str:
    """Adds a domain to a trained model and exports the result.

    Only parameters of the new domain are trained, on its rows only. The other parameters do not
    change, and the other domains keep their scores. (If an unseen domain is scored by the mean
    of all domains' layers, as in `shared_bottom`, the new domain is part of that mean.) The
    trained parameters are either the domain's `rows` of the per-domain variables or `all`
    parameters, as a difference theta_new from the shared ones (MAMDR, algorithm 2 without
    helpers), in which case the model serves domain by domain.

    The run is short and writes no checkpoints.

    Args:
        source: Directory of the exported model.
        dataset: Dataset, or its directory, with the model's features, vocabularies and domains,
            and the new domain after them, as `extend_dataset` builds it; values that were added
            later remain unseen.
        name: Name of the new domain.
        directory: Directory of the new export.
        config: Configuration of the training; its `model` is ignored.
        split: Name of the training split, or several names.
        validation_split: Name of the split for early stopping and the choice of the best epoch,
            or several names; None to train all of `config.epochs`.
        parameters: Parameters to train. If None, `all` for a model that has domain-specific
            parameters or no per-domain variables, and `rows` otherwise.

    Returns:
        `directory`.

    Raises:
        UserError: There is no such model, dataset, split or domain; the model has the domain
            already; the domain has no rows; the dataset has other features or vocabularies; or
            `directory` cannot be written.
    """
    storage.check_writable(directory)
    trained = _read(source)
    dataset = open_dataset(dataset)
    manifest = dataset.manifest
    domain = _new_domain(manifest, trained.structure, name, source, dataset.directory)
    check_vocabularies(dataset, trained.structure.vocabularies, source)
    config = config.replace(model=trained.structure.config, mixed_precision=False)
    examples = _examples(dataset, split, config, name)
    validation = (
        None if validation_split is None else _examples(dataset, validation_split, config, name)
    )
    keras.utils.set_random_seed(config.seed)
    model = extend_model(
        trained.model,
        dataclasses.replace(trained.structure.manifest(), domains=manifest.domains[:domain]),
    )
    parameters = parameters or (
        'rows' if per_domain_variables(model) and not trained.deltas else 'all'
    )
    if parameters == 'all':
        config = config.replace(
            framework='mamdr',
            framework_options={
                **trained.options,
                **(config.framework_options if config.framework == 'mamdr' else {}),
                'helper_domains': None,
            },
        )
    learner = _learner(parameters, trained, model, config, examples, domain)
    metrics, epoch = _train(learner, config, validation, name)
    with storage.reporting_errors(directory):
        return export_model(
            learner.serving_model(),
            directory,
            Examples(dataset, split, exclude=config.model.exclude_features),
            config,
            metrics,
            epoch,
            list(dict.fromkeys([*trained.splits, *examples.splits])),
        )


def _read(source: str) -> TrainedModel:
    described = read_model_json(source)
    if described.get('domain_parameters') is not None:
        return TrainedModel(
            *load_domain_parameters(source, described),
            with_new_names(MAMDR.Options, described['config']['framework_options']),
            described['trained_splits'],
        )
    loaded = load_model(source)
    return TrainedModel(loaded.model, loaded.structure, [], {}, loaded.splits)


def _new_domain(
    manifest: Manifest, structure: Structure, name: str, source: str, dataset: str
) -> int:
    """Returns the id of the new domain."""
    names = [domain.name for domain in manifest.domains]
    if name in structure.domains:
        raise UserError(
            f'The model {source} has the domain {name} already: continue its training on the '
            "domain's new rows (mdctr train --warm-start)."
        )
    if name not in names:
        raise UserError(f'{dataset} has no domain {name}; it has {", ".join(names)}.')
    if names[: len(structure.domains)] != structure.domains:
        raise UserError(
            f'The domains of {dataset} do not begin with those of the model {source}: extend '
            'the dataset that it was trained on.'
        )
    return names.index(name) + 1


def _examples(
    dataset: Dataset, split: str | Sequence[str], config: TrainConfig, name: str
) -> Examples:
    examples = Examples(dataset, split, exclude=config.model.exclude_features, domains=[name])
    if not len(examples):
        raise UserError(
            f'The domain {name} has no rows in {examples.split} of {dataset}: choose a split '
            'that has rows of it.'
        )
    return examples


def _learner(
    parameters: str,
    trained: TrainedModel,
    model: CTRModel,
    config: TrainConfig,
    examples: Examples,
    domain: int,
) -> NewDomainLearner:
    if parameters == 'rows':
        if trained.deltas or not per_domain_variables(model):
            raise UserError(
                f'The model {config.model.name} has no per-domain variables to train: add the '
                'domain with all parameters.'
            )
        return DomainRowsLearner(
            model,
            config,
            examples,
            domain,
            make_optimizer(config.optimizer, config.learning_rate, config.optimizer_options),
        )
    options = parse(MAMDR.Options, config.framework_options, 'train.framework_options of mamdr')
    is_default = options.inner_optimizer is None
    optimizer = make_optimizer(
        options.inner_optimizer or config.optimizer,
        options.inner_learning_rate or config.learning_rate,
        {**(config.optimizer_options if is_default else {}), **options.inner_optimizer_options},
    )
    return DomainDeltaLearner(
        model, trained.deltas, config, options, examples, domain, optimizer
    )


def _train(
    learner: NewDomainLearner,
    config: TrainConfig,
    validation: Examples | None,
    name: str,
) -> tuple[dict[str, Any], int]:
    """Trains with early stopping on the domain's validation rows.

    Returns:
        The metrics of the best epoch, and its number, which is 0 for the untrained model.
    """
    best: dict[str, Any] = {}
    best_value: float | None = None
    best_epoch = 0
    for number in range(config.epochs + 1):
        if number:
            _train_epoch(learner, config, name, number)
        if validation is None:
            best_epoch = number
            learner.keep_best()
            continue
        metrics = validate(learner, validation)
        by, value = stopping_value(metrics)
        logger.info('epoch %d: validation %s %.4f', number, by, value)
        if best_value is None or value > best_value:
            best, best_value, best_epoch = metrics, value, number
            learner.keep_best()
        elif number - best_epoch >= config.patience:
            break
    learner.restore_best()
    return best, best_epoch


def _train_epoch(
    learner: NewDomainLearner, config: TrainConfig, name: str, number: int
) -> None:
    try:
        learner.epoch(number - 1)
        learner.guard.check_weights(learner.weights())
    except NonFinite as error:
        raise UserError(
            f'{error.what} of epoch {number} (domain {name}, learning rate '
            f'{config.learning_rate:g}): lower train.learning_rate or check the data for '
            'extreme values.'
        ) from None
