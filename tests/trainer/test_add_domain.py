"""A domain added to an exported model: only what is its own is learned."""

import json
import os

import numpy as np
import pytest

from mdctr import storage
from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.exported_model import check_files
from mdctr.settings import to_mapping
from tests.full_disk import small_files
from tests.trainer.trainer_dataset import make_batch, record_files, write_dataset
from trainer.add_domain import add_domain
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.export.golden import check_golden
from trainer.export.load import load_model
from trainer.keras import tf
from trainer.train import train

CONFIG = TrainConfig(
    batch_size=64,
    epochs=2,
    learning_rate=0.02,
    patience=3,
    model=ModelConfig(embedding_dim=4, hidden_units=[8, 4]),
)


def of(name, **changes):
    return CONFIG.replace(model=CONFIG.model.replace(name=name), **changes)


@pytest.fixture(scope='module')
def datasets(tmp_path_factory):
    """One with three domains, and one of its features with a fourth."""
    directory = tmp_path_factory.mktemp('data')
    first, more = str(directory / 'tiny'), str(directory / 'more')
    write_dataset(
        first, rows={'train': {1: 300, 2: 200, 3: 90}, 'validation': {1: 100, 2: 80, 3: 50}}
    )
    write_dataset(
        more,
        rows={'train': {4: 600}, 'validation': {2: 50, 4: 300}, 'test': {1: 5}},
        domains=4,
        seed=7,
    )
    return first, more


@pytest.fixture(scope='module')
def sources(datasets, tmp_path_factory):
    """Exported models of the first dataset, by their configuration; each is trained once."""
    exported = {}

    def source(config):
        key = json.dumps(to_mapping(config), sort_keys=True)
        if key not in exported:
            run = str(tmp_path_factory.mktemp('run'))
            exported[key] = train(datasets[0], run, config)
        return exported[key]

    return source


def scores(exported, domain, rows=40):
    batch = make_batch(np.random.default_rng(1), rows)
    signature = tf.saved_model.load(exported).signatures['encoded']
    domains = np.full(rows, domain) if np.ndim(domain) == 0 else domain
    return signature(
        **{
            name: tf.constant(ids.astype(np.int64))
            for name, ids in {**batch, 'domain': domains}.items()
        }
    )['score'].numpy()


def loss(exported, dataset, domain):
    """The log loss of the validation rows of domain 4, scored as a domain's."""
    batch = next(Examples(open_dataset(dataset), 'validation').domain_epoch(4, 0, 1000))
    signature = tf.saved_model.load(exported).signatures['encoded']
    names = ('user_id', 'item_id', 'genres', 'history', 'age')
    score = signature(
        domain=tf.fill([300], tf.constant(domain, tf.int64)),
        **{name: tf.constant(batch[name].astype(np.int64)) for name in names},
    )['score'].numpy()
    return -np.mean(np.log(np.where(batch['click'] > 0, score, 1 - score)))


def described(exported):
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        return json.load(file)


