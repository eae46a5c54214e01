"""The JSON Schema of configurations, and the reference that is generated from the models."""

import copy
import json
import pathlib

import jsonschema
import pytest

from mdctr.errors import UserError
from mdctr.yaml_reader import read_yaml
from pipeline.cli.main import main
from pipeline.config import built_in_names, load_config
from pipeline.config_docs import configuration_page
from pipeline.config_schema import config_schema

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def schema():
    return config_schema()


def values_of(name: str) -> dict:
    path = ROOT / 'pipeline' / 'configs' / f'{name}.yaml'
    return read_yaml(path.read_text(encoding='utf-8'), name).values


def test_the_schema_is_a_json_schema(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_command_prints_the_schema(schema, capsys):
    assert main(['config', 'schema']) == 0
    assert json.loads(capsys.readouterr().out) == schema


@pytest.mark.parametrize('name', built_in_names())
def test_built_in_configurations_are_valid(schema, name):
    jsonschema.validate(values_of(name), schema)


@pytest.mark.parametrize(
    'override',
    [
        'train.epoch=3',
        'train.epochs=0',
        'train.epochs=many',
        'train.batching=some',
        'dataset.reader=generics',
        'dataset.reader_options.variants=1m',
        'dataset.reader_options.variant=2m',
        'dataset.features=[{name: user_id, kind: statistic}]',
        'dataset.features=[{name: user_id, buckets: 3}]',
        'dataset.features=[{name: user_id, kind: embedding}]',
        'dataset.split.days.train=[2026-10-01]',
        'train.model.name=starr',
        'train.model.options.experts=3',
        'train.model={name: mmoe, options: {experts: -1}}',
        'train.framework=joints',
        'train.framework_options.outer_learning_rate=0.1',
        'evaluate.pcoc_band=[1, 2, 3]',
    ],
)
def test_the_schema_refuses_what_the_command_line_refuses(schema, override):
    with pytest.raises(UserError):
        load_config('movielens', [override], check_components=True)
    values = copy.deepcopy(values_of('movielens'))
    path, _, text = override.partition('=')
    *sections, key = path.split('.')
    section = values
    for name in sections:
        section = section.setdefault(name, {})
    section[key] = read_yaml(text, 'value').values
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema)


@pytest.mark.parametrize(
    'section',
    [
        {'model': {'name': 'mmoe', 'options': {'experts': 3}}},
        {'model': {'options': {'auxiliary_units': 3}}},  # of the default, STAR
        {'model': {'name': 'own.models:Own', 'options': {'anything': 1}}},
        {'framework': 'mamdr', 'framework_options': {'helper_domains': None}},
        {'framework': 'own:Framework', 'framework_options': {'anything': 1}},
    ],
)
def test_options_follow_the_name_of_the_component(schema, section):
    jsonschema.validate({**values_of('movielens'), 'train': section}, schema)


def test_the_committed_reference_is_the_generated_one():
    committed = (ROOT / 'docs' / 'configuration.md').read_text(encoding='utf-8')
    assert committed == configuration_page(), (
        'renew it with mdctr config docs > docs/configuration.md'
    )


def test_every_key_has_a_description(schema):
    def without(part, path):
        for key, value in part.get('properties', {}).items():
            if 'description' not in value and 'const' not in value:
                yield f'{path}.{key}'
            yield from without(value, f'{path}.{key}')

    parts = {'': schema, **schema['$defs']}
    for name, part in schema['$defs'].items():
        for number, condition in enumerate(part.get('allOf', [])):
            for options in condition['then']['properties'].values():
                parts[f'{name}.{number}'] = options
    assert not [key for name, part in parts.items() for key in without(part, name)]
