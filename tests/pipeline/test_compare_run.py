"""A comparison trains every method, survives failures and resumes."""

import json
import pathlib
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from beam_jobs.errors import UserError
from pipeline.compare.methods import REFERENCES, methods_of, references_of
from pipeline.compare.report import write_reports
from pipeline.compare.run import compare
from pipeline.compare.score import Scores
from trainer.config import ModelConfig, TrainConfig

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'trainer'))
from trainer_dataset import write_dataset

TRAIN = TrainConfig(model=ModelConfig(name='mlp', embedding_dim=2, hidden_units=[4]),
                    batch_size=32, epochs=1)


def test_variants_change_the_model_section_or_its_options():
    plain, variant = methods_of(TRAIN, ['star', 'star:normalization=bn,domain_feature=true'],
                                ['joint'])
    assert plain.train.model.name == 'star' and plain.train.model.normalization is None
    assert variant.train.model.normalization == 'bn'
    assert variant.train.model.options == {'domain_feature': True}
    assert variant.name == 'star:normalization=bn,domain_feature=true'


def test_every_model_under_every_framework():
    names = [method.name for method in methods_of(TRAIN, ['mlp', 'star'], ['joint', 'mamdr'])]
    assert names == ['mlp + joint', 'mlp + mamdr', 'star + joint', 'star + mamdr']


def test_a_model_may_name_its_own_framework():
    methods = methods_of(TRAIN, ['star', 'mlp+mamdr:helpers=2,outer_rate=0.1', 'mlp+joint'],
                         ['alternate', 'reptile'])
    assert [method.name for method in methods] == [
        'star + alternate', 'star + reptile', 'mlp + mamdr:helpers=2,outer_rate=0.1',
        'mlp + joint']
    assert methods[2].train.framework == 'mamdr'
    assert methods[2].train.framework_options == {'helpers': 2, 'outer_rate': 0.1}
    assert methods[3].train.framework_options == {}
    assert [method.name for method in methods_of(TRAIN, ['mlp+joint'], ['mamdr'])] == [
        'mlp + joint']  # as it was named, though it is the only one


@pytest.mark.parametrize(('models', 'sentence'), [
    (['mlp', 'mlp'], 'A method occurs twice'),
    (['star:fast'], '--models star:fast: write changes as name:key=value'),
    (['star+mamdr:fast'], '--frameworks mamdr:fast: write changes as name:key=value'),
    (['star:normalization=zz'], 'model.normalization must be'),
])
def test_wrong_methods(models, sentence):
    with pytest.raises(UserError, match=sentence):
        methods_of(TRAIN, models, ['joint'])


def test_resumes_and_one_failure_loses_nothing(tmp_path, capsys):
    dataset = str(tmp_path / 'dataset')
    write_dataset(dataset, {'train': {1: 60, 2: 40}, 'validation': {1: 30, 2: 20},
                            'test': {1: 30, 2: 20}})
    directory = str(tmp_path / 'compare')
    methods = methods_of(TRAIN, ['mlp', 'star:nothing=1', 'star'], ['joint'])
    results, failures = compare(dataset, directory, methods, [1])
    assert [result.method for result in results] == ['mlp', 'star']
    assert len(failures) == 1 and 'unknown key nothing' in failures[0]
    assert results[0].metrics['overall']['impressions'] == 50
    assert results[0].parameters > 0

    capsys.readouterr()
    methods = methods_of(TRAIN, ['mlp', 'star'], ['joint'])
    again, _ = compare(dataset, directory, methods, [1, 2])
    printed = capsys.readouterr().out
    assert printed.count('done before') == 2
    assert [(r.method, r.seed) for r in again] == [('mlp', 1), ('star', 1), ('mlp', 2),
                                                   ('star', 2)]
    assert again[0] == results[0]

    text = write_reports(dataset, directory, again, 'mlp')
    assert '| mlp (baseline) |' in text
    page = (tmp_path / 'compare' / 'table.html').read_text()
    assert '://' not in page
    HTMLParser().feed(page)
    assert page.count('<circle') == 4
    stored = json.loads((tmp_path / 'compare' / 'mlp' / 'seed-1' / 'result.json').read_text())
    assert stored['result']['seed'] == 1


def right_scores(dataset, split, seed):
    """100 impressions of a log with a tenth of 900 negatives kept, and the log's own rate."""
    click = np.repeat([1, 0], [100, 90])
    ids = np.ones(190, np.int64)
    return Scores(ids, ids, ids, ids, click, np.full(190, 0.1))


def test_kept_negatives_stand_for_those_that_were_not(tmp_path, monkeypatch):
    write_dataset(tmp_path / 'sampled', keep_negatives=0.1)
    monkeypatch.setitem(REFERENCES, 'right', f'{__name__}:right_scores')
    results, _ = compare(str(tmp_path / 'sampled'), str(tmp_path / 'compare'),
                         references_of(TRAIN, ['right']), [1])
    found = results[0].metrics['overall']
    assert found['ctr'] == pytest.approx(0.1)
    assert found['pcoc'] == pytest.approx(1)
    assert found['log_loss'] == pytest.approx(-0.1 * np.log(0.1) - 0.9 * np.log(0.9))


def test_without_a_dataset_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match='holds no complete dataset'):
        compare(str(tmp_path / 'none'), str(tmp_path / 'compare'),
                methods_of(TRAIN, ['mlp', 'star'], ['joint']), [1, 2])


def test_runs_side_by_side_give_the_same_results(tmp_path):
    dataset = str(tmp_path / 'dataset')
    write_dataset(dataset, {'train': {1: 60, 2: 40}, 'validation': {1: 30, 2: 20},
                            'test': {1: 30, 2: 20}})
    methods = methods_of(TRAIN, ['mlp', 'star:nothing=1', 'star'], ['joint'])
    alone, _ = compare(dataset, str(tmp_path / 'alone'), methods, [1])
    results, failures = compare(dataset, str(tmp_path / 'compare'), methods, [1], jobs=2)
    assert [result.method for result in results] == ['mlp', 'star']
    assert len(failures) == 1 and 'unknown key nothing' in failures[0]
    for one, other in zip(results, alone, strict=True):
        assert one.metrics['overall']['log_loss'] == pytest.approx(
            other.metrics['overall']['log_loss'], rel=1e-5)


def test_other_settings_train_anew(tmp_path, capsys):
    dataset = str(tmp_path / 'dataset')
    write_dataset(dataset, {'train': {1: 60}, 'validation': {1: 30}, 'test': {1: 30}})
    directory = str(tmp_path / 'compare')
    compare(dataset, directory, methods_of(TRAIN, ['mlp'], ['joint']), [1])
    other = TrainConfig(model=TRAIN.model, batch_size=16, epochs=1)
    capsys.readouterr()
    compare(dataset, directory, methods_of(other, ['mlp'], ['joint']), [1])
    assert 'done before' not in capsys.readouterr().out
