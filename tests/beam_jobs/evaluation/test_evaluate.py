"""Evaluation of a tiny SavedModel on a tiny dataset, against NumPy and scikit-learn."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics as sklearn_metrics

from beam_jobs.evaluation.config import DomainThresholds, EvaluateConfig
from beam_jobs.evaluation.evaluate import evaluate
from beam_jobs.evaluation.model_inputs import raw_values
from beam_jobs.evaluation.score import read_scores
from mdctr.errors import UserError
from mdctr.manifest import Feature, Manifest, Rows, write_manifest
from tests.beam_jobs.tiny_dataset import (
    expected_scores,
    item_weights,
    make_rows,
    write_dataset,
    write_model,
)

ROWS = 700


@pytest.fixture(scope='module')
def columns():
    return make_rows(ROWS, seed=1)


@pytest.fixture(scope='module')
def place(tmp_path_factory, columns):
    """A dataset, a good model, and one of other vocabularies with other weights."""
    place = tmp_path_factory.mktemp('evaluate')
    write_dataset(place / 'dataset', {'test': columns})
    write_model(place / 'model', item_weights())
    write_model(place / 'older', item_weights(9), fingerprint='of-last-week', reverse=True)
    return place


@pytest.fixture(scope='module')
def evaluation(place):
    return evaluate(
        str(place / 'dataset'),
        str(place / 'model'),
        str(place / 'evaluation'),
        EvaluateConfig(min_auc=0.5, max_gauc_drop=0.01, batch_size=64, pcoc_band=(0.2, 5.0)),
        pushed=[str(place / 'older')],
    )


def in_file_order(values):
    """As `write_dataset` deals rows out to two files."""
    return np.concatenate([values[0::2], values[1::2]])


def test_scores_of_the_signature_of_ids_equal_numpy(place, columns, evaluation):
    scores = read_scores(str(place / 'evaluation' / 'scores'))
    np.testing.assert_allclose(
        scores['score'], in_file_order(expected_scores(columns, item_weights())), atol=1e-6
    )
    for name in ('user_key', 'domain', 'click'):
        np.testing.assert_array_equal(scores[name], in_file_order(columns[name]))


def test_a_model_of_other_vocabularies_scores_raw_values(place, columns, evaluation):
    scores = read_scores(str(place / 'evaluation' / 'baseline_scores'))
    # Unseen genres are '' in raw values, which is no genre.
    genres = [ids[ids > 0] for ids in columns['genres']]
    expected = expected_scores({**columns, 'genres': genres}, item_weights(9))
    np.testing.assert_allclose(scores['score'], in_file_order(expected), atol=1e-6)


def test_metrics_equal_scikit_learn(columns, evaluation):
    scores = expected_scores(columns, item_weights())
    for name, mine in (
        ('overall', np.ones(ROWS, bool)),
        ('a', columns['domain'] == 1),
        ('b|x', columns['domain'] == 2),
    ):
        of = (
            evaluation.metrics['overall']
            if name == 'overall'
            else (evaluation.metrics['domains'][name])
        )
        click = columns['click'][mine]
        assert of['auc'] == pytest.approx(
            sklearn_metrics.roc_auc_score(click, scores[mine]), abs=1e-4
        )
        assert of['log_loss'] == pytest.approx(
            sklearn_metrics.log_loss(click, scores[mine]), abs=1e-5
        )
        assert of['pcoc'] == pytest.approx(scores[mine].mean() / click.mean(), abs=1e-5)
        assert (of['impressions'], of['clicks']) == (mine.sum(), click.sum())


def test_of_chosen_domains_their_rows_alone_are_scored(place, columns, evaluation, tmp_path):
    found = evaluate(
        str(place / 'dataset'),
        str(place / 'model'),
        str(tmp_path / 'of-b'),
        EvaluateConfig(min_auc=0.5, max_gauc_drop=1.0, batch_size=64),
        pushed=[str(place / 'older')],
        domains=['b|x'],
    )
    mine = evaluation.metrics['domains']['b|x']
    assert list(found.metrics['domains']) == ['b|x']
    for of in (found.metrics['overall'], found.metrics['domains']['b|x']):
        assert of == pytest.approx(mine, abs=1e-3)  # other batches round otherwise
    for name in ('scores', 'baseline_scores'):
        rows = read_scores(str(tmp_path / 'of-b' / name))
        assert set(rows['domain']) == {2}
        assert len(rows['score']) == (columns['domain'] == 2).sum()
    assert found.values['baseline']['overall']['auc'] == pytest.approx(
        evaluation.values['baseline']['domains']['b|x']['auc'], abs=1e-3
    )
    with pytest.raises(UserError, match='has no domain nowhere'):
        evaluate(
            str(place / 'dataset'),
            str(place / 'model'),
            str(tmp_path / 'none'),
            EvaluateConfig(),
            domains=['nowhere'],
        )


def test_the_file_has_metrics_intervals_baseline_and_verdict(place, evaluation):
    with open(place / 'evaluation' / 'metrics.json') as file:
        values = json.load(file)
    assert values['overall'] == evaluation.metrics['overall']
    low, high = values['intervals']['overall']['auc']
    assert low < values['overall']['auc'] < high
    delta = values['overall']['gauc'] - values['baseline']['overall']['gauc']
    assert values['deltas']['overall']['gauc'] == pytest.approx(delta)
    low, high = values['delta_intervals']['domains']['a']['gauc']
    assert low <= values['deltas']['domains']['a']['gauc'] <= high
    assert values['blessed'] is evaluation.blessed is True
    names = ['min_auc', 'pcoc_band', 'max_gauc_drop', 'max_domain_gauc_drop']
    assert [check['name'] for check in values['checks']] == names
    assert len(values['reasons']) == len(names)


def test_the_report_opens_without_a_network(place, evaluation):
    text = (place / 'evaluation' / 'report.html').read_text()
    assert 'Blessed' in text and 'b|x' in text
    assert not re.search(r'(src|href)\s*=|url\(|@import|https?://', text)


def judged(place, tmp_path, config, **kwargs):
    return evaluate(
        str(place / 'dataset'), str(place / 'model'), str(tmp_path / 'out'), config, **kwargs
    )


def test_no_thresholds_is_no_verdict(place, tmp_path):
    found = judged(place, tmp_path, EvaluateConfig(bootstrap_replicates=0))
    assert not found.blessed and found.reasons == ['no thresholds are set']
    assert found.values['intervals']['overall']['auc'] is None


def test_a_first_model_passes_the_comparison_with_the_pushed_one(place, tmp_path):
    found = judged(place, tmp_path, EvaluateConfig(max_gauc_drop=0.0, bootstrap_replicates=0))
    assert found.blessed and 'no model is pushed' in found.reasons[0]


@pytest.mark.parametrize(
    ('config', 'reason'),
    [
        (EvaluateConfig(min_auc=0.99), 'overall: AUC .* is not at least 0.99'),
        (EvaluateConfig(min_gauc=0.99), 'overall: GAUC .* is not at least 0.99'),
        (EvaluateConfig(pcoc_band=(2.0, 3.0)), 'overall: PCOC .* is outside 2 to 3'),
        (
            EvaluateConfig(domain_thresholds={'b|x': DomainThresholds(min_auc=0.99)}),
            r'b\|x: AUC .* not at least',
        ),
        (
            EvaluateConfig(domain_thresholds={'a': DomainThresholds(pcoc_band=(2.0, 3.0))}),
            'a: PCOC .* outside',
        ),
        (
            EvaluateConfig(domain_pcoc_band=(2.0, 3.0), min_impressions=100),
            'a: PCOC .* outside',
        ),
    ],
)
def test_each_threshold_that_is_not_met_refuses(place, tmp_path, config, reason):
    found = judged(place, tmp_path, config)
    assert not found.blessed
    assert re.search(reason, '; '.join(found.reasons))
    assert any(not check['passed'] for check in found.values['checks'])


def test_a_domain_of_few_impressions_is_not_held_to_the_common_band(place, tmp_path):
    config = EvaluateConfig(domain_pcoc_band=(2.0, 3.0), min_impressions=ROWS, min_auc=0.1)
    assert judged(place, tmp_path, config).blessed


def test_a_model_worse_than_the_pushed_one_is_not_blessed(place, tmp_path):
    write_model(tmp_path / 'bad', -item_weights())
    found = evaluate(
        str(place / 'dataset'),
        str(tmp_path / 'bad'),
        str(tmp_path / 'out'),
        EvaluateConfig(max_gauc_drop=0.02),
        pushed=[str(place / 'model')],
    )
    assert not found.blessed and 'worse by more than the allowed 0.02' in found.reasons[0]
    check = found.values['checks'][0]
    assert check['value'] == pytest.approx(-found.values['deltas']['overall']['gauc'])


def test_a_damaged_served_version_is_reported_and_the_one_before_is_compared(place, tmp_path):
    damaged = tmp_path / 'models' / '2'
    write_model(damaged, item_weights())
    (damaged / 'saved_model.pb').write_bytes(b'cut off')
    write_model(tmp_path / 'bad', -item_weights())
    found = evaluate(
        str(place / 'dataset'),
        str(tmp_path / 'bad'),
        str(tmp_path / 'out'),
        EvaluateConfig(max_gauc_drop=0.02),
        pushed=[str(damaged), str(place / 'model')],
    )
    assert not found.blessed  # the damaged version would have let any model pass
    assert found.values['baseline']['directory'] == str(place / 'model')
    assert found.values['pushed']['directory'] == str(place / 'model')
    (version,) = found.values['damaged_versions']
    assert version['directory'] == str(damaged)
    assert 'cannot score this dataset' in found.reasons[-1]
    assert 'cannot score this dataset' in (tmp_path / 'out' / 'report.html').read_text()


def test_a_served_version_with_a_missing_file_is_reported_as_damaged(place, tmp_path):
    damaged = tmp_path / 'models' / '2'
    write_model(damaged, item_weights())
    os.remove(damaged / 'variables' / 'variables.index')
    found = judged(
        place,
        tmp_path,
        EvaluateConfig(min_auc=0.1),
        pushed=[str(damaged), str(place / 'model')],
    )
    assert found.blessed
    assert found.values['pushed']['directory'] == str(place / 'model')
    assert 'variables/variables.index is missing' in found.reasons[-1]


def test_a_model_is_refused_where_every_pushed_version_is_damaged(place, tmp_path):
    damaged = tmp_path / 'models' / '1'
    write_model(damaged, item_weights())
    (damaged / 'saved_model.pb').write_bytes(b'cut off')
    found = judged(place, tmp_path, EvaluateConfig(min_auc=0.1), pushed=[str(damaged)])
    assert not found.blessed
    assert any('none of the 1 pushed versions' in reason for reason in found.reasons)


def test_the_best_of_the_recent_pushes_is_compared_too(place, tmp_path):
    write_model(tmp_path / 'bad', -item_weights())
    versions = [str(tmp_path / 'bad'), str(place / 'model')]
    for reference, blessed in (('pushed', True), ('best', False)):
        found = evaluate(
            str(place / 'dataset'),
            str(tmp_path / 'bad'),
            str(tmp_path / reference),
            EvaluateConfig(max_gauc_drop=0.02, reference=reference),
            pushed=versions,
        )
        assert found.blessed is blessed, found.reasons
    assert found.values['best']['directory'] == versions[1]
    assert 'the best of the recent pushes' in '; '.join(found.reasons)


def test_every_model_is_loaded_once(place, tmp_path, monkeypatch):
    loaded, load = [], tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, 'load', lambda path: loaded.append(path) or load(path))
    versions = [str(tmp_path / str(number)) for number in (2, 1)]
    for version in versions:
        shutil.copytree(place / 'model', version)
    evaluate(
        str(place / 'dataset'),
        str(place / 'older'),
        str(tmp_path / 'out'),
        EvaluateConfig(max_gauc_drop=1.0, reference='best', bootstrap_replicates=0),
        pushed=versions,
    )
    assert sorted(loaded) == sorted([str(place / 'older'), *versions])


def test_kept_negatives_stand_for_those_of_the_log(tmp_path, place, columns):
    write_dataset(tmp_path / 'dataset', {'test': columns}, keep_negatives=0.25)
    found = evaluate(
        str(tmp_path / 'dataset'),
        str(place / 'model'),
        str(tmp_path / 'out'),
        EvaluateConfig(bootstrap_replicates=0),
    )
    weights = np.where(columns['click'] > 0, 1.0, 4.0)
    scores = expected_scores(columns, item_weights())
    overall = found.metrics['overall']
    assert overall['ctr'] == pytest.approx(columns['click'].sum() / weights.sum())
    assert overall['pcoc'] == pytest.approx(
        (weights @ scores) / columns['click'].sum(), abs=1e-5
    )
    assert overall['log_loss'] == pytest.approx(
        sklearn_metrics.log_loss(columns['click'], scores, sample_weight=weights), abs=1e-5
    )
    assert overall['auc'] == pytest.approx(
        sklearn_metrics.roc_auc_score(columns['click'], scores), abs=1e-4
    )


def test_same_inputs_same_bytes(place, tmp_path):
    for name in ('one', 'two'):
        evaluate(
            str(place / 'dataset'),
            str(place / 'model'),
            str(tmp_path / name),
            EvaluateConfig(min_auc=0.5),
        )
    for name in ('metrics.json', 'report.html', 'scores/part-00001-of-00002.parquet'):
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'split': 'holdout'}, 'no split holdout; it has test'),
        (
            {'domain_thresholds': {'books': DomainThresholds(min_auc=0.5)}},
            'no domain books; it has a, b',
        ),
    ],
)
def test_names_that_the_dataset_lacks(place, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        judged(place, tmp_path, EvaluateConfig(**change))


def test_a_directory_without_a_model(place, tmp_path):
    with pytest.raises(UserError, match='does not contain an exported model'):
        evaluate(str(place / 'dataset'), str(tmp_path), str(tmp_path / 'out'), EvaluateConfig())


def test_a_model_that_wants_a_feature_that_the_dataset_lacks(place, tmp_path):
    write_model(tmp_path / 'model', item_weights(), features=['item_id', 'colour'])
    with pytest.raises(UserError, match='wants the feature colour'):
        evaluate(
            str(place / 'dataset'),
            str(tmp_path / 'model'),
            str(tmp_path / 'out'),
            EvaluateConfig(),
        )


def test_scores_that_are_no_numbers_leave_no_verdict_behind(place, tmp_path):
    out = str(tmp_path / 'out')
    evaluate(str(place / 'dataset'), str(place / 'model'), out, EvaluateConfig(min_auc=0.1))
    write_model(tmp_path / 'model', np.full_like(item_weights(), np.nan))
    with pytest.raises(UserError, match='700 of 700 rows .* not a finite number'):
        evaluate(str(place / 'dataset'), str(tmp_path / 'model'), out, EvaluateConfig())
    assert not os.path.exists(os.path.join(out, 'metrics.json'))


def test_each_version_of_a_dataset_has_its_vocabulary(tmp_path):
    feature = Feature('item_id', 'categorical', 'item', 4, vocabulary='item_id')
    for version, text in (('first', 'a\nb\n'), ('second', 'a\nb\nc\n')):
        (tmp_path / version / 'vocabulary').mkdir(parents=True)
        (tmp_path / version / 'vocabulary' / 'item_id.txt').write_text(text)
        write_manifest(
            str(tmp_path / version),
            Manifest('d', version, [], [], {}, Rows(0, 0, 0, 0, 0, 0, 0)),
        )
    first, second = (str(tmp_path / version) for version in ('first', 'second'))
    assert raw_values(first, feature, np.array([0, 2, 1])).tolist() == ['', 'b', 'a']
    assert raw_values(second, feature, np.array([3, 2, -1])).tolist() == ['c', 'b', '']
