"""The `continual` section: its defaults, and one sentence for each wrong value."""

import copy

import pytest

from components.continual.config import served_name
from mdctr.errors import UserError
from pipeline.config import load_config
from tests import yaml_files
from tests.components.continual.daily_log import settings


@pytest.fixture
def values(tmp_path):
    return copy.deepcopy(settings(tmp_path))


def load(tmp_path, values, *overrides):
    path = tmp_path / 'shops.yaml'
    yaml_files.write(path, values)
    return load_config(str(path), list(overrides))


def test_without_the_section_a_configuration_is_not_continual(tmp_path, values):
    del values['continual']
    assert load(tmp_path, values).continual is None


def test_defaults_are_those_of_the_paper(tmp_path, values):
    values['continual'] = {
        'source_domains': ['large'],
        'target_domains': ['small', 'tiny'],
        'target_train': {'model': {'embedding_dim': 8}},
    }
    continual = load(tmp_path, values).continual
    assert continual.models == ['source', 'small', 'tiny']
    assert continual.domains_of('source') == ['large']
    assert continual.domains_of('tiny') == ['tiny']
    assert [
        train.model.name
        for train in (continual.source_train, continual.base_train, continual.target_train)
    ] == ['taobao_base', 'taobao_base', 'ctnet']
    assert continual.target_train.model.embedding_dim == 8
    for train in (continual.source_train, continual.base_train, continual.target_train):
        assert (train.epochs, train.batch_size, train.optimizer, train.learning_rate) == (
            1,
            512,
            'adagrad',
            0.01,
        )


def test_a_model_is_pushed_under_a_name_that_is_a_directory():
    assert served_name('shops', 'source') == 'shops-source'
    assert served_name('shops', 'feed|top/1') == 'shops-feed-top-1'


@pytest.mark.parametrize(
    ('override', 'sentence'),
    [
        ('continual.source_domains=[]', 'continual: source_domains needs one domain or more'),
        ('continual.target_domains=[small, small]', 'target_domains needs .* each once'),
        ('continual.target_domains=[large]', 'the domain large is a source and a target'),
        (
            'continual.target_domains=[a b, a-b]',
            'two models would be pushed under the same name',
        ),
        (
            'continual.target_domains=[source]',
            'two models would be pushed under the same name',
        ),
        ('continual.days_per_period=0', 'continual.days_per_period must be at least 1, not 0'),
        ('continual.warm_up_days=-1', 'continual.warm_up_days must be at least 0'),
        ('continual.target_train.epoch=1', 'unknown key continual.target_train.epoch;'),
        ('continual.success_marker=log/_SUCCESS', r'success_marker must contain \{day\}'),
        (
            'dataset.extendable=false',
            r'\{day\} in dataset.inputs needs dataset.extendable: true',
        ),
        ('dataset.split.first_day=null', r'needs .* the first day as dataset.split.first_day'),
        ('dataset.split.period_days=2', 'a split for each day'),
        ('dataset.inputs=["a-{day}.csv", b.csv]', r'with \{day\} in one of them, all need it'),
        ('evaluate.max_gauc_drop=null', 'continual needs a threshold in the section evaluate'),
    ],
)
def test_a_wrong_value_is_one_sentence(tmp_path, values, override, sentence):
    with pytest.raises(UserError, match=sentence) as found:
        load(tmp_path, values, override)
    assert '\n' not in str(found.value)


def test_a_marker_needs_days_in_the_inputs(tmp_path, values):
    values['dataset']['inputs'] = ['log.csv']
    with pytest.raises(UserError, match='success_marker goes with'):
        load(tmp_path, values, 'continual.success_marker=log/{day}/_SUCCESS')
