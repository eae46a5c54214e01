"""Methods of a comparison: models under learning frameworks, and references."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mdctr.errors import UserError
from mdctr.settings import parse, to_mapping
from mdctr.yaml_reader import read_yaml_value
from trainer.config import TrainConfig

# `module:function` of each reference; the function takes the dataset, the name of the split to
# score and a seed, and returns `pipeline.compare.score.Scores`.
REFERENCES = {'boosted_trees': 'pipeline.compare.boosted_trees:boosted_trees'}


@dataclass(frozen=True)
class Method:
    """A method: a model under a learning framework, or a reference.

    Attributes:
        name: Name in the tables.
        train: Settings; each run replaces their seed.
        reference: Name in `REFERENCES`, which uses only the seed of the settings; None for a
            model of this project.
    """

    name: str
    train: TrainConfig
    reference: str | None = None


def parse_references(train: TrainConfig, names: Sequence[str]) -> list[Method]:
    """The references of the given names.

    Raises:
        UserError: There is no such reference.
    """
    for name in names:
        if name not in REFERENCES:
            raise UserError(f'There is no reference {name}; there are {", ".join(REFERENCES)}.')
    return [Method(name, train, name) for name in dict.fromkeys(names)]


def parse_methods(
    train: TrainConfig, models: Sequence[str], frameworks: Sequence[str]
) -> list[Method]:
    """Every model under every framework.

    A model is a registered name, followed by changes after a colon to compare several variants
    of it: `star:normalization=bn,auxiliary_network=false` changes keys of the section `model`,
    or of its `options` if the section has no such key. Frameworks are written the same way:
    `mamdr:helper_domains=3,outer_learning_rate=0.1`. A model that names its own framework, such
    as `mlp+mamdr:helper_domains=3`, is compared under that framework only. The names of the
    methods include the framework if there are several, or if a model names its own.

    Raises:
        UserError: A change is not valid, or a method occurs twice.
    """
    pairs = []
    for model in models:
        name, plus, own_framework = model.partition('+')
        pairs += [(name, framework) for framework in ([own_framework] if plus else frameworks)]
    names_framework = (
        any('+' in model for model in models) or len({framework for _, framework in pairs}) > 1
    )
    methods = []
    for model, framework in pairs:
        settings = _with_framework(_with_model(train, model), framework)
        methods.append(Method(f'{model} + {framework}' if names_framework else model, settings))
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise UserError('A method occurs twice in --models and --frameworks: name each once.')
    return methods


def with_model(
    train: TrainConfig, name: str, changes: dict[str, Any], text: str
) -> TrainConfig:
    """The settings with another model, or with changes of the section `model` or its options.

    Args:
        train: Settings; their model options are kept if the model stays the same.
        name: Name of the model.
        changes: New values, by key.
        text: Text that the user wrote, for errors.

    Raises:
        UserError: A change is not valid.
    """
    values = to_mapping(train)
    values['model']['name'] = name
    if name != train.model.name:
        values['model']['options'] = {}
    for key, value in changes.items():
        section = values['model'] if key in values['model'] else values['model']['options']
        section[key] = value
    return parse(type(train), values, f'--models {text}')


def _with_model(train: TrainConfig, model: str) -> TrainConfig:
    return with_model(train, *parse_variant('--models', model), model)


def _with_framework(train: TrainConfig, framework: str) -> TrainConfig:
    name, changes = parse_variant('--frameworks', framework)
    options = train.framework_options if name == train.framework else {}
    return train.replace(framework=name, framework_options=options | changes)


def parse_variant(argument: str, text: str) -> tuple[str, dict[str, Any]]:
    """The name and the changes of a variant, which is written `name:key=value,key=value`.

    Args:
        argument: Command-line argument that the variant is part of, for errors.
        text: The variant.

    Raises:
        UserError: The variant is not written like this.
    """
    name, _, changes = text.partition(':')
    parsed = {}
    for change in filter(None, changes.split(',')):
        key, equals, value = change.partition('=')
        if not equals:
            raise UserError(f'{argument} {text}: write changes as name:key=value,key=value.')
        parsed[key] = read_yaml_value(value, f'{argument} {text}')
    return name, parsed
