"""A comparison trains every method, survives failures and resumes."""

import json
import logging
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from pipeline.cli.main import main
from pipeline.compare.methods import REFERENCES, parse_methods, parse_references
from pipeline.compare.report import write_reports
from pipeline.compare.run import compare
from pipeline.compare.score import Scores, score_split
from tests.trainer.trainer_dataset import write_dataset
from trainer.config import ModelConfig, TrainConfig

TRAIN = TrainConfig(
    model=ModelConfig(name='mlp', embedding_dim=2, hidden_units=[4]), batch_size=32, epochs=1
)


def test_variants_change_the_model_section_or_its_options():
    plain, variant = parse_methods(
        TRAIN, ['star', 'star:normalization=bn,domain_feature=true'], ['joint']
    )
    assert plain.train.model.name == 'star' and plain.train.model.normalization is None
    assert variant.train.model.normalization == 'bn'
    assert variant.train.model.options == {'domain_feature': True}
    assert variant.name == 'star:normalization=bn,domain_feature=true'


def test_scoring_keeps_no_graph_in_memory(tmp_path):
    from tensorflow.python.framework import ops

    from trainer.train import train

    write_dataset(tmp_path / 'tiny')
    dataset = open_dataset(str(tmp_path / 'tiny'))
    star = TRAIN.replace(model=ModelConfig(name='star', embedding_dim=2, hidden_units=[4]))
    export = train(dataset, str(tmp_path / 'run'), star)
    before = set(ops.gradient_registry._registry)
    score_split(dataset, 'test', export)
    assert set(ops.gradient_registry._registry) == before


def test_every_model_under_every_framework():
    names = [
        method.name for method in parse_methods(TRAIN, ['mlp', 'star'], ['joint', 'mamdr'])
    ]
    assert names == ['mlp + joint', 'mlp + mamdr', 'star + joint', 'star + mamdr']


def test_a_model_may_name_its_own_framework():
    methods = parse_methods(
        TRAIN,
        ['star', 'mlp+mamdr:helper_domains=2,outer_learning_rate=0.1', 'mlp+joint'],
        ['alternate', 'reptile'],
    )
    assert [method.name for method in methods] == [
        'star + alternate',
        'star + reptile',
        'mlp + mamdr:helper_domains=2,outer_learning_rate=0.1',
        'mlp + joint',
    ]
    assert methods[2].train.framework == 'mamdr'
    assert methods[2].train.framework_options == {
        'helper_domains': 2,
        'outer_learning_rate': 0.1,
    }
    assert methods[3].train.framework_options == {}
    assert [method.name for method in parse_methods(TRAIN, ['mlp+joint'], ['mamdr'])] == [
        'mlp + joint'
    ]  # as it was named, though it is the only one


@pytest.mark.parametrize(
    ('models', 'sentence'),
    [
        (['mlp', 'mlp'], 'A method occurs twice'),
        (['star:fast'], '--models star:fast: write changes as name:key=value'),
        (['star+mamdr:fast'], '--frameworks mamdr:fast: write changes as name:key=value'),
        (['star:normalization=zz'], 'model.normalization must be'),
    ],
)
def test_a_wrong_method_is_one_sentence(models, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_methods(TRAIN, models, ['joint'])


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp('compare') / 'dataset'
    write_dataset(
        directory,
        {'train': {1: 60, 2: 40}, 'validation': {1: 30, 2: 20}, 'test': {1: 30, 2: 20}},
    )
    return open_dataset(str(directory))


@pytest.fixture(scope='module')
def finished(dataset, tmp_path_factory):
    """The directory, results and failures of a comparison in which one method fails."""
    directory = tmp_path_factory.mktemp('finished')
    methods = parse_methods(TRAIN, ['mlp', 'star:nothing=1', 'star'], ['joint'])
    return directory, *compare(dataset, str(directory), methods, [1])


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, 'pipeline')
    return caplog


