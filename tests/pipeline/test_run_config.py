"""Configuration files: read strictly, by path or by name, with overrides."""

import importlib
import json
import pathlib

import pytest

from mdctr.errors import UserError
from mdctr.renamed_keys import RENAMED_KEYS
from mdctr.settings import Settings
from pipeline.config import built_in_names, load_config
from tests import yaml_files
from trainer.frameworks import FRAMEWORKS
from trainer.models import MODELS

OPTIONS = [path.partition(':')[0] for path in (*MODELS.values(), *FRAMEWORKS.values())]
MINIMAL = {
    'name': 'shops',
    'dataset': {
        'reader': 'generic',
        'domain_columns': ['shop'],
        'features': [
            {'name': 'user_id', 'owner': 'user'},
            {'name': 'item_id', 'owner': 'item'},
        ],
        'split': {'days': {'train': ['2020-01-01', '2020-01-03']}},
    },
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'shops.yaml'
    return yaml_files.write(path, MINIMAL)


def test_every_built_in_configuration_is_valid():
    names = built_in_names()
    assert {'movielens', 'open-bandit', 'kuairand'} <= set(names)
    for name in names:
        assert load_config(name).name == name


def test_days_may_be_written_without_quotes(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text(json.dumps(MINIMAL).replace('"2020-01-01"', '2020-01-01'))
    assert load_config(str(path)).dataset.split.days['train'] == ('2020-01-01', '2020-01-03')


def test_set_changes_and_adds_values(path):
    config = load_config(
        path,
        [
            'train.model.name=mlp',
            'train.epochs=3',
            'dataset.inputs=[a.csv, b.csv]',
            'train.learning_rate=1e-2',
            'train.framework=on',
        ],
    )
    assert config.train.model.name == 'mlp'
    assert config.train.epochs == 3
    assert config.dataset.inputs == ['a.csv', 'b.csv']
    assert config.train.learning_rate == 0.01
    assert config.train.framework == 'on'  # text, as everything is that YAML 1.2 says so of


@pytest.mark.parametrize(
    ('override', 'sentence'),
    [
        ('train.epoch=3', '--set train.epoch=3: unknown key train.epoch; did you mean epochs?'),
        ('train.epochs', '--set train.epochs: write it as key=value, e.g. train.epochs=3.'),
        ('name.first=1', '--set name.first=1: name is not a section.'),
        ('train.epochs=[', "--set train.epochs=[: '[' is not a YAML value."),
        ('train.batching=some', "train.batching must be one of domain, mixed, not 'some'."),
        ('name=a b', "name: 'a b' may contain only letters, digits, '-' and '_'."),
    ],
)
def test_a_wrong_change_is_one_sentence(path, override, sentence):
    with pytest.raises(UserError) as error:
        load_config(path, [override])
    assert sentence in str(error.value)
    assert '\n' not in str(error.value)


def test_an_unknown_configuration_is_one_sentence():
    with pytest.raises(
        UserError,
        match='neither a file nor a built-in configuration; built in are: .*movielens',
    ):
        load_config('movielense')


def test_numbers_are_written_as_everywhere(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text(
        'name: shops\n'
        'dataset:\n'
        '  reader: generic\n'
        '  reader_options: {tables: [{path: items.csv, on: item_id}]}\n'
        '  domain_columns: [shop]\n'
        '  split: {by: days, days: {train: [2026-10-01, 2026-10-04]}}\n'
        '  features: [{name: user_id, owner: user}, {name: item_id, owner: item}]\n'
        'train:\n'
        '  learning_rate: 1e-3\n'
    )
    config = load_config(str(path))
    assert config.train.learning_rate == 0.001
    # A key that YAML 1.1 takes for a boolean.
    assert config.dataset.reader_options == {'tables': [{'path': 'items.csv', 'on': 'item_id'}]}


@pytest.mark.parametrize(
    ('old', 'new', 'sentence'),
    [
        ('epochs: 3', 'epoch: 3', ':9: unknown key train.epoch; did you mean epochs?'),
        ('epochs: 3', 'schedule: cosine', ':9: unknown key train.schedule; it is now called '),
        ('epochs: 3', 'epochs: on', ":9: train.epochs must be a whole number, not 'on'."),
        ('name: star', 'nam: star', ':8: unknown key train.model.nam; did you mean name?'),
        ('{name: item_id}', '{name: item_id, kind: x}', ':6: dataset.features[1].kind must be'),
        ('{name: item_id}', '{name: item}', ':2: dataset: features must include item_id.'),
        ('reader: generic', '', ':2: the key dataset.reader is missing.'),
        ('train:', 'trane:', ':7: unknown key trane; did you mean train?'),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, old, new, sentence):
    text = (
        'name: shops\n'
        'dataset:\n'
        '  reader: generic\n'
        '  domain_columns: [shop]\n'
        '  split: {days: {train: [2026-10-01, 2026-10-04]}}\n'
        '  features: [{name: user_id}, {name: item_id}]\n'
        'train:\n'
        '  model: {name: star}\n'
        '  epochs: 3\n'
    )
    path = tmp_path / 'c.yaml'
    path.write_text(text)
    assert load_config(str(path)).train.epochs == 3
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        load_config(str(path))
    assert str(error.value).startswith(f'{path}{sentence}')


def test_every_renamed_key_names_a_key_of_today():
    classes = {}
    unchecked = [Settings]
    for name in (*(f'beam_jobs.readers.{name}' for name in ('ali_ccp', 'generic')), *OPTIONS):
        importlib.import_module(name)
    while unchecked:
        for subclass in unchecked.pop().__subclasses__():
            classes[subclass.__qualname__] = subclass
            unchecked.append(subclass)
    for name, renamed in RENAMED_KEYS.items():
        fields = classes[name].model_fields
        assert set(renamed.values()) <= set(fields), name
        assert not set(renamed) & set(fields), name


def test_a_key_that_is_given_twice_is_refused_with_both_lines(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text('name: shops\ntrain:\n  epochs: 3\n  seed: 2\n  epochs: 4\n')
    with pytest.raises(UserError, match=r'c.yaml:5: the key train.epochs .* first on line 3'):
        load_config(str(path))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_bytes(b'name: \xff')
    with pytest.raises(UserError, match=r'c.yaml cannot be read as UTF-8 text'):
        load_config(str(path))


CASES = pathlib.Path(__file__).parents[2] / '..' / 'shared' / 'cases'


@pytest.mark.parametrize('case', ['yaml-exponent', 'yaml-on'])
def test_shared_cases_are_read(tmp_path, case):
    given = CASES / case / 'config.yaml'
    if not given.exists():
        pytest.skip('../shared is not here')
    path = tmp_path / 'config.yaml'
    # The cases were written before these keys were renamed.
    text = given.read_text()
    for old, new in (('options', 'reader_options'), ('domain', 'domain_columns')):
        text = text.replace(f'  {old}: ', f'  {new}: ')
    path.write_text(text)
    load_config(str(path))


def test_text_that_is_not_yaml_is_refused_with_its_line(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text('name: a\n  b: [')
    with pytest.raises(UserError, match=r'c.yaml:2: not YAML \(mapping values'):
        load_config(str(path))


def test_a_configuration_that_is_not_a_mapping_is_refused(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text('- a\n')
    with pytest.raises(UserError, match='a configuration must be a mapping'):
        load_config(str(path))