@pytest.mark.parametrize(
    ('name', 'changes', 'parameters', 'unseen'),
    [
        ('star', {}, 'rows', True),
        pytest.param('star', {}, 'all', True, marks=pytest.mark.slow),
        ('mlp', {}, 'all', True),
        pytest.param('cross_stitch', {}, 'rows', False, marks=pytest.mark.slow),
        pytest.param('star_adasparse', {}, 'rows', True, marks=pytest.mark.slow),
        pytest.param(
            'mlp',
            {'framework': 'mamdr', 'framework_options': {'helper_domains': 1}},
            'all',
            True,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_only_what_is_the_new_domains_own_is_learned(
    datasets, sources, tmp_path, name, changes, parameters, unseen
):
    _, more = datasets
    source = sources(of(name, **changes))
    exported = add_domain(
        source,
        more,
        'd4',
        str(tmp_path / 'new'),
        of(
            'mlp',
            # With five epochs at 0.05, star_adasparse gains .0047 of the .005 asserted below.
            epochs=8 if name == 'star_adasparse' else 5,
            learning_rate=0.1 if name == 'star_adasparse' else 0.05,
            **(
                {
                    'framework': 'mamdr',
                    'framework_options': {'regularization_learning_rate': 0.5},
                }
                if parameters == 'all'
                else {}
            ),
        ),
        parameters=None if (name, parameters) != ('star', 'all') else 'all',
    )
    assert check_golden(exported) is None
    found = described(exported)
    assert found['domains'] == ['d1', 'd2', 'd3', 'd4']
    assert found['model'] == name
    assert found['config']['model'] == described(source)['config']['model']
    assert (found['structure'] is None) == (parameters == 'all')
    for domain in (1, 2, 3, *([0, 9] if unseen else [])):
        np.testing.assert_allclose(
            scores(exported, domain), scores(source, domain), atol=2e-6, err_msg=str(domain)
        )
    assert np.abs(scores(exported, 4) - scores(exported, 0)).max() > 0.02
    assert set(found['validation']['domains']) == {'d4'}
    assert loss(exported, more, 4) < loss(source, more, 0) - 0.005


@pytest.mark.slow
def test_a_second_domain_after_the_first(datasets, sources, tmp_path):
    """What was learned of the first addition is kept; of both kinds of export."""
    _, more = datasets
    source = sources(of('mlp', framework='mamdr', framework_options={'helper_domains': 1}))
    once = add_domain(
        source, more, 'd4', str(tmp_path / 'once'), of('mlp'), validation_split=None
    )
    last = str(tmp_path / 'last')
    write_dataset(last, rows={'train': {5: 200}, 'validation': {5: 50}}, domains=5, seed=8)
    twice = add_domain(
        once, last, 'd5', str(tmp_path / 'twice'), of('mlp'), validation_split=None
    )
    for domain in range(5):
        np.testing.assert_allclose(scores(twice, domain), scores(once, domain), atol=2e-6)
    assert np.abs(scores(twice, 5) - scores(once, 5)).max() > 1e-3
    assert described(twice)['trained_splits'] == ['train']
    star = sources(of('star'))
    skipped = add_domain(star, last, 'd5', str(tmp_path / 'skipped'), of('star'))
    assert described(skipped)['domains'] == ['d1', 'd2', 'd3', 'd4', 'd5']
    np.testing.assert_allclose(scores(skipped, 4), scores(star, 0), atol=2e-6)  # not trained
    assert load_model(skipped).model.num_domains == 6


@pytest.mark.parametrize(
    ('changed', 'sentence'),
    [
        ({'name': 'd2'}, 'has the domain d2 already'),
        ({'name': 'd9'}, 'has no domain d9; it has d1, d2, d3, d4'),
        ({'split': 'test'}, 'd4 has no rows in test'),
        (
            {'config': of('star', optimizer='nadam')},
            'nadam updates the rows of other domains too',
        ),
        ({'source': 'nowhere'}, 'nowhere does not contain an exported model'),
    ],
)
def test_a_domain_that_cannot_be_added_is_one_sentence(
    datasets, sources, tmp_path, changed, sentence
):
    _, more = datasets
    arguments = {
        'source': sources(of('star')),
        'dataset': more,
        'name': 'd4',
        'directory': str(tmp_path / 'new'),
        'config': of('star'),
        **changed,
    }
    with pytest.raises(UserError, match=sentence):
        add_domain(**arguments)


def test_another_vocabulary_is_refused(sources, tmp_path):
    source = sources(of('star'))
    other = str(tmp_path / 'other')
    write_dataset(other, rows={'train': {4: 60}, 'validation': {4: 30}}, domains=4)
    path = os.path.join(other, 'vocabulary', 'item_id.txt')
    with open(path, encoding='utf-8') as file:
        lines = file.readlines()
    with open(path, 'w', encoding='utf-8') as file:
        file.writelines(reversed(lines))
    record_files(other)
    with pytest.raises(UserError, match='different vocabulary for item_id'):
        add_domain(source, other, 'd4', str(tmp_path / 'new'), of('star'))


@pytest.mark.parametrize('parameters', ['rows', 'all'])
def test_a_loss_that_is_not_finite_ends_it(parameters, datasets, sources, tmp_path):
    _, more = datasets
    trained = sources(of('star'))
    config = of('star', learning_rate=1e39, optimizer='sgd')
    with pytest.raises(UserError, match='The (loss is|weights are) .*domain d4'):
        add_domain(trained, more, 'd4', str(tmp_path / 'export'), config, parameters=parameters)
    assert not os.path.exists(tmp_path / 'export')


@pytest.mark.parametrize('limit', [3, 100])  # the probe, or a file of the export
def test_a_full_disk_is_one_sentence_and_leaves_no_model(datasets, sources, tmp_path, limit):
    _, more = datasets
    output = tmp_path / 'new'
    expected = 'cannot be read or written: File too large'
    source = sources(of('mlp'))
    with small_files(limit), pytest.raises(UserError, match=expected):
        add_domain(source, more, 'd4', str(output), of('mlp', epochs=1))
    assert not output.exists()


def test_on_an_object_store(datasets, sources, tmp_path, bucket):
    _, more = datasets
    source, output = sources(of('star')), str(tmp_path / 'new')
    expected = add_domain(source, more, 'd4', output, of('star', epochs=1))
    urls = [storage.join(bucket, name) for name in ('model', 'more', 'new')]
    storage.upload(source, urls[0])
    storage.upload(more, urls[1])
    found = add_domain(urls[0], urls[1], 'd4', urls[2], of('star', epochs=1))
    check_files(found)
    golden = [
        storage.read_json(storage.join(model, 'golden.json')) for model in (expected, found)
    ]
    assert golden[0] == golden[1]
