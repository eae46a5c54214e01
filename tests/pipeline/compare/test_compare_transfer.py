"""A comparison over periods: what is trained on which days, resuming, and the tables."""

import dataclasses
import json
import logging
import pathlib

import pytest

from components.continual.config import ContinualConfig
from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.manifest import read_manifest, write_manifest
from mdctr.settings import parse
from pipeline.compare.transfer.methods import parse_transfer_method
from pipeline.compare.transfer.models import TransferModels
from pipeline.compare.transfer.run import TransferResult, compare_transfer
from pipeline.compare.transfer.tables import overall_rows, period_rows, write_tables
from tests.trainer.trainer_dataset import write_dataset

SMALL = {'model': {'name': 'mlp', 'embedding_dim': 2, 'hidden_units': [4]}, 'batch_size': 64}
CTNET = {
    **SMALL,
    'model': {**SMALL['model'], 'name': 'ctnet', 'options': {'target_tower': 'mlp'}},
}
CONTINUAL = parse(
    ContinualConfig,
    {
        'source_domains': ['d1'],
        'target_domains': ['d2', 'd3'],
        'days_per_period': 2,
        'warm_up_days': 2,
        'source_train': SMALL,
        'base_train': SMALL,
        'target_train': CTNET,
    },
    '',
)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """Seven days of three domains: three periods of two days, and the day after."""
    directory = str(tmp_path_factory.mktemp('transfer') / 'dataset')
    write_dataset(
        directory,
        {f'period-{day}': {1: 90, 2: 60, 3: 60} for day in range(1, 7)}
        | {'test': {1: 60, 2: 60}},
    )
    manifest = read_manifest(directory)
    splits = {
        name: dataclasses.replace(split, days=(f'2024-01-0{n}',) * 2)
        for n, (name, split) in enumerate(manifest.splits.items(), 1)
    }
    write_manifest(directory, dataclasses.replace(manifest, splits=splits))
    return open_dataset(directory)


class RecordedModels(TransferModels):
    """Records what would be trained instead of training."""

    def __init__(self, *args):
        super().__init__(*args)
        self.calls = []

    def train(
        self,
        name,
        config,
        splits,
        domains,
        warm_start=None,
        parts='all',
        id_features=(),
        source=None,
    ):
        self.calls.append(
            (
                name,
                config.model.name,
                [s.removeprefix('period-') for s in splits],
                list(domains),
                warm_start,
                parts,
                source,
            )
        )
        return name


def test_ctnet_continues_the_plain_model_with_the_newest_source(dataset, tmp_path):
    models = RecordedModels(dataset, str(tmp_path), CONTINUAL, 1)
    trained = parse_transfer_method('ctnet').train_models(models, 'd2')
    called = {call[0]: call[1:] for call in models.calls}
    assert called['base/d2/1'] == ('mlp', ['1', '2'], ['d2'], None, 'all', None)
    assert called['source/2'] == ('mlp', ['3', '4'], ['d1'], 'source/1', 'all', None)
    assert called['ctnet/d2/2'] == ('ctnet', ['3', '4'], ['d2'], 'base/d2/1', 'all', 'source/2')
    assert called['ctnet/d2/3'] == (
        'ctnet',
        ['5', '6'],
        ['d2'],
        'ctnet/d2/2',
        'all',
        'source/3',
    )
    assert trained[1] == ['base/d2/1'] and trained[3][-1] == 'ctnet/d2/3'


def test_transfer_once_keeps_the_first_source(dataset, tmp_path):
    models = RecordedModels(dataset, str(tmp_path), CONTINUAL, 1)
    parse_transfer_method('ctnet_once:adapter=linear').train_models(models, 'd3')
    sources = [call[-1] for call in models.calls if call[1] == 'ctnet']
    assert sources == ['source/2', 'source/2']


def test_fine_tuning_starts_from_the_last_source_and_takes_the_last_days(dataset, tmp_path):
    models = RecordedModels(dataset, str(tmp_path), CONTINUAL, 1)
    trained = parse_transfer_method('finetune:parts=id_embeddings,days=3').train_models(
        models, 'd2'
    )
    assert models.calls[-1] == (
        'finetune:parts=id_embeddings,days=3/d2',
        'mlp',
        ['4', '5', '6'],
        ['d2'],
        'source/3',
        'id_embeddings',
        None,
    )
    assert list(trained) == [3]


