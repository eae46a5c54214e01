"""The layers of cross-domain models against their definitions, row by row in NumPy."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.trainer import numeric, trainer_dataset
from trainer.keras import keras, tf
from trainer.layers.attention.behavior_states import BehaviorStates
from trainer.layers.attention.dual_attention import DualAttention
from trainer.layers.attention.interest_attention import InterestAttention
from trainer.layers.attention.item_attention import ItemAttention, ItemAttentionInputs
from trainer.layers.basic.gradient_scale import scale_gradient
from trainer.layers.domain.compute_for_domains import compute_for_domains
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.inputs.domain_feature_embedding import DomainFeatureEmbedding
from trainer.layers.inputs.feature_embedding import FeatureEmbedding
from trainer.layers.transfer.orthogonal_mapping import OrthogonalMapping

BATCH, LENGTH, DIM = 4, 3, 2
COUNTS = [2, 0, 3, 1]  # clicks of each row; the second has none
MASK = np.arange(LENGTH) < np.array(COUNTS)[:, None]
DOMAINS = 4


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def attended(seed=0):
    return ItemAttentionInputs(
        draw(BATCH, LENGTH, DIM, seed=seed),
        draw(BATCH, DIM, seed=seed + 10),
        draw(BATCH, 3, seed=seed),
        draw(BATCH, 5, seed=seed),
    )


@pytest.mark.parametrize('rank', [0, 1])
def test_item_attention_equals_the_paper_in_numpy(rank):
    layer = ItemAttention(units=3, rank=rank)
    layer(attended(), MASK)
    numeric.randomize(layer)
    maps = [layer.map_down, layer.map_up] if rank else []

    def paper(arrays, batch):
        of_click, of_row, bias, score, *maps = arrays
        mapping = maps[0] @ maps[1] if rank else np.eye(DIM)
        w = np.concatenate([of_click[:DIM], of_row, of_click[DIM:]])  # as the formula has it
        outputs = np.zeros((BATCH, DIM))
        for row, count in enumerate(COUNTS):
            r, t = batch.clicked[row, :count], batch.target[row]
            known = np.concatenate([batch.item[row], batch.user[row]])
            scores = [
                numeric.relu(np.concatenate([e, known, (e @ mapping) * t]) @ w + bias)
                @ score[:, 0]
                for e in r
            ]
            if count:
                outputs[row] = numeric.softmax(np.array(scores)) @ r
        return numeric.weigh(outputs)

    numeric.check_training(
        [layer.of_click.kernel, *layer.of_row.variables, layer.score.kernel, *maps],
        lambda batch: numeric.weigh(layer(batch, MASK)),
        paper,
        [attended(seed) for seed in range(3)],
        rate=0.05,
    )
    assert_allclose(layer(attended(), MASK)[1], np.zeros(DIM))


def test_interest_attention_equals_the_paper_in_numpy():
    layer = InterestAttention(units=3)

    def batch(seed):
        return draw(BATCH, 2, seed=seed), [draw(BATCH, n, seed=seed + 5) for n in (1, 3, 2)]

    layer(batch(0))
    numeric.randomize(layer, scale=0.4)

    def paper(arrays, batch):
        kernel, scores, bias = arrays
        item, interests = batch
        outputs = [np.zeros_like(interest, np.float64) for interest in interests]
        for row in range(BATCH):
            inputs = np.concatenate([item[row], *(each[row] for each in interests)])
            for k, interest in enumerate(interests):
                v_k = kernel[:, 3 * k : 3 * k + 3]
                weight = np.exp(scores[k] @ numeric.relu(inputs @ v_k) + bias[k])
                outputs[k][row] = weight * interest[row].astype(np.float64)
        return numeric.weigh(np.concatenate(outputs, axis=1))

    numeric.check_training(
        [layer.kernel, layer.scores, layer.bias],
        lambda batch: numeric.weigh(tf.concat(layer(batch), axis=1)),
        paper,
        [batch(seed) for seed in range(3)],
        rate=0.02,
    )
    layer.bias.assign([1e6, 0, 0])
    assert np.isfinite(layer(batch(0))[0]).all()


def mapped(arrays, x, domain, source=2, partner=3):
    (mapping,) = arrays
    if domain == source:
        return x @ mapping[partner]
    return x @ (mapping[domain] if domain else mapping[[1, 3]].mean(axis=0)).T


def test_orthogonal_mapping_equals_numpy_and_starts_orthogonal():
    layer = OrthogonalMapping(DOMAINS, source=2, partner=3)
    layer(draw(2, 3), tf.constant([0, 1]))
    first = layer.domain_mapping.numpy()
    assert_allclose(first, np.repeat(first[:1], DOMAINS, axis=0))
    assert_allclose(first[0] @ first[0].T, np.eye(3), atol=1e-5)
    numeric.randomize(layer)

    def paper(arrays, batch):
        x, domains, _ = batch
        used = [arrays[0][3 if p == 2 else p] for p in sorted(set(domains))]
        away = [np.sum((matrix @ matrix.T - np.eye(3)) ** 2) for matrix in used]
        return numeric.weigh(
            np.stack([mapped(arrays, one, p) for one, p in zip(x, domains, strict=True)])
        ) + np.mean(away)

    def found(batch):
        x, _, domain = batch
        rows = DomainBatch(domain, DOMAINS)
        return numeric.weigh(layer(x, domain, training=True)) + layer.penalty(rows)

    numeric.check_training([layer.domain_mapping], found, paper, numeric.batches(3), rate=0.01)
    unseen = draw(5, 3)
    domains = np.array([1, 0, 2, 0, 3])
    expected = [
        mapped([layer.domain_mapping.numpy()], x, p)
        for x, p in zip(unseen, domains, strict=True)
    ]
    assert_allclose(layer(unseen, tf.constant(domains)), expected, atol=1e-4)
    assert_allclose(layer(unseen[:2], tf.constant(0))[1], expected[1], atol=1e-4)


def gru(arrays, inputs):
    """Cho et al. 2014, with the gates' order and the two biases of Keras."""
    kernel, recurrent, bias = arrays
    n = len(recurrent)
    state, states = np.zeros(n), []
    for x in inputs:
        of_x, of_state = x @ kernel + bias[0], state @ recurrent + bias[1]
        update, reset = (
            sigmoid(of_x[:n] + of_state[:n]),
            sigmoid(of_x[n : 2 * n] + of_state[n : 2 * n]),
        )
        new = np.tanh(of_x[2 * n :] + reset * of_state[2 * n :])
        state = update * state + (1 - update) * new
        states.append(state)
    return states


