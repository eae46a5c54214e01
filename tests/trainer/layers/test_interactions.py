"""Interactions between features against sums over pairs and heads."""

from itertools import combinations

import numpy as np
from numpy.testing import assert_allclose

from tests.trainer import numeric, trainer_dataset
from trainer.keras import tf
from trainer.layers.inputs.linear_term import LinearTerm
from trainer.layers.interaction.bi_interaction import bi_interaction, factorization_machine
from trainer.layers.interaction.cross_product import CrossProduct
from trainer.layers.interaction.self_attention_interaction import SelfAttentionInteraction

BATCH, FIELDS, DIM, HEADS, HEAD_DIM = 3, 4, 3, 2, 2


def fields(seed=0):
    return np.random.default_rng(seed).normal(size=(BATCH, FIELDS, DIM)).astype(np.float32)


def pairs(values):
    return np.stack(
        [sum(row[i] * row[j] for i, j in combinations(range(FIELDS), 2)) for row in values]
    )


def test_pooling_and_factorization_machine():
    values = tf.Variable(fields())
    numeric.check_training(
        [values],
        lambda _: numeric.weigh(bi_interaction(values)),
        lambda arrays, _: numeric.weigh(pairs(arrays[0])),
        [None] * 3,
    )
    assert_allclose(
        factorization_machine(values),
        [
            sum(row[i] @ row[j] for i, j in combinations(range(FIELDS), 2))
            for row in values.numpy()
        ],
        rtol=1e-4,
    )


def test_one_field_has_no_pairs():
    assert_allclose(
        bi_interaction(tf.constant(fields()[:, :1])), np.zeros((BATCH, DIM)), atol=1e-6
    )


def paper_attention(values, query, key, value, residual):
    outputs = []
    for row in values:
        heads = []
        for h in range(HEADS):
            part = slice(h * HEAD_DIM, (h + 1) * HEAD_DIM)
            attended = []
            for m in range(FIELDS):
                scores = np.array(
                    [(row[m] @ query[:, part]) @ (row[k] @ key[:, part]) for k in range(FIELDS)]
                )
                attended.append(numeric.softmax(scores) @ (row @ value[:, part]))
            heads.append(np.stack(attended))
        outputs.append(numeric.relu(np.concatenate(heads, axis=1) + row @ residual))
    return np.stack(outputs)


def test_self_attention_equals_the_paper_in_numpy():
    layer = SelfAttentionInteraction(HEADS, HEAD_DIM)
    layer.build(tf.TensorShape([None, FIELDS, DIM]))
    numeric.randomize(layer)
    numeric.check_training(
        [layer.query, layer.key, layer.value, layer.residual],
        lambda batch: numeric.weigh(layer(batch)),
        lambda arrays, batch: numeric.weigh(paper_attention(batch, *arrays)),
        [fields(seed) for seed in range(3)],
        rate=0.05,
    )


def test_attention_config_round_trip():
    layer = SelfAttentionInteraction.from_config(SelfAttentionInteraction(3, 5).get_config())
    assert layer(fields()).shape == (BATCH, FIELDS, 15)


def paper_linear(tables, domain_weights, batch):
    """The sum over features of the weight of the id, or the mean weight of a sequence's."""
    total = np.array([domain_weights[p] for p in batch['domain']])
    for name, ids in batch.items():
        if name == 'domain':
            continue
        for i, value in enumerate(np.atleast_1d(ids).tolist()):
            known = [v for v in np.atleast_1d(value) if v >= 0]
            if known:
                total[i] += np.mean([tables[name][v] for v in known])
    return total


def test_linear_term_equals_numpy():
    rng = np.random.default_rng(0)
    features = trainer_dataset.make_features()
    layer = LinearTerm(features, 4, domain_feature=True)
    batch = trainer_dataset.make_batch(rng, 9)
    tensors = {name: tf.constant(ids) for name, ids in batch.items()}
    layer(tensors, tensors['domain'])
    numeric.randomize(layer)
    # The table holds the vocabularies one after another, in the order of the features.
    table, offset, tables = layer.weight_of.table.numpy()[:, 0], 0, {}
    for feature in features:
        if feature.name == 'history':
            tables['history'] = tables['item_id']
            continue
        tables[feature.name] = table[offset : offset + feature.size]
        offset += feature.size
    domain_weights = layer.weight_of_domain.domain_table.numpy()[:, 0]
    expected = paper_linear(tables, domain_weights, batch)
    assert_allclose(layer(tensors, tensors['domain']), expected, atol=1e-5)
    one = {name: ids[batch['domain'] == 2] for name, ids in tensors.items()}
    assert_allclose(layer(one, tf.constant(2)), expected[batch['domain'] == 2], atol=1e-5)
    again = LinearTerm.from_config(layer.get_config())
    assert again(tensors, tensors['domain']).shape == (9,)


def test_cross_product_has_one_weight_a_combination():
    layer = CrossProduct([['a', 'b'], ['a', 'b', 'c']], buckets=50_000)
    a, b = (ids.ravel() for ids in np.meshgrid(np.arange(30), np.arange(40)))
    ids = {'a': tf.constant(a), 'b': tf.constant(b), 'c': tf.constant(a * 0)}
    assert_allclose(layer(ids), 0)
    layer.weights_of.assign(np.arange(100_000))
    places = layer(ids).numpy().astype(int)
    assert len(set(places)) > 0.95 * 30 * 40  # the rest collide
    np.testing.assert_array_equal(layer(ids).numpy().astype(int), places)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(ids)[:1])
    gradient = tape.gradient(loss, layer.weights_of)
    assert tf.reduce_sum(tf.convert_to_tensor(gradient)) == 2
    again = CrossProduct.from_config(layer.get_config())
    assert (again.crosses, again.buckets) == (layer.crosses, 50_000)