def test_other_models_are_trained_on_source_and_targets_together(dataset, tmp_path):
    models = RecordedModels(dataset, str(tmp_path), CONTINUAL, 1)
    parse_transfer_method('shared_bottom:dropout=0.2').train_models(models, 'd2')
    assert models.calls[0][1:4] == ('shared_bottom', ['1', '2'], ['d1', 'd2', 'd3'])
    assert models.calls[-1][4] == 'shared_bottom:dropout=0.2/2'


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('source:parts=all', 'this method has no parts to change'),
        ('finetune:parts=some', 'parts must be all, embeddings or id_embeddings'),
        ('finetune:days=0', 'days must be a number of days, not 0'),
        ('finetune:day=7', 'this method has no day to change'),
        ('base:', None),
        ('base:wide', 'write changes as name:key=value'),
    ],
)
def test_a_wrong_change_of_a_method_is_one_sentence(text, sentence):
    if sentence is None:
        assert parse_transfer_method(text).name == text
        return
    with pytest.raises(UserError, match=sentence):
        parse_transfer_method(text)


@pytest.mark.slow
def test_a_comparison_resumes_and_one_failure_loses_nothing(dataset, tmp_path, caplog):
    directory, names = str(tmp_path / 'compare'), ['base', 'source', 'nothing', 'ctnet']
    methods = [parse_transfer_method(text) for text in names]
    two_periods = CONTINUAL.replace(days_per_period=3, warm_up_days=3)
    results, failures = compare_transfer(dataset, directory, two_periods, methods, [1])
    assert [(r.method, r.target) for r in results] == [
        (method, target) for method in ('base', 'source', 'ctnet') for target in ('d2', 'd3')
    ]
    assert len(failures) == 2 and 'There is no model nothing' in failures[0]
    by_key = {(r.method, r.target): r for r in results}
    assert list(by_key['ctnet', 'd2'].days) == ['2024-01-04', '2024-01-07']
    assert list(by_key['ctnet', 'd3'].days) == ['2024-01-04']  # none in test
    # Until the warm-up ends, CTNet is the plain model.
    base, ctnet = by_key['base', 'd2'].days, by_key['ctnet', 'd2'].days
    assert ctnet['2024-01-04'] == base['2024-01-04']
    assert ctnet['2024-01-07'] != base['2024-01-07']
    groups = by_key['ctnet', 'd2'].groups
    for kind in ('users', 'items'):
        assert sum(groups[f'{age} {kind}']['impressions'] for age in ('new', 'old')) == 60

    (pathlib.Path(directory) / 'results' / 'ctnet' / 'd2-1.json').unlink()
    caplog.clear()
    caplog.set_level(logging.INFO, 'pipeline')
    again, _ = compare_transfer(
        dataset,
        directory,
        two_periods,
        [method for method in methods if method.name != 'nothing'],
        [1],
    )
    assert again == results
    assert 'Training ' not in caplog.text  # no model was trained again
    assert not (pathlib.Path(directory) / 'seed-1').exists()


def result(method, target, seed, auc):
    days = {
        f'2024-01-0{n}': {
            'auc': value,
            'gauc': value - 0.1,
            'log_loss': 0.5,
            'pcoc': 1.0,
            'impressions': 100,
        }
        for n, value in enumerate(auc, 1)
    }
    return TransferResult(method, target, seed, days, {}, 10.0, 5)


def test_tables_have_the_last_day_and_the_gains_of_every_day(tmp_path):
    results = [
        result('base', 'B', 1, [0.6, 0.62]),
        result('base', 'B', 2, [0.61, 0.64]),
        result('ctnet', 'B', 1, [0.7, 0.72]),
        result('ctnet', 'B', 2, [0.7, 0.73]),
        result('once', 'B', 1, [0.65]),
        result('base', 'C', 1, [0.5, 0.6]),
    ]
    rows = overall_rows(results, 'base')
    by_key = {(row['target'], row['method']): row for row in rows}
    assert by_key['B', 'base']['auc'] == pytest.approx(0.63)
    assert by_key['B', 'once']['auc'] == pytest.approx(0.65)
    assert by_key['B', 'ctnet']['gauc'] == pytest.approx(0.625)
    periods = period_rows(results, 'base')
    assert [(row['day'], row['method']) for row in periods if row['target'] == 'B'] == [
        ('2024-01-01', 'base'),
        ('2024-01-01', 'ctnet'),
        ('2024-01-01', 'once'),
        ('2024-01-02', 'base'),
        ('2024-01-02', 'ctnet'),
        ('mean', 'base'),
        ('mean', 'ctnet'),
    ]
    assert periods[6]['auc_gain'] == pytest.approx((0.71 + 0.715 - 0.61 - 0.625) / 2)
    assert periods[6]['impressions'] == 200
    assert periods[1]['auc_gain'] == pytest.approx(0.7 - 0.605)

    text = write_tables(str(tmp_path / 'tables'), results, 'base')
    assert '| base (baseline) | 0.6300' in text
    assert sorted(path.name for path in (tmp_path / 'tables').iterdir()) == [
        'groups.csv',
        'groups.md',
        'periods.csv',
        'periods.md',
        'table.csv',
        'table.md',
    ]
    first = (tmp_path / 'tables' / 'table.csv').read_text().splitlines()
    assert first[0].startswith('target,method,seeds,auc,') and len(first) == 5
    assert json.dumps(rows)  # plain values
