"""Names that are paths are refused, and nothing is written outside of the workspace."""

import pytest

from pipeline.cli.main import main
from tests import yaml_files
from tests.pipeline.own_log import write_config, write_log

NAME = '../../x'
DAYS = ['2020-01-05', '2020-01-05']


@pytest.fixture
def refused(tmp_path, capsys):
    """A function that checks that a command names the path and leaves no file."""

    def check(*words):
        before = sorted(tmp_path.rglob('*'))
        assert main([*words, '--workspace', str(tmp_path / 'a' / 'runs')]) == 2
        sentence = capsys.readouterr().err
        assert NAME in sentence and len(sentence.splitlines()) == 1
        assert sorted(tmp_path.rglob('*')) == before

    return check


@pytest.mark.parametrize('command', ['list', 'rollback'])
def test_of_a_model(refused, command):
    refused('models', command, NAME)


@pytest.mark.parametrize(
    'change',
    [
        lambda config: config.update(name=NAME),
        lambda config: config['dataset']['features'][2].update(name=NAME),
        lambda config: config['dataset']['split']['days'].update({NAME: DAYS}),
    ],
    ids=['configuration', 'feature', 'split'],
)
def test_in_a_configuration(refused, tmp_path, change):
    write_log(tmp_path / 'log.csv', rows=10)
    path = write_config(tmp_path / 'shops.yaml', tmp_path / 'log.csv')
    config = yaml_files.load(tmp_path / 'shops.yaml')
    change(config)
    yaml_files.write(tmp_path / 'shops.yaml', config)
    refused('dataset', 'build', path)