def test_behavior_states_equal_a_gru_in_numpy():
    layer = BehaviorStates(2)
    layer(draw(BATCH, LENGTH, DIM), MASK)
    numeric.randomize(layer)

    def paper(arrays, clicks):
        outputs = np.zeros((BATCH, LENGTH, 2))
        for row, count in enumerate(COUNTS):
            if count:
                outputs[row, :count] = gru(arrays, clicks[row, :count][::-1])[::-1]
        return numeric.weigh(outputs)

    numeric.check_training(
        layer.trainable_variables,
        lambda clicks: numeric.weigh(tf.where(MASK[:, :, None], layer(clicks, MASK), 0.0)),
        paper,
        [draw(BATCH, LENGTH, DIM, seed=seed) for seed in range(2)],
        rate=0.05,
    )
    assert layer(draw(BATCH, 0, DIM), MASK[:, :0]).shape == (BATCH, 0, 2)
    short = layer(draw(BATCH, LENGTH, DIM)[:, :2], MASK[:, :2])
    whole = layer(draw(BATCH, LENGTH, DIM), MASK & (np.arange(LENGTH) < 2))
    assert_allclose(short.numpy()[MASK[:, :2]], whole[:, :2].numpy()[MASK[:, :2]], atol=1e-6)


def dual_batch(domains, seed):
    states, target = draw(BATCH, LENGTH, DIM, seed=seed), draw(BATCH, 3, seed=seed)
    single = len(set(domains)) == 1
    return states, target, np.array(domains), tf.constant(domains[0] if single else domains)


