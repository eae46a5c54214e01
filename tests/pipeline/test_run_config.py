"""Configuration files: read strictly, by path or by name, with changes from outside."""

import pytest
import yaml

from beam_jobs.errors import UserError
from pipeline.config import built_in_names, load_config

MINIMAL = {
    'name': 'shops',
    'dataset': {
        'reader': 'generic', 'domain': ['shop'],
        'features': [{'name': 'user_id', 'owner': 'user'},
                     {'name': 'item_id', 'owner': 'item'}],
        'split': {'days': {'train': ['2020-01-01', '2020-01-03']}}}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'shops.yaml'
    path.write_text(yaml.safe_dump(MINIMAL))
    return str(path)


def test_every_built_in_configuration_is_valid():
    names = built_in_names()
    assert {'movielens', 'open-bandit', 'kuairand'} <= set(names)
    for name in names:
        assert load_config(name).name == name


def test_days_may_be_written_without_quotes(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text(yaml.safe_dump(MINIMAL).replace("'2020-01-01'", '2020-01-01'))
    assert load_config(str(path)).dataset.split.days['train'] == ('2020-01-01', '2020-01-03')


def test_set_changes_and_adds_values(path):
    config = load_config(path, ['train.model.name=mlp', 'train.epochs=3',
                                'dataset.inputs=[a.csv, b.csv]', 'train.learning_rate=1.0e-2'])
    assert config.train.model.name == 'mlp'
    assert config.train.epochs == 3
    assert config.dataset.inputs == ['a.csv', 'b.csv']
    assert config.train.learning_rate == 0.01


@pytest.mark.parametrize(('override', 'sentence'), [
    ('train.epoch=3', 'unknown key train.epoch; allowed here:'),
    ('train.epochs', '--set train.epochs: write it as key=value, e.g. train.epochs=3.'),
    ('name.first=1', '--set name.first=1: name is not a section.'),
    ('train.epochs=[', "--set train.epochs=[: '[' is not a YAML value."),
    ('train.batches=some', "train.batches must be one of domain, mixed, not 'some'."),
    ('name=a b', "name: 'a b' may hold letters, digits, - and _ alone."),
])
def test_a_wrong_change_is_one_sentence(path, override, sentence):
    with pytest.raises(UserError) as error:
        load_config(path, [override])
    assert sentence in str(error.value)
    assert '\n' not in str(error.value)


def test_no_such_configuration():
    with pytest.raises(UserError, match='neither a file nor a built-in configuration; built in '
                                        'are: .*movielens'):
        load_config('movielense')


def test_not_yaml(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text('name: a\n  b: [')
    with pytest.raises(UserError, match=r'c.yaml: line 2: not YAML \(mapping values'):
        load_config(str(path))


def test_not_a_mapping(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text('- a\n')
    with pytest.raises(UserError, match='a configuration is a mapping'):
        load_config(str(path))
