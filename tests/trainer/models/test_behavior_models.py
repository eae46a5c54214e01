"""DIN and Taobao's base model: which behaviors they attend to."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mdctr.errors import UserError
from mdctr.manifest import Feature
from tests.trainer import trainer_dataset
from tests.trainer.random_model import random_model
from trainer.keras import tf

ITEMS, TAGS, LENGTH = trainer_dataset.ITEMS, 5, trainer_dataset.LENGTH


def manifest():
    """With a category of the item, and a history of categories."""
    manifest = trainer_dataset.make_manifest(3)
    return dataclasses.replace(
        manifest,
        features=[
            *manifest.features,
            Feature('tag', 'categorical', 'item', TAGS + 1, vocabulary='tag'),
            Feature(
                'recent_tags',
                'sequence',
                'user',
                TAGS + 1,
                vocabulary='tag',
                length=LENGTH,
                history=True,
            ),
        ],
    )


def make(name, of=None, **options):
    return random_model(name, of or manifest(), **options)


def tag_of(item):
    return item % (TAGS + 1)


def batch(size=24):
    rng = np.random.default_rng(3)
    rows = trainer_dataset.make_batch(rng, size)
    rows['tag'] = tag_of(rows['item_id'])
    rows['recent_tags'] = np.where(rows['history'] >= 0, tag_of(rows['history']), -1)
    return {name: tf.constant(values) for name, values in rows.items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def vectors(model, features):
    """The vector of every feature, or vectors of a sequence's ids, of each row."""
    table, embedding = model.embedding.table.numpy(), model.embedding
    rows = []
    for i in range(len(features['item_id'])):
        row = {}
        for feature in model.features:
            start = embedding._offsets[feature.vocabulary or f'{feature.name} (buckets)']
            ids = np.atleast_1d(features[feature.name][i])
            found = table[start + ids[ids >= 0]].astype(np.float64)
            row[feature.name] = found if feature.kind == 'sequence' else found[0]
        rows.append(row)
    return rows


def network(layers, head, x):
    for layer, activation in layers:
        x = activation(x @ layer.kernel.numpy() + layer.bias.numpy())
    return (x @ head.kernel.numpy() + head.bias.numpy())[0]


def pooled(value):
    return value if value.ndim == 1 else value.mean(axis=0) if len(value) else np.zeros(4)


def test_din_equals_the_paper_in_numpy():
    model, features = make('din'), batch()
    pairs = {'history': 'item_id', 'recent_tags': 'tag'}
    expected = []
    for row in vectors(model, features):
        parts = [pooled(value) for name, value in row.items() if name not in pairs]
        for unit, (history, target) in zip(model.attention, pairs.items(), strict=True):
            total = np.zeros(4)
            for e in row[history]:
                v = row[target]
                weight = network(
                    [(unit.hidden[0], sigmoid)],
                    unit.weight,
                    np.concatenate([e, e - v, e * v, v]),
                )
                total += weight * e
            parts.append(total)
        expected.append(
            network(
                [(layer, lambda x: np.maximum(x, 0)) for layer in model.tower.hidden],
                model.head,
                np.concatenate(parts),
            )
        )
    assert_allclose(model(features), expected, atol=1e-4)


def attend(layer, query, values):
    attention, width = layer.attention, layer.head_dim
    if not len(values):
        return np.zeros(len(query))
    joined = []
    for h in range(layer.heads):
        part = slice(h * width, (h + 1) * width)
        q, k, v = (
            x @ kernel.numpy()[:, part]
            for x, kernel in (
                (query, attention.query),
                (values, attention.key),
                (values, attention.value),
            )
        )
        weights = np.exp(k @ q / np.sqrt(width))
        joined.append(weights / weights.sum() @ v)
    return np.concatenate(joined) @ attention.output_kernel.numpy()


def test_taobao_base_equals_equation_3_of_ctnet_in_numpy():
    """CTNet's equation 3: what each of the three attentions sees, and what goes in beside."""
    model, features = make('taobao_base', top_k=2, short_length=3, heads=2), batch()
    items, history = features['item_id'].numpy(), features['history'].numpy()
    model(features, training=True)  # shows the rows' items with their categories
    shown = {int(item): int(tag_of(item)) for item in items if item > 0}
    planes, expected = model.hash.hyperplanes.numpy(), []
    for i, row in enumerate(vectors(model, features)):
        parts = [pooled(value) for name, value in row.items() if name != 'history']
        behaviors, target = row['history'], row['item_id']
        encoded = behaviors[:3]
        if len(encoded):
            encoded = model.encoder(
                tf.constant(encoded[None], tf.float32), tf.ones([1, len(encoded)], tf.bool)
            )[0].numpy()
        parts.append(attend(model.attention['short'], target, encoded))
        ids = history[i][history[i] >= 0]
        same = [
            j for j, item in enumerate(ids) if shown.get(int(item), 0) == tag_of(items[i]) > 0
        ][:2]
        parts.append(attend(model.attention['sim'], target, behaviors[same]))
        equal = ((behaviors @ planes > 0) == (target @ planes > 0)).sum(axis=1)
        alike = sorted(range(len(ids)), key=lambda j, equal=equal: (-equal[j], j))[:2]
        parts.append(attend(model.attention['eta'], target, behaviors[alike]))
        expected.append(
            network(
                [(layer, lambda x: np.where(x > 0, x, 0.2 * x)) for layer in model.hidden],
                model.head,
                np.concatenate(parts),
            )
        )
    assert_allclose(model(features), expected, atol=1e-4)


@pytest.mark.parametrize('name', ['din', 'taobao_base'])
def test_no_behaviors_at_all(name):
    model, features = make(name), batch(1)
    empty = tf.fill([1, LENGTH], -1)
    for short in (empty, empty[:, :0]):
        found = model({**features, 'history': short, 'recent_tags': short})
        assert np.isfinite(found).all()
    longer = tf.concat([features['history'], tf.fill([1, 30], -1)], axis=1)
    assert_allclose(model({**features, 'history': longer}), model(features), atol=1e-5)


def test_what_to_attend_to_is_an_option():
    model = make('taobao_base', history='recent_tags')
    assert (model.behaviors.target.name, model.category.name) == ('tag', 'item_id')
    model = make('taobao_base', trainer_dataset.make_manifest(3))
    assert model.category.name == 'item_id' and model.categories is None
    plain = dataclasses.replace(manifest(), features=manifest().features[:2])
    for options, of, message in (
        ({'history': 'genres'}, None, 'not a history of the item; there are history, recent'),
        ({'category': 'age'}, None, 'not another categorical feature of the item; there are'),
        ({'activation': 'steep'}, None, 'not a Keras activation'),
        ({}, plain, 'of the kind history'),
    ):
        with pytest.raises(UserError, match=message):
            make('taobao_base', of, **options)