def test_dual_attention_equals_the_paper_in_numpy():
    layer = DualAttention(2, DOMAINS)
    batches = [
        dual_batch([3, 1, 3, 1], 0),
        dual_batch([1, 1, 1, 1], 1),
        dual_batch([2, 3, 1, 2], 2),
    ]
    layer((*batches[0][:2], MASK), batches[0][3])
    numeric.randomize(layer)

    def outputs(arrays, batch):
        states, target, domains, _ = batch
        found = np.zeros((BATCH, DIM))
        for row, (p, count) in enumerate(zip(domains, COUNTS, strict=True)):
            of_state, b_state, of_target, b_target, score, b_score = (
                array[p] if p else array[1:].mean(axis=0) for array in arrays
            )
            scores = [
                np.tanh(h @ of_state + b_state + target[row] @ of_target + b_target)
                @ score[:, 0]
                + b_score[0]
                for h in states[row, :count]
            ]
            if count:
                found[row] = numeric.softmax(np.array(scores)) @ states[row, :count]
        return found

    def found(batch, training=True):
        return layer((*batch[:2], MASK), batch[3], training=training)

    variables = [
        variable
        for part in (layer.of_state, layer.of_target, layer.score)
        for variable in part.trainable_variables
    ]
    numeric.check_training(
        variables,
        lambda batch: numeric.weigh(found(batch)),
        lambda arrays, batch: numeric.weigh(outputs(arrays, batch)),
        batches,
        rate=0.05,
    )
    for domains in ([0, 2, 0, 1], [0, 0, 0, 0]):
        batch = dual_batch(domains, 4)
        arrays = [variable.numpy() for variable in variables]
        assert_allclose(found(batch, training=False), outputs(arrays, batch), atol=1e-4)


@pytest.mark.parametrize('single', [False, True])
def test_for_rows_computes_for_the_chosen_alone(single):
    domain = tf.constant(1 if single else [0, 1, 1, 3, 3, 2])
    rows = DomainBatch(domain, DOMAINS)
    values = rows.sort(tf.range(6, dtype=tf.float32))
    seen = []

    def compute(inputs, chosen):
        seen.append(
            (inputs['x'].numpy().tolist(), chosen.domain.numpy().tolist(), chosen.num_domains)
        )
        return inputs['x'] * 10

    found = compute_for_domains(rows, [-1, 0, -1, 1], {'x': values}, compute)
    none = compute_for_domains(
        rows, [0, -1, 1, 2] if single else [-1, -1, -1, -1, 0], {'x': values}, compute
    )
    assert_array_equal(none, np.zeros(6))
    if single:
        assert_allclose(found, np.arange(6) * 10)
        assert seen == [([0, 1, 2, 3, 4, 5], 0, 2), ([], 0, 3)]
    else:
        assert_allclose(found, [0, 10, 20, 0, 30, 40])
        assert seen == [([1, 2, 3, 4], [0, 0, 1, 1], 2), ([], [], 1)]


