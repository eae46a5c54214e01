"""What each method of CTNet's Table 2 trains, on what, from what."""

import dataclasses
from collections.abc import Callable
from typing import Any

from beam_jobs.errors import UserError
from pipeline.compare.methods import parse_variant, with_model
from pipeline.compare.transfer.walk import Stage, Walk
from trainer.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A method.

    Attributes:
        name: in the tables.
        stages: from a walk and a target to the models by the number of the period whose end
            they stand at; the last period is always there.
    """

    name: str
    stages: Callable[[Walk, str], dict[int, list[Stage]]]


def recipe_of(text: str) -> Recipe:
    """The method of a name, with changes after a colon.

    * `base`: the target's plain model (h^t), from period to period; `base:name=din` another
      architecture, any other key a setting of the model or its options.
    * `source`: the source's model as it is (h^s).
    * `ctnet`: Algorithm 1 on top of the plain model, with the newest source model in every
      period; `ctnet_once` keeps the source model of its first period (Table 3). Changes as of
      `base`.
    * `finetune:parts=all` (or `embeddings`, `id_embeddings` with `id_features=a/b`): a target
      model that starts from the last source model and is trained on all periods, or on the
      last `days=7` alone (Table 4).
    * `dual_embedding`: with the last source model's ID embeddings beside its own.
    * any other model of the registry is trained on source and targets together, from period
      to period, with the settings of the source.

    Raises:
        UserError: a change that the method does not have.
    """
    name, changes = parse_variant('--models', text)
    if name == 'source':
        _no_changes(text, changes)
        return Recipe(text, _source)
    if name == 'finetune':
        return Recipe(text, _finetune(text, **_fine_tuning(text, changes)))
    if name in ('ctnet', 'ctnet_once'):
        return Recipe(text, _ctnet(text, changes, once=name == 'ctnet_once'))
    if name == 'dual_embedding':
        return Recipe(text, _dual_embedding(text, changes))
    if name == 'base':
        return Recipe(text, _base(text, changes))
    return Recipe(text, _joint(text, name, changes))


def _source(walk: Walk, target: str) -> dict[int, list[Stage]]:
    return {number: [walk.source(number)] for number in _numbers(walk)}


def _base(text: str, changes: dict[str, Any]):
    def stages(walk: Walk, target: str) -> dict[int, list[Stage]]:
        config = _changed(text, walk.continual.base_train, changes)
        chain = [walk.chain(f'{text}/{target}', config, [target], number)
                 for number in _numbers(walk)]
        return {number: chain[:number] for number in _numbers(walk)}
    return stages


def _ctnet(text: str, changes: dict[str, Any], once: bool):
    def stages(walk: Walk, target: str) -> dict[int, list[Stage]]:
        config = _changed(text, walk.continual.target_train, changes)
        base = _base('base', {})(walk, target)
        first = _first_transfer(walk)
        made = {number: list(base[number]) for number in range(1, first)}
        # What runs before it begins is the plain model, which it then continues.
        chain = list(base[first - 1]) if first > 1 else []
        for number in range(first, len(walk.periods) + 1):
            chain.append(walk.train(
                f'{text}/{target}/{number}', config, walk.splits(number, number), [target],
                initial=chain[-1] if chain else None,
                source=walk.source(first if once else number)))
            made[number] = list(chain)
        return made
    return stages


def _finetune(text: str, parts: str, days: int | None, id_features: list[str]):
    def stages(walk: Walk, target: str) -> dict[int, list[Stage]]:
        last = len(walk.periods)
        splits = walk.splits(1, last)[-days if days else None:]
        return {last: [walk.train(
            f'{text}/{target}', walk.continual.base_train, splits, [target],
            initial=walk.source(last), parts=parts, id_features=id_features)]}
    return stages


def _dual_embedding(text: str, changes: dict[str, Any]):
    def stages(walk: Walk, target: str) -> dict[int, list[Stage]]:
        last = len(walk.periods)
        config = _changed(text, with_model(walk.continual.base_train, 'dual_embedding', {},
                                           text), changes)
        return {last: [walk.train(f'{text}/{target}', config, walk.splits(1, last), [target],
                                  source=walk.source(last))]}
    return stages


def _joint(text: str, name: str, changes: dict[str, Any]):
    def stages(walk: Walk, target: str) -> dict[int, list[Stage]]:
        # Nearly all of its rows are the source's: it is trained as the source is.
        config = with_model(walk.continual.source_train, name, changes, text)
        domains = [*walk.continual.source_domains, *walk.continual.target_domains]
        chain = [walk.chain(text, config, domains, number) for number in _numbers(walk)]
        return {number: chain[:number] for number in _numbers(walk)}
    return stages


def _numbers(walk: Walk) -> range:
    return range(1, len(walk.periods) + 1)


def _first_transfer(walk: Walk) -> int:
    """The first period that begins when the plain model's warm-up is over."""
    for period in walk.periods:
        if len(period.before) >= walk.continual.warm_up_days:
            return period.number
    raise UserError(f'continual.warm_up_days is {walk.continual.warm_up_days}, and the dataset '
                    'ends before it is over: no period is left for CTNet.')


def _changed(text: str, config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    name = changes.get('name', config.model.name)
    return with_model(config, name, {key: value for key, value in changes.items()
                                     if key != 'name'}, text)


def _fine_tuning(text: str, changes: dict[str, Any]) -> dict[str, Any]:
    parts, days = changes.pop('parts', 'all'), changes.pop('days', None)
    id_features = [name for name in str(changes.pop('id_features', '')).split('/') if name]
    _no_changes(text, changes)
    if parts not in ('all', 'embeddings', 'id_embeddings'):
        raise UserError(f'--models {text}: parts is all, embeddings or id_embeddings.')
    if days is not None and (not isinstance(days, int) or days < 1):
        raise UserError(f'--models {text}: days is a number of days.')
    return {'parts': parts, 'days': days, 'id_features': id_features}


def _no_changes(text: str, changes: dict[str, Any]) -> None:
    if changes:
        raise UserError(f'--models {text}: there is no {next(iter(changes))} to change.')
