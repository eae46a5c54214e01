"""Transfer methods (CTNet, Table 2): what each trains, on which days, from which model."""

import dataclasses
from collections.abc import Callable
from typing import Any

from mdctr.errors import UserError
from pipeline.compare.methods import parse_variant, with_model
from pipeline.compare.transfer.models import Parts, TrainedModel, TransferModels
from trainer.config import TrainConfig

_PARTS: tuple[Parts, ...] = ('all', 'embeddings', 'id_embeddings')

TrainModels = Callable[[TransferModels, str], dict[int, list[TrainedModel]]]


@dataclasses.dataclass(frozen=True)
class TransferMethod:
    """A transfer method.

    Attributes:
        name: Name in the tables.
        train_models: Trains the models for a target domain. Returns, for each period at whose
            end the method has a model, by number, the models that were trained for it, that
            model last. The last period is always included.
    """

    name: str
    train_models: TrainModels


def parse_transfer_method(text: str) -> TransferMethod:
    """The transfer method of a name, followed by changes after a colon.

    * `base`: the target's base model (h^t), which each period continues. The change `name`
      selects another architecture (`base:name=din`); other changes set a key of the section
      `model` or of its options.
    * `source`: the source model itself (h^s).
    * `ctnet`: Algorithm 1, which continues the base model with the newest source model in each
      period. `ctnet_once` keeps the source model of its first period (Table 3). Changes as for
      `base`.
    * `finetune`: a target model that starts from the last source model and is trained on all
      periods, or only on the last `days=7` (Table 4). `parts` is `all`, `embeddings` or
      `id_embeddings`, the latter with `id_features=a/b`.
    * `dual_embedding`: a target model with the ID embeddings of the last source model in
      addition to its own. Changes as for `base`.
    * Any other model is trained on source and targets together, with the training settings of
      the source, and continued in each period.

    Raises:
        UserError: The method does not have such a change.
    """
    name, changes = parse_variant('--models', text)
    train_models: TrainModels
    if name == 'source':
        _check_no_changes(text, changes)
        train_models = _source
    elif name == 'finetune':
        train_models = _finetune(text, changes)
    elif name in ('ctnet', 'ctnet_once'):
        train_models = _ctnet(text, changes, once=name == 'ctnet_once')
    elif name == 'dual_embedding':
        train_models = _dual_embedding(text, changes)
    elif name == 'base':
        train_models = _base(text, changes)
    else:
        train_models = _joint(text, name, changes)
    return TransferMethod(text, train_models)


def _source(models: TransferModels, target: str) -> dict[int, list[TrainedModel]]:
    return {period: [models.source(period)] for period in _periods(models)}


def _base(text: str, changes: dict[str, Any]) -> TrainModels:
    def train_models(models: TransferModels, target: str) -> dict[int, list[TrainedModel]]:
        config = _changed(text, models.continual.base_train, changes)
        trained = [
            models.continued(f'{text}/{target}', config, [target], period)
            for period in _periods(models)
        ]
        return {period: trained[:period] for period in _periods(models)}

    return train_models


def _ctnet(text: str, changes: dict[str, Any], once: bool) -> TrainModels:
    def train_models(models: TransferModels, target: str) -> dict[int, list[TrainedModel]]:
        config = _changed(text, models.continual.target_train, changes)
        base = _base('base', {})(models, target)
        first = _first_transfer(models)
        trained_by_period = {period: list(base[period]) for period in range(1, first)}
        # CTNet continues the base model of the warm-up.
        trained = list(base[first - 1]) if first > 1 else []
        for period in range(first, len(models.periods) + 1):
            trained.append(
                models.train(
                    f'{text}/{target}/{period}',
                    config,
                    models.splits(period, period),
                    [target],
                    warm_start=trained[-1] if trained else None,
                    source=models.source(first if once else period),
                )
            )
            trained_by_period[period] = list(trained)
        return trained_by_period

    return train_models


def _finetune(text: str, changes: dict[str, Any]) -> TrainModels:
    parts, days, id_features = _finetune_settings(text, changes)

    def train_models(models: TransferModels, target: str) -> dict[int, list[TrainedModel]]:
        last = len(models.periods)
        splits = models.splits(1, last)[-days if days else None :]
        trained = models.train(
            f'{text}/{target}',
            models.continual.base_train,
            splits,
            [target],
            warm_start=models.source(last),
            parts=parts,
            id_features=id_features,
        )
        return {last: [trained]}

    return train_models


def _dual_embedding(text: str, changes: dict[str, Any]) -> TrainModels:
    def train_models(models: TransferModels, target: str) -> dict[int, list[TrainedModel]]:
        last = len(models.periods)
        config = with_model(models.continual.base_train, 'dual_embedding', {}, text)
        trained = models.train(
            f'{text}/{target}',
            _changed(text, config, changes),
            models.splits(1, last),
            [target],
            source=models.source(last),
        )
        return {last: [trained]}

    return train_models


def _joint(text: str, name: str, changes: dict[str, Any]) -> TrainModels:
    def train_models(models: TransferModels, target: str) -> dict[int, list[TrainedModel]]:
        # Nearly all rows are the source's, so it is trained with the settings of the source.
        config = with_model(models.continual.source_train, name, changes, text)
        domains = [*models.continual.source_domains, *models.continual.target_domains]
        trained = [
            models.continued(text, config, domains, period) for period in _periods(models)
        ]
        return {period: trained[:period] for period in _periods(models)}

    return train_models


def _periods(models: TransferModels) -> range:
    return range(1, len(models.periods) + 1)


def _first_transfer(models: TransferModels) -> int:
    """The first period that begins after the warm-up of the base model."""
    for period in models.periods:
        if len(period.before) >= models.continual.warm_up_days:
            return period.number
    raise UserError(
        f'continual.warm_up_days is {models.continual.warm_up_days}, but the dataset ends '
        'before that: no period is left for CTNet; reduce it or add days.'
    )


def _changed(text: str, config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    name = changes.get('name', config.model.name)
    others = {key: value for key, value in changes.items() if key != 'name'}
    return with_model(config, name, others, text)


def _finetune_settings(
    text: str, changes: dict[str, Any]
) -> tuple[Parts, int | None, list[str]]:
    """The parameters to load, the number of days, and the ID features of `finetune`."""
    value, days = changes.pop('parts', 'all'), changes.pop('days', None)
    parts = next((name for name in _PARTS if name == value), None)
    id_features = [name for name in str(changes.pop('id_features', '')).split('/') if name]
    _check_no_changes(text, changes)
    if parts is None:
        raise UserError(
            f'--models {text}: parts must be all, embeddings or id_embeddings, not {value}.'
        )
    if days is not None and (not isinstance(days, int) or days < 1):
        raise UserError(f'--models {text}: days must be a number of days, not {days}.')
    return parts, days, id_features


def _check_no_changes(text: str, changes: dict[str, Any]) -> None:
    if changes:
        key = next(iter(changes))
        raise UserError(f'--models {text}: this method has no {key} to change.')