def test_scale_gradient_keeps_values_and_scales_gradients():
    x = tf.constant([1.0, -2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(tf.square(scale_gradient(x, 0.25)))
    assert_allclose(y, 5)
    assert_allclose(tape.gradient(y, x), [0.5, -1])


def embedding(domains=3, **kwargs):
    keras.utils.set_random_seed(3)
    layer = DomainFeatureEmbedding(trainer_dataset.make_features(), 3, domains + 1, **kwargs)
    batch = trainer_dataset.make_batch(np.random.default_rng(0), 12, domains)
    layer(batch, DomainBatch(tf.constant(0), domains + 1))
    return layer, batch


def test_every_domain_has_a_table_of_its_own():
    layer, batch = embedding()
    tables = layer.table.numpy().reshape(4, layer.rows, 3)
    assert_array_equal(tables, np.repeat(tables[:1], 4, axis=0))
    numeric.randomize(layer)
    tables = layer.table.numpy().reshape(4, layer.rows, 3)
    tables[0] = tables[1:].mean(axis=0)
    batch['domain'][:3] = 0
    rows = DomainBatch(tf.constant(batch['domain']), 4)
    order = np.argsort(batch['domain'], kind='stable')
    ids = {name: tf.constant(values[order]) for name, values in batch.items()}
    plain = FeatureEmbedding(trainer_dataset.make_features(), 3)
    plain(batch)

    def check(found):
        for i, domain in enumerate(batch['domain'][order]):
            plain.table.assign(tables[domain])
            one = plain({name: values[i : i + 1] for name, values in ids.items()})
            assert_allclose(found.fields[i], one.fields[0], atol=1e-5)
            assert_allclose(
                found.sequences['history'].vectors[i],
                one.sequences['history'].vectors[0],
                atol=1e-5,
            )

    check(layer(ids, rows))
    layer.fold()
    check(layer(ids, rows))
    layer.unfold()


def test_a_row_moves_the_table_of_its_own_domain():
    layer, batch = embedding()
    domain = np.sort(batch['domain'])
    with tf.GradientTape() as tape:
        found = layer(batch, DomainBatch(tf.constant(domain), 4), training=True)
        loss = numeric.weigh(found.fields)
    gradient = tape.gradient(loss, layer.table)
    assert isinstance(gradient, tf.IndexedSlices)
    touched = (
        tf.math.unsorted_segment_sum(tf.abs(gradient.values), gradient.indices, 4 * layer.rows)
        .numpy()
        .sum(axis=1)
    )
    touched = touched.reshape(4, layer.rows) > 0
    users = np.zeros_like(touched)
    users[domain, batch['user_id']] = True
    assert_array_equal(
        touched[:, : trainer_dataset.USERS + 1], users[:, : trainer_dataset.USERS + 1]
    )


def test_an_added_domain_starts_with_the_mean_of_the_tables():
    (layer, _), (larger, _) = embedding(3), embedding(5)
    numeric.randomize(layer)
    names = [feature.name for feature in layer.features]
    larger.copy_rows(layer, names)
    old = layer.table.numpy().reshape(4, -1, 3)
    new = larger.table.numpy().reshape(6, -1, 3)
    assert_array_equal(new[:4], old)
    assert_allclose(new[4:], np.repeat(old[1:].mean(axis=0)[None], 2, axis=0), atol=1e-6)
    plain = FeatureEmbedding(layer.features, 3)
    plain(trainer_dataset.make_batch(np.random.default_rng(0), 2))
    larger.copy_rows(plain, names)
    assert_array_equal(
        larger.table.numpy().reshape(6, -1, 3), np.repeat(plain.table.numpy()[None], 6, axis=0)
    )


def test_added_values_change_no_other():
    layer, batch = embedding()
    numeric.randomize(layer)
    features = [
        dataclasses.replace(
            feature, size=feature.size + (7 if feature.vocabulary == 'item_id' else 0)
        )
        for feature in layer.features
    ]
    larger = DomainFeatureEmbedding(features, 3, 4)
    rows = DomainBatch(tf.constant(np.sort(batch['domain'])), 4)
    larger(batch, rows)
    larger.copy_rows(layer, [feature.name for feature in features])
    assert_array_equal(larger(batch, rows).fields, layer(batch, rows).fields)
    added = {**batch, 'item_id': np.full(12, trainer_dataset.ITEMS + 3, np.int32)}
    item = larger(added, rows).fields[:, 1]
    assert_array_equal(item, np.repeat(item[:1], 12, axis=0))  # fresh, alike in all domains
    assert np.abs(item).max() > 1e-4


@pytest.mark.parametrize(
    'layer',
    [
        ItemAttention(5, 2),
        InterestAttention(5),
        OrthogonalMapping(4, 2, 1),
        BehaviorStates(5),
        DualAttention(5, 4),
        DomainFeatureEmbedding(trainer_dataset.make_features(), 3, 4, l2=0.1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_is_rebuilt_from_its_configuration(layer):
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config
