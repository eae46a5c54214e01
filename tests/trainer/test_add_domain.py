"""A domain added to an exported model: only what is its own is learned."""

import dataclasses
import json
import os

import numpy as np
import pytest
from trainer_dataset import make_batch, write_dataset

from beam_jobs.errors import UserError
from trainer.add_domain import add_domain
from trainer.config import ModelConfig, TrainConfig
from trainer.examples import Examples
from trainer.golden import check_golden
from trainer.keras import tf
from trainer.train import train
from trainer.trained import load_trained

CONFIG = TrainConfig(batch_size=64, epochs=2, learning_rate=0.02, patience=3,
                     model=ModelConfig(embedding_dim=4, hidden_units=[8, 4]))


def of(name, **changes):
    return dataclasses.replace(
        CONFIG, model=dataclasses.replace(CONFIG.model, name=name), **changes)


@pytest.fixture(scope='module')
def datasets(tmp_path_factory):
    """One with three domains, and one of its features with a fourth."""
    directory = tmp_path_factory.mktemp('data')
    first, more = str(directory / 'tiny'), str(directory / 'more')
    write_dataset(first, rows={'train': {1: 300, 2: 200, 3: 90},
                               'validation': {1: 100, 2: 80, 3: 50}})
    write_dataset(more, rows={'train': {4: 600}, 'validation': {2: 50, 4: 300}, 'test': {1: 5}},
                  domains=4, seed=7)
    return first, more


def scores(exported, domain, rows=40):
    batch = make_batch(np.random.default_rng(1), rows)
    signature = tf.saved_model.load(exported).signatures['encoded']
    domains = np.full(rows, domain) if np.ndim(domain) == 0 else domain
    return signature(**{name: tf.constant(ids.astype(np.int64)) for name, ids in {
        **batch, 'domain': domains}.items()})['score'].numpy()


def loss(exported, dataset, domain):
    """The log loss of the validation rows of domain 4, scored as a domain's."""
    batch = next(Examples(dataset, 'validation').domain_epoch(4, 0, 1000))
    signature = tf.saved_model.load(exported).signatures['encoded']
    names = ('user_id', 'item_id', 'genres', 'history', 'age')
    score = signature(domain=tf.fill([300], tf.constant(domain, tf.int64)), **{
        name: tf.constant(batch[name].astype(np.int64)) for name in names})['score'].numpy()
    return -np.mean(np.log(np.where(batch['click'] > 0, score, 1 - score)))


def described(exported):
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        return json.load(file)


@pytest.mark.parametrize(('name', 'changes', 'parameters', 'unseen'), [
    ('star', {}, 'rows', True),
    ('star', {}, 'all', True),
    ('mlp', {}, 'all', True),
    ('cross_stitch', {}, 'rows', False),
    ('star_adasparse', {}, 'rows', True),
    ('mlp', {'framework': 'mamdr', 'framework_options': {'helpers': 1}}, 'all', True),
])
def test_only_what_is_the_new_domains_own_is_learned(datasets, tmp_path, name, changes,
                                                     parameters, unseen):
    first, more = datasets
    source = train(first, str(tmp_path / 'run'), of(name, **changes))
    exported = add_domain(source, more, 'd4', str(tmp_path / 'new'),
                          of('mlp', epochs=5, learning_rate=0.05,
                             **({'framework': 'mamdr', 'framework_options': {
                                 'regularization_rate': 0.5}} if parameters == 'all' else {})),
                          parameters=None if (name, parameters) != ('star', 'all') else 'all')
    assert check_golden(exported) is None
    found = described(exported)
    assert found['domains'] == ['d1', 'd2', 'd3', 'd4']
    assert found['model'] == name
    assert found['config']['model'] == described(source)['config']['model']
    assert (found['structure'] is None) == (parameters == 'all')
    for domain in (1, 2, 3, *([0, 9] if unseen else [])):
        np.testing.assert_allclose(scores(exported, domain), scores(source, domain), atol=2e-6,
                                   err_msg=str(domain))
    assert np.abs(scores(exported, 4) - scores(exported, 0)).max() > 0.02
    assert set(found['validation']['domains']) == {'d4'}
    assert loss(exported, more, 4) < loss(source, more, 0) - 0.005


def test_a_second_domain_after_the_first(datasets, tmp_path):
    """What was learned of the first addition is kept; of both kinds of export."""
    first, more = datasets
    source = train(first, str(tmp_path / 'run'), of('mlp', framework='mamdr', epochs=1,
                                                    framework_options={'helpers': 1}))
    once = add_domain(source, more, 'd4', str(tmp_path / 'once'), of('mlp'),
                      validation_split=None)
    last = str(tmp_path / 'last')
    write_dataset(last, rows={'train': {5: 200}, 'validation': {5: 50}}, domains=5, seed=8)
    twice = add_domain(once, last, 'd5', str(tmp_path / 'twice'), of('mlp'),
                       validation_split=None)
    for domain in range(5):
        np.testing.assert_allclose(scores(twice, domain), scores(once, domain), atol=2e-6)
    assert np.abs(scores(twice, 5) - scores(once, 5)).max() > 1e-3
    assert described(twice)['trained_splits'] == ['train']
    star = train(first, str(tmp_path / 'star'), of('star', epochs=1))
    skipped = add_domain(star, last, 'd5', str(tmp_path / 'skipped'), of('star'))
    assert described(skipped)['domains'] == ['d1', 'd2', 'd3', 'd4', 'd5']
    np.testing.assert_allclose(scores(skipped, 4), scores(star, 0), atol=2e-6)  # not trained
    assert load_trained(skipped).num_domains == 6


@pytest.mark.parametrize(('changed', 'sentence'), [
    ({'name': 'd2'}, 'has the domain d2 already'),
    ({'name': 'd9'}, 'has no domain d9; it has d1, d2, d3, d4'),
    ({'split': 'test'}, 'd4 has no rows in test'),
    ({'config': of('star', optimizer='nadam')}, 'nadam moves the rows of other domains too'),
    ({'source': 'nowhere'}, 'nowhere holds no exported model')])
def test_refusals(datasets, tmp_path_factory, tmp_path, changed, sentence):
    first, more = datasets
    root = tmp_path_factory.getbasetemp() / 'refused'
    if not root.exists():
        train(first, str(root), of('star', epochs=1))
    arguments = {'source': str(root / 'export'), 'dataset': more, 'name': 'd4',
                 'directory': str(tmp_path / 'new'), 'config': of('star'), **changed}
    with pytest.raises(UserError, match=sentence):
        add_domain(**arguments)


def test_another_vocabulary_is_refused(datasets, tmp_path):
    first, _ = datasets
    source = train(first, str(tmp_path / 'run'), of('star', epochs=1))
    other = str(tmp_path / 'other')
    write_dataset(other, rows={'train': {4: 60}, 'validation': {4: 30}}, domains=4)
    path = os.path.join(other, 'vocabulary', 'item_id.txt')
    with open(path, encoding='utf-8') as file:
        lines = file.readlines()
    with open(path, 'w', encoding='utf-8') as file:
        file.writelines(reversed(lines))
    with pytest.raises(UserError, match='knows another vocabulary item_id'):
        add_domain(source, other, 'd4', str(tmp_path / 'new'), of('star'))