def test_a_method_that_fails_does_not_stop_the_others(finished):
    _, results, failures = finished
    assert [result.method for result in results] == ['mlp', 'star']
    assert len(failures) == 1 and 'unknown key nothing' in failures[0]
    assert results[0].metrics['overall']['impressions'] == 50
    assert results[0].parameters > 0


def test_finished_runs_are_read_back(dataset, finished, log):
    directory, results, _ = finished
    methods = parse_methods(TRAIN, ['mlp', 'star'], ['joint'])
    again, _ = compare(dataset, str(directory), methods, [1])
    assert log.text.count('already finished') == 2
    assert again == results
    stored = json.loads((directory / 'mlp' / 'seed-1' / 'result.json').read_text())
    assert stored['result']['seed'] == 1


def test_seeds_can_be_added(dataset, finished, log):
    directory, results, _ = finished
    again, _ = compare(
        dataset, str(directory), parse_methods(TRAIN, ['mlp'], ['joint']), [1, 2]
    )
    assert log.text.count('already finished') == 1
    assert [(result.method, result.seed) for result in again] == [('mlp', 1), ('mlp', 2)]
    assert again[0] == results[0] and again[1].metrics != results[0].metrics


def test_reports_are_a_markdown_table_and_a_page_that_opens_offline(
    dataset, finished, tmp_path
):
    text = write_reports(dataset.manifest, str(tmp_path), finished[1], 'mlp')
    assert '| mlp (baseline) |' in text
    page = (tmp_path / 'table.html').read_text()
    assert '://' not in page
    HTMLParser().feed(page)
    assert page.count('<circle') == 4


def right_scores(dataset, split, seed):
    """100 impressions of a log with a tenth of 900 negatives kept, and the log's own rate."""
    click = np.repeat([1, 0], [100, 90])
    ids = np.ones(190, np.int64)
    return Scores(ids, ids, ids, ids, click, np.full(190, 0.1))


def test_kept_negatives_are_weighted_for_those_dropped(tmp_path, monkeypatch):
    write_dataset(tmp_path / 'sampled', keep_negatives=0.1)
    sampled = open_dataset(str(tmp_path / 'sampled'))
    monkeypatch.setitem(REFERENCES, 'right', f'{__name__}:right_scores')
    results, _ = compare(
        sampled,
        str(tmp_path / 'compare'),
        parse_references(TRAIN, ['right']),
        [1],
    )
    found = results[0].metrics['overall']
    assert found['ctr'] == pytest.approx(0.1)
    assert found['pcoc'] == pytest.approx(1)
    assert found['log_loss'] == pytest.approx(-0.1 * np.log(0.1) - 0.9 * np.log(0.9))


def test_without_a_dataset_there_is_one_sentence(tmp_path, capsys):
    command = ['compare', 'movielens', '--models', 'mlp star', '--workspace', str(tmp_path)]
    assert main(command) == 2
    assert capsys.readouterr().err.count('does not contain a complete dataset') == 1


def test_runs_at_the_same_time_give_the_same_results(dataset, finished, tmp_path):
    methods = parse_methods(TRAIN, ['mlp', 'star:nothing=1', 'star'], ['joint'])
    results, failures = compare(dataset, str(tmp_path), methods, [1], jobs=2)
    assert [result.method for result in results] == ['mlp', 'star']
    assert len(failures) == 1 and 'unknown key nothing' in failures[0]
    for parallel, sequential in zip(results, finished[1], strict=True):
        assert parallel.metrics['overall']['log_loss'] == pytest.approx(
            sequential.metrics['overall']['log_loss'], rel=1e-5
        )


def test_other_settings_are_trained_again(dataset, finished, tmp_path, log):
    directory = str(shutil.copytree(finished[0], tmp_path / 'compare'))
    other = TRAIN.replace(batch_size=16)
    compare(dataset, directory, parse_methods(other, ['mlp'], ['joint']), [1])
    assert 'already finished' not in log.text
