"""What a comparison compares: architectures under learning frameworks."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from beam_jobs.errors import UserError
from beam_jobs.options import from_mapping, to_mapping
from trainer.config import TrainConfig


@dataclass(frozen=True)
class Method:
    """What is compared: an architecture under a learning framework, or a reference.

    Attributes:
        name: in the tables.
        train: the settings, of which the seed is replaced run by run.
        reference: where it is no model of this project, its name in `REFERENCES`; of the
            settings it takes the seed alone.
    """

    name: str
    train: TrainConfig
    reference: str | None = None


# `module:function`, which takes the dataset's directory, the split to score and a seed, and
# returns `pipeline.compare.score.Scores`.
REFERENCES = {'boosted_trees': 'pipeline.compare.boosted_trees:boosted_trees'}


def references_of(train: TrainConfig, names: Sequence[str]) -> list[Method]:
    """References from outside, by name.

    Raises:
        UserError: there is none of a name.
    """
    for name in names:
        if name not in REFERENCES:
            raise UserError(f'There is no reference {name}; there are '
                            f'{", ".join(REFERENCES)}.')
    return [Method(name, train, name) for name in dict.fromkeys(names)]


def methods_of(train: TrainConfig, models: Sequence[str],
               frameworks: Sequence[str]) -> list[Method]:
    """Every model under every framework.

    A model is a name of the registry, with options after a colon where several variants of
    one are compared: `star:normalization=bn,auxiliary=false` changes the `model` section and
    any other key its `options`. A framework likewise: `mamdr:helpers=3,outer_rate=0.1`. A
    model that names its framework itself, as `mlp+mamdr:helpers=3`, is compared under that
    one alone. The methods' names have the frameworks where they are several or so named.

    Raises:
        UserError: a change that the settings do not have.
    """
    pairs = []
    for model in models:
        name, plus, own = model.partition('+')
        pairs += [(name, framework) for framework in ([own] if plus else frameworks)]
    said = any('+' in model for model in models) or len({each for _, each in pairs}) > 1
    methods = []
    for model, framework in pairs:
        settings = _with_framework(_with_model(train, model), framework)
        methods.append(Method(f'{model} + {framework}' if said else model, settings))
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise UserError('A method occurs twice in --models and --frameworks: name each once.')
    return methods


def with_model(train: TrainConfig, name: str, changes: dict[str, Any],
               text: str) -> TrainConfig:
    """The settings with another architecture, or with changes of its section or its options.

    Args:
        train: the settings; their options are kept if they are of the same architecture.
        name: of the architecture.
        changes: by key.
        text: what the user wrote, for errors.
    """
    values = to_mapping(train)
    values['model']['name'] = name
    if name != train.model.name:
        values['model']['options'] = {}
    for key, value in changes.items():
        section = values['model'] if key in values['model'] else values['model']['options']
        section[key] = value
    return from_mapping(type(train), values, f'--models {text}')


def _with_model(train: TrainConfig, model: str) -> TrainConfig:
    return with_model(train, *parse_variant('--models', model), model)


def _with_framework(train: TrainConfig, framework: str) -> TrainConfig:
    name, changes = parse_variant('--frameworks', framework)
    options = train.framework_options if name == train.framework else {}
    return dataclasses.replace(train, framework=name, framework_options=options | changes)


def parse_variant(argument: str, text: str) -> tuple[str, dict[str, Any]]:
    """A name and the changes behind it: `name:key=value,key=value`."""
    import yaml

    name, _, changes = text.partition(':')
    parsed = {}
    for change in filter(None, changes.split(',')):
        key, equals, value = change.partition('=')
        if not equals:
            raise UserError(f'{argument} {text}: write changes as name:key=value,key=value.')
        parsed[key] = yaml.safe_load(value)
    return name, parsed
