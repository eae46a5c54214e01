"""Components that a configuration names are checked before any work is done."""

import sys

import pytest

from mdctr.errors import UserError
from pipeline.config import load_config

CONFIG = """\
name: shops
dataset:
  reader: generic
  inputs: [log.csv]
  domain_columns: [shop]
  split: {days: {train: [2026-10-01, 2026-10-04]}}
  features: [{name: user_id, owner: user}, {name: item_id, owner: item}]
train:
  framework: domain_negotiation
  framework_options: {inner_optimizer: nadam}
  model:
    name: mmoe
    options: {experts: 2}
"""
OWN = """
import tf_keras
from beam_jobs.readers.base import Reader
from mdctr.settings import Settings
from trainer.frameworks.joint import Joint
from trainer.models.single_domain.mlp import MLP

class OwnModel(MLP):
    class Options(MLP.Options):
        gates: int = 3

class OwnFramework(Joint):
    def __init__(self, config): pass

class OwnReader(Reader):
    def files(self): return []

class OwnOptimizer(tf_keras.optimizers.Optimizer):
    def __init__(self): pass
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    monkeypatch.delitem(sys.modules, 'own_components', raising=False)
    (tmp_path / 'own_components.py').write_text(OWN)
    (tmp_path / 'c.yaml').write_text(CONFIG)


def check(*overrides: str) -> None:
    load_config('c.yaml', overrides, check_components=True)


def test_components_that_can_be_used_are_accepted():
    check()
    check('train.model={name: "own_components:OwnModel", options: {gates: 4}}')


@pytest.mark.parametrize(
    ('override', 'sentence'),
    [
        ('dataset.reader=generics', 'There is no reader generics; did you mean generic? '),
        (
            'dataset.reader=own_components:OwnReader',
            'The reader own_components:OwnReader does ',
        ),
        ('dataset.reader_options.quot=x', 'unknown key dataset.reader_options.quot; did you '),
        ('train.model.name=starr', 'There is no model starr; did you mean star? '),
        (
            'train.model.name=own_components:Nothing',
            'There is no model own_components:Nothing: ',
        ),
        ('train.model.name=nowhere:Model', 'The model nowhere:Model cannot be imported: '),
        (
            'train.model.name=collections:Counter',
            'collections:Counter is not a model: it must ',
        ),
        ('train.model.options.experts=-1', 'train.model.options.experts must be at least 0, '),
        ('train.framework=joints', 'There is no framework joints; did you mean joint? '),
        (
            'train.framework=own_components:OwnFramework',
            'The framework own_components:OwnFramework cannot be constructed: its constructor '
            'must accept (config, options, model, examples), as that of ',
        ),
        (
            'train.framework_options.outer_rate=1',
            'unknown key train.framework_options.outer_rate; it is now called '
            'outer_learning_rate.',
        ),
        (
            'train.framework_options.outer_optimizer=sgdd',
            'There is no optimizer sgdd; did you ',
        ),
        (
            'train.optimizer=own_components:OwnModel',
            'own_components:OwnModel is not an optimizer',
        ),
        (
            'train.optimizer=own_components:OwnOptimizer',
            'The optimizer own_components:OwnOptimizer cannot be constructed: its constructor ',
        ),
        (
            'train.optimizer_options.beta=1',
            'The optimizer adam does not accept the option beta; ',
        ),
        (
            'continual={source_domains: [a], target_domains: [b]}',
            'continual goes with dataset.split',
        ),
    ],
)
def test_a_component_that_cannot_be_used_is_one_sentence(override, sentence):
    with pytest.raises(UserError) as error:
        check(override)
    assert sentence in str(error.value)
    assert str(error.value).startswith(('c.yaml:', f'--set {override}: '))
    assert '\n' not in str(error.value)


def test_the_line_of_the_configuration_is_named(tmp_path):
    (tmp_path / 'c.yaml').write_text(CONFIG.replace('mmoe', 'mmoee'))
    with pytest.raises(UserError, match=r'^c.yaml:12: There is no model mmoee; did you mean'):
        check()
    (tmp_path / 'c.yaml').write_text(CONFIG.replace('experts', 'expert'))
    with pytest.raises(
        UserError, match=r'^c.yaml:13: unknown key train.model.options.expert; did you'
    ):
        check()


def test_models_of_continual_training_are_checked():
    continual = (
        'continual={source_domains: [a], target_domains: [b], target_train: {model: {options: '
        '{adapters: 1}}}}'
    )
    split = 'dataset.split={by: periods, period_days: 1}'
    with pytest.raises(UserError, match=r'unknown key continual.target_train.model.options.ad'):
        check(continual, split, 'evaluate.min_auc=0.5')
