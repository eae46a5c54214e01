"""Adds a domain to an exported model from the domain's data alone."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from beam_jobs.dataset import Manifest, read_manifest
from beam_jobs.errors import UserError
from beam_jobs.exported import read_model_json
from beam_jobs.options import from_mapping
from trainer.config import TrainConfig
from trainer.custom_gradients import forgotten_gradients
from trainer.domain_parameters import read_domain_parameters
from trainer.examples import Examples
from trainer.export import export_model
from trainer.frameworks.mamdr import MAMDR
from trainer.frameworks.new_domain import OwnParameters, OwnRows, own_variables
from trainer.frameworks.specific import Difference
from trainer.keras import keras
from trainer.models.base import CTRModel
from trainer.models.grown import grown
from trainer.optimizers import make_optimizer
from trainer.structure import Structure
from trainer.trained import read_trained
from trainer.validation import stopping_value, validate
from trainer.vocabularies import check_vocabularies

logger = logging.getLogger(__name__)


class Before(NamedTuple):
    """A trained model and what domains have beside it.

    Attributes:
        model: with the shared parameters.
        structure: its record.
        differences: theta_i by the domain's id; none where the framework keeps none.
        options: of the framework that made them.
        splits: that it was trained on.
    """

    model: CTRModel
    structure: Structure
    differences: list[Difference]
    options: dict[str, Any]
    splits: list[str]


@forgotten_gradients()
def add_domain(source: str, dataset: str, name: str, directory: str, config: TrainConfig,
               split: str | Sequence[str] = 'train',
               validation_split: str | Sequence[str] | None = 'validation',
               parameters: Literal['rows', 'all'] | None = None) -> str:
    """Exports a trained model with one domain more.

    Only what is the new domain's own is trained, on its rows alone; all that the model had is
    in the new export as it was, and other domains get the scores that they got. (Where an
    unseen domain is scored by the mean of all domains' layers, as in `shared_bottom`, the new
    one is one of them.) What is its own are either its `rows` of the per-domain variables, or
    `all` parameters, as a difference theta_new from the shared ones (MAMDR, algorithm 2
    without helpers), which serves domain by domain.

    It is a short run that keeps no checkpoints.

    Args:
        source: the directory of the exported model.
        dataset: with the model's features, vocabularies and domains, and the new domain after
            them, as `extend_dataset` makes it; values that came later stay unseen.
        name: the domain's.
        directory: of the new export.
        config: of the training; the model is as it is.
        split: whose rows of the domain are trained on.
        validation_split: whose rows of the domain stop the training and pick the pass; None
            for all of `config.epochs`.
        parameters: what is trained; absent, `all` for a model that was trained so, or that has
            no per-domain variables, and else the `rows`.

    Returns:
        `directory`.

    Raises:
        UserError: no such model, dataset, split or domain; a domain that the model has, or
            that has no rows; a dataset of other features or vocabularies.
    """
    before = _read(source)
    manifest = read_manifest(dataset)
    domain = _new_domain(manifest, before.structure, name, source, dataset)
    check_vocabularies(dataset, before.structure.vocabularies, f'The model {source}')
    config = dataclasses.replace(config, model=before.structure.config, mixed_precision=False)
    examples = _examples(dataset, split, config, name)
    validation = (None if validation_split is None
                  else _examples(dataset, validation_split, config, name))
    keras.utils.set_random_seed(config.seed)
    model = grown(before.model, dataclasses.replace(
        before.structure.manifest(), domains=manifest.domains[:domain]))
    parameters = parameters or (
        'rows' if own_variables(model) and not before.differences else 'all')
    if parameters == 'all':
        config = dataclasses.replace(config, framework='mamdr', framework_options={
            **before.options, **(config.framework_options if config.framework == 'mamdr'
                                 else {}), 'helpers': None})
    learner = _learner(parameters, before, model, config, examples, domain)
    metrics, epoch = _train(learner, config, validation)
    return export_model(
        learner.serving_model(), directory, dataset,
        Examples(dataset, split, exclude=config.model.exclude), config, metrics, epoch,
        list(dict.fromkeys([*before.splits, *examples.splits])))


def _read(source: str) -> Before:
    described = read_model_json(source)
    if described.get('domain_parameters') is not None:
        return Before(*read_domain_parameters(source, described),
                      described['config']['framework_options'], described['trained_splits'])
    trained = read_trained(source)
    return Before(trained.model, trained.structure, [], {}, trained.splits)


def _new_domain(manifest: Manifest, structure: Structure, name: str, source: str,
                dataset: str) -> int:
    names = [each.name for each in manifest.domains]
    if name in structure.domains:
        raise UserError(f'The model {source} has the domain {name} already: train it on with '
                        'the domain\'s new rows.')
    if name not in names:
        raise UserError(f'{dataset} has no domain {name}; it has {", ".join(names)}.')
    if names[:len(structure.domains)] != structure.domains:
        raise UserError(f'The domains of {dataset} do not begin with those of the model '
                        f'{source}: extend the dataset that it was trained on.')
    return names.index(name) + 1


def _examples(dataset: str, split: str | Sequence[str], config: TrainConfig,
              name: str) -> Examples:
    examples = Examples(dataset, split, exclude=config.model.exclude, domains=[name])
    if not len(examples):
        raise UserError(f'The domain {name} has no rows in {examples.split} of {dataset}: add '
                        'it when it has some.')
    return examples


def _learner(parameters: str, before: Before, model: CTRModel, config: TrainConfig,
             examples: Examples, domain: int) -> OwnRows | OwnParameters:
    if parameters == 'rows':
        if before.differences or not own_variables(model):
            raise UserError(f'The model {config.model.name} has no variables of each domain '
                            'alone to train: add the domain with all parameters.')
        return OwnRows(model, config, examples, domain,
                       make_optimizer(config.optimizer, config.learning_rate,
                                      config.optimizer_options))
    options = from_mapping(MAMDR.Options, config.framework_options,
                           'train.framework_options of mamdr')
    own = options.inner_optimizer is None
    optimizer = make_optimizer(
        options.inner_optimizer or config.optimizer,
        options.inner_rate or config.learning_rate,
        {**(config.optimizer_options if own else {}), **options.inner_options})
    return OwnParameters(model, before.differences, config, options, examples, domain,
                         optimizer)


def _train(learner: OwnRows | OwnParameters, config: TrainConfig,
           validation: Examples | None) -> tuple[dict[str, Any], int]:
    """Early stopping by the domain's own validation rows; the metrics and the pass kept."""
    best, best_value, best_epoch = {}, None, 0
    for number in range(config.epochs + 1):
        if number:
            learner.epoch(number - 1)
        if validation is None:
            best_epoch = number
            learner.keep()
            continue
        metrics = validate(learner, validation)
        by, value = stopping_value(metrics)
        logger.info('pass %d: validation %s %.4f', number, by, value)
        if best_value is None or value > best_value:
            best, best_value, best_epoch = metrics, value, number
            learner.keep()
        elif number - best_epoch >= config.patience:
            break
    learner.put_back()
    return best, best_epoch
