"""Exported models loaded again, grown, continued and fine-tuned."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.manifest import Domain, read_manifest, write_manifest
from tests.trainer.periods_dataset import KNOWN_ITEMS, KNOWN_USERS, write_periods
from tests.trainer.trainer_dataset import USERS, make_batch, record_files, write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.vocabularies import manifest_as_of
from trainer.export.golden import check_golden
from trainer.export.load import WarmStart, build_or_warm_start, load_model
from trainer.keras import tf
from trainer.models.extend_model import extend_model
from trainer.train import train

MODEL = ModelConfig(name='mlp', embedding_dim=4, hidden_units=[8, 4], id_dropout=0.1)
CONFIG = TrainConfig(model=MODEL, batch_size=64, epochs=2, learning_rate=0.01)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return write_periods(tmp_path_factory.mktemp('data') / 'periods')


@pytest.fixture(scope='module')
def first(dataset, tmp_path_factory):
    return train(
        dataset, str(tmp_path_factory.mktemp('run') / 'first'), CONFIG, 'period-1', 'validation'
    )


def scores(exported, rows):
    ids = {name: tf.constant(values, tf.int64) for name, values in rows.items()}
    return tf.saved_model.load(exported).signatures['encoded'](**ids)['score'].numpy()


def of_model(model, rows):
    return tf.sigmoid(
        model({name: tf.constant(values) for name, values in rows.items()})
    ).numpy()


def rows_of(seed=0, size=60):
    return make_batch(np.random.default_rng(seed), size)


def start(dataset, *, config=MODEL, splits=('period-2',), warm_start=None, source=None):
    return build_or_warm_start(open_dataset(dataset), config, splits, warm_start, source)


def weights(model):
    return {variable.name: variable.numpy() for variable in model.trainable_variables}


def test_a_model_knows_the_values_up_to_the_splits_that_it_is_trained_on(dataset, first):
    manifest = read_manifest(dataset)
    sizes = {
        feature.name: feature.size
        for feature in manifest_as_of(manifest, ['period-1']).features
    }
    assert (sizes['user_id'], sizes['item_id'], sizes['history'], sizes['age']) == (
        KNOWN_USERS,
        KNOWN_ITEMS,
        KNOWN_ITEMS,
        5,
    )
    assert manifest_as_of(manifest, ['period-1', 'period-2']).features == manifest.features
    rows = rows_of()
    unseen = {
        **rows,
        **{
            name: np.where(rows[name] >= size, 0, rows[name])
            for name, size in (
                ('user_id', KNOWN_USERS),
                ('item_id', KNOWN_ITEMS),
                ('history', KNOWN_ITEMS),
                ('genres', 5),
                ('domain', 3),
            )
        },
    }
    assert any((unseen[name] != rows[name]).any() for name in rows)
    np.testing.assert_allclose(scores(first, rows), scores(first, unseen), atol=1e-7)
    assert check_golden(first) is None
    with open(os.path.join(first, 'model.json'), encoding='utf-8') as file:
        found = json.load(file)
    assert found['trained_splits'] == ['period-1']
    assert found['domains'] == ['d1', 'd2']
    assert found['structure']['vocabularies']['user_id']['size'] == KNOWN_USERS


def test_a_loaded_model_scores_as_its_export_without_the_dataset(first, tmp_path):
    copied = str(tmp_path / 'copied')
    shutil.copytree(first, copied)
    model = load_model(copied).model
    np.testing.assert_allclose(of_model(model, rows_of()), scores(first, rows_of()), atol=1e-6)
    assert load_model(copied).digest == load_model(first).digest


def test_a_model_grows_with_vocabularies_and_domains(dataset, first):
    model = load_model(first).model
    larger = extend_model(model, read_manifest(dataset))
    rows = rows_of()
    for name, size in (
        ('user_id', KNOWN_USERS),
        ('item_id', KNOWN_ITEMS),
        ('history', KNOWN_ITEMS),
        ('genres', 5),
    ):
        rows[name] = np.minimum(rows[name], size - 1)
    rows['domain'] = np.minimum(rows['domain'], 2)
    np.testing.assert_allclose(of_model(larger, rows), of_model(model, rows), atol=1e-6)
    new = {**rows, 'user_id': np.full(60, KNOWN_USERS + 3, np.int32)}
    unseen = {**rows, 'user_id': np.zeros(60, np.int32)}
    np.testing.assert_allclose(of_model(model, new), of_model(model, unseen), atol=1e-6)
    assert np.abs(of_model(larger, new) - of_model(larger, unseen)).max() > 1e-4
    table = larger.embedding.table.numpy()
    fresh = table[KNOWN_USERS : USERS + 1]  # of users, who come first in the table
    assert np.abs(fresh).max() <= 0.05 and np.abs(fresh).std() > 0.005


def test_training_goes_on_where_an_exported_model_stood(dataset, first, tmp_path):
    config = CONFIG.replace(epochs=1, learning_rate=1e-12)
    second = train(
        dataset, str(tmp_path / 'run'), config, ['period-2'], None, warm_start=WarmStart(first)
    )
    known = {**rows_of(), 'domain': rows_of()['domain'] % 2 + 1}
    for name, size in (
        ('user_id', KNOWN_USERS),
        ('item_id', KNOWN_ITEMS),
        ('history', KNOWN_ITEMS),
        ('genres', 5),
    ):
        known[name] = np.minimum(known[name], size - 1)
    trained = load_model(second)
    assert trained.splits == ['period-1', 'period-2']
    assert trained.model.num_domains == 4
    before = load_model(first).model
    for name, value in weights(trained.model).items():
        if 'table' not in name:
            np.testing.assert_allclose(value, weights(before)[name], atol=1e-5)
    np.testing.assert_allclose(
        trained.model.embedding.table.numpy()[:KNOWN_USERS],
        before.embedding.table.numpy()[:KNOWN_USERS],
        atol=1e-5,
    )
    with open(os.path.join(second, 'model.json'), encoding='utf-8') as file:
        found = json.load(file)
    assert found['epoch'] == 1 and found['validation'] == {}


def test_without_validation_the_last_epoch_is_kept_and_rows_of_some_domains_are_trained(
    dataset, tmp_path
):
    exported = train(
        dataset, str(tmp_path / 'run'), CONFIG, ['period-1', 'period-2'], None, domains=['d2']
    )
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        found = json.load(file)
    assert (found['epoch'], found['validation']) == (2, {})
    assert found['trained_splits'] == ['period-1', 'period-2']
    with pytest.raises(UserError, match='no domain d9'):
        train(dataset, str(tmp_path / 'other'), CONFIG, 'period-1', None, domains=['d9'])
    with pytest.raises(UserError, match='no rows of the domains d3'):
        train(dataset, str(tmp_path / 'other'), CONFIG, 'period-1', None, domains=['d3'])
    with pytest.raises(UserError, match='finetune needs a validation split'):
        train(
            dataset,
            str(tmp_path / 'other'),
            CONFIG.replace(framework='finetune'),
            'period-1',
            None,
        )


def test_a_run_from_another_model_is_another_run(dataset, first, tmp_path):
    run = str(tmp_path / 'run')
    other = str(tmp_path / 'other')
    shutil.copytree(first, other)
    train(dataset, run, CONFIG, 'period-2', None, warm_start=WarmStart(first))
    os.remove(os.path.join(run, 'checkpoints', 'finished'))
    train(dataset, run, CONFIG, 'period-2', None, warm_start=WarmStart(other))  # the same model
    os.remove(os.path.join(run, 'checkpoints', 'finished'))
    for changed in (None, WarmStart(first, 'embeddings')):
        with pytest.raises(UserError, match='unfinished run with another start'):
            train(dataset, run, CONFIG, 'period-2', None, warm_start=changed)


@pytest.mark.parametrize(
    ('parts', 'more', 'copied'),
    [
        ('id_embeddings', (), {'user_id', 'item_id'}),
        ('id_embeddings', ('genres',), {'user_id', 'item_id', 'genres'}),
        ('embeddings', (), {'user_id', 'item_id', 'genres', 'age (buckets)'}),
    ],
)
def test_fine_tuning_starts_from_some_embeddings(dataset, first, parts, more, copied):
    model = start(
        dataset,
        config=MODEL.replace(hidden_units=[6]),
        warm_start=WarmStart(first, parts, more),
    ).model
    theirs, mine = load_model(first).model.embedding, model.embedding
    for table, size in theirs._sizes.items():
        old = theirs.table.numpy()[theirs._offsets[table] :][:size]
        new = mine.table.numpy()[mine._offsets[table] :][:size]
        assert np.array_equal(new, old) == (table in copied), table
    assert [layer.units for layer in model.hidden] == [6]


def test_a_model_that_does_not_fit_is_one_sentence(dataset, first, tmp_path):
    def refused(sentence, warm_start, **kwargs):
        with pytest.raises(UserError, match=sentence):
            start(dataset, warm_start=warm_start, **kwargs)

    refused('does not contain an exported model', WarmStart(str(tmp_path / 'none')))
    refused(
        'with the settings that it was trained with',
        WarmStart(first),
        config=MODEL.replace(hidden_units=[8]),
    )
    refused(
        'has the architecture mlp, but this run has star',
        WarmStart(first),
        config=MODEL.replace(name='star'),
    )
    refused(
        '4 dimensions, but those of this run have 8',
        WarmStart(first, 'embeddings'),
        config=MODEL.replace(embedding_dim=8),
    )
    refused(
        'other features than this run has; age differ',
        WarmStart(first),
        config=MODEL.replace(exclude_features=['age']),
    )
    refused(
        'ID feature brand is not a feature of both',
        WarmStart(first, 'id_embeddings', ('brand',)),
    )

    half = str(tmp_path / 'half')
    shutil.copytree(first, half)
    data = os.path.join(half, 'weights', 'weights.data-00000-of-00001')
    with open(data, 'r+b') as file:
        file.truncate(os.path.getsize(data) // 2)
    refused('weights.data-00000-of-00001 has', WarmStart(half))
    os.remove(data)
    refused('weights.data-00000-of-00001 is missing', WarmStart(half))
    os.remove(os.path.join(half, 'saved_model.pb'))
    refused('saved_model.pb is missing', WarmStart(half))

    old = str(tmp_path / 'old')
    shutil.copytree(first, old)
    with open(os.path.join(old, 'model.json'), encoding='utf-8') as file:
        described = json.load(file)
    with open(os.path.join(old, 'model.json'), 'w', encoding='utf-8') as file:
        json.dump({**described, 'structure': None}, file)
    refused('exported without the weights', WarmStart(old))


def test_another_vocabulary_is_refused_and_a_longer_one_is_not(first, tmp_path):
    other = write_periods(tmp_path / 'other')
    path = os.path.join(other, 'vocabulary', 'item_id.txt')
    with open(path, encoding='utf-8') as file:
        lines = file.read().splitlines()
    for changed, fits in ((KNOWN_ITEMS - 2, False), (KNOWN_ITEMS + 1, True)):
        with open(path, 'w', encoding='utf-8') as file:
            file.writelines(
                ('x' if number == changed else line) + '\n' for number, line in enumerate(lines)
            )
        record_files(other)
        if fits:
            start(other, warm_start=WarmStart(first))
            continue
        with pytest.raises(UserError, match='different vocabulary for item_id'):
            start(other, warm_start=WarmStart(first))
    manifest = read_manifest(other)
    write_manifest(
        other,
        dataclasses.replace(
            manifest,
            domains=[Domain(domain.id, 'x' + domain.name) for domain in manifest.domains],
        ),
    )
    with pytest.raises(UserError, match='has the domains d1, d2, but'):
        start(other, warm_start=WarmStart(first))


def test_a_model_without_growth_takes_all_values(tmp_path):
    write_dataset(tmp_path / 'tiny')
    of_disk = read_manifest(str(tmp_path / 'tiny'))
    assert manifest_as_of(of_disk, ['train']) == of_disk
