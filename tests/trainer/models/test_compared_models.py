"""The compared models' logits in NumPy, put together from their variables row by row."""

from itertools import combinations

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.trainer import numeric, trainer_dataset
from tests.trainer.models.compared import make, network, of_domain, values
from trainer.keras import tf
from trainer.layers.domain.domain_dense import DomainDense


def make_rows(seed=0):
    batch = trainer_dataset.make_batch(np.random.default_rng(seed), 20)
    return {name: tf.constant(ids) for name, ids in batch.items()}


def embedded(model, batch):
    """[batch, features, dim] as the model looks them up (tested on its own)."""
    return model.embedding(batch).fields.numpy().astype(np.float64)


def logit(x, arrays):
    return (x @ arrays[0] + arrays[1])[0]


def shared_bottom(model, x, p):
    tower = network(network(x, values(model.bottom)), of_domain(model.tower, p))
    return logit(tower, of_domain(model.head, p))


def mmoe(model, x, p):
    *hidden, kernel, bias = of_domain(model.gate, p)
    gates = numeric.softmax(network(x, hidden) @ kernel + bias)
    experts = []
    for i in range(len(gates)):
        arrays = [array[i] for layer in model.experts for array in values(layer)]
        experts.append(
            network(
                x, [np.squeeze(array) if array.shape[0] == 1 else array for array in arrays]
            )
        )
    tower = network(gates @ np.stack(experts), of_domain(model.tower, p))
    return logit(tower, of_domain(model.head, p))


def ple(model, x, p):
    own = shared = x
    for level in model.levels:
        kernel, bias = of_domain(level.specific, p)
        m, d = level.specific_experts, level.units
        experts = [*numeric.relu(own @ kernel + bias).reshape(m, d)]
        experts += [
            numeric.relu(shared @ k + b[0]) for k, b in zip(*values(level.shared), strict=True)
        ]
        kernel, bias = of_domain(level.gate, p)
        below = shared
        own = numeric.softmax(own @ kernel + bias) @ np.stack(experts)
        if not level.last:
            kernel, bias = values(level.shared_gate)
            shared = numeric.softmax(below @ kernel + bias) @ np.stack(experts)
    return logit(network(own, of_domain(model.tower, p)), of_domain(model.head, p))


def mulann(model, x, p):
    return logit(network(x, values(model.tower)), values(model.head))


@pytest.mark.parametrize(
    ('name', 'paper', 'options'),
    [
        ('shared_bottom', shared_bottom, {}),
        ('shared_bottom', shared_bottom, {'shared_layers': 1}),
        ('shared_bottom', shared_bottom, {'shared_layers': 2}),
        ('mmoe', mmoe, {}),
        ('mmoe', mmoe, {'experts': 0, 'tower_layers': 1, 'gate_units': [4, 3]}),
        ('cgc', ple, {'shared_experts': 1, 'specific_experts': 3}),
        ('ple', ple, {}),
        ('ple', ple, {'levels': 1}),
        ('mulann', mulann, {}),
    ],
)
def test_logits_of_multi_domain_models_equal_numpy(name, paper, options):
    model = make(name, **options)
    batch = make_rows()
    x = embedded(model, batch).reshape(20, -1)
    domains = batch['domain'].numpy()
    domains[:3] = 0, 0, 0
    expected = [paper(model, row, p) for row, p in zip(x, domains, strict=True)]
    found = model({**batch, 'domain': tf.constant(domains)})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    for p in range(4):  # the fast path of one domain
        one = {key: ids[domains == p] for key, ids in batch.items()}
        np.testing.assert_allclose(
            model({**one, 'domain': tf.constant(p)}),
            np.array(expected)[domains == p],
            rtol=1e-3,
            atol=1e-4,
        )


def deep(model, fields):
    return logit(network(fields.reshape(-1), values(model.tower)), values(model.head))


def pairs(fields):
    return sum(fields[i] * fields[j] for i, j in combinations(range(len(fields)), 2))


def neurfm(model, fields):
    return logit(network(pairs(fields), values(model.tower)), values(model.head))


def autoint(model, fields):
    x = fields
    for layer in model.attention:
        query, key, value, residual = values(layer)
        heads = []
        for part in np.split(np.arange(query.shape[1]), layer.heads):
            scores = (x @ query[:, part]) @ (x @ key[:, part]).T
            weights = np.stack([numeric.softmax(row) for row in scores])
            heads.append(weights @ (x @ value[:, part]))
        x = numeric.relu(np.concatenate(heads, axis=1) + x @ residual)
    tower = network(fields.reshape(-1), values(model.tower)) if model.tower else []
    return logit(np.concatenate([x.reshape(-1), tower]), values(model.head))


@pytest.mark.parametrize(
    ('name', 'paper', 'options'),
    [
        ('wdl', deep, {}),
        ('wdl', deep, {'domain_feature': True}),
        ('deepfm', lambda model, fields: deep(model, fields) + pairs(fields).sum(), {}),
        (
            'deepfm',
            lambda model, fields: deep(model, fields) + pairs(fields).sum(),
            {'domain_feature': True},
        ),
        ('neurfm', neurfm, {}),
        ('autoint', autoint, {}),
        ('autoint', autoint, {'heads': 2, 'head_dim': 3, 'attention_layers': 1}),
    ],
)
def test_logits_of_single_domain_models_equal_numpy(name, paper, options):
    model = make(name, **options)
    batch = make_rows()
    fields = embedded(model, batch)
    if 'domain_feature' in options:
        table = model.domain_field.domain_table.numpy()
        fields = np.concatenate([fields, table[batch['domain'].numpy()][:, None]], axis=1)
    expected = np.array([paper(model, row) for row in fields])
    linear = {'wdl': 'wide', 'deepfm': 'linear', 'neurfm': 'linear'}.get(name)
    if linear:
        expected += getattr(model, linear)(batch, batch['domain']).numpy()
    np.testing.assert_allclose(model(batch), expected, rtol=1e-3, atol=1e-4)


def test_autoint_without_a_network():
    model = make('autoint', hidden_units=[])
    batch = make_rows()
    expected = [autoint(model, row) for row in embedded(model, batch)]
    np.testing.assert_allclose(model(batch), expected, rtol=1e-3, atol=1e-4)


def test_cross_products_are_added_to_the_wide_part():
    model = make('wdl', crosses=[['user_id', 'age'], ['item_id', 'age']], cross_buckets=50)
    batch = make_rows()
    with_crosses = model(batch).numpy()
    crosses = model.crosses(batch).numpy()
    model.crosses.weights_of.assign(tf.zeros_like(model.crosses.weights_of))
    np.testing.assert_allclose(model(batch), with_crosses - crosses, atol=1e-5)
    assert np.std(crosses) > 0.1


def test_neurfm_normalizes_the_pooling():
    """The network reads the pooled vector, normalized; not fields that were normalized."""
    model = make('neurfm', normalization='bn')
    batch = make_rows()
    pooled = np.stack([pairs(fields) for fields in embedded(model, batch)])
    gamma, beta = values(model.normalization)
    normal = gamma * (pooled - pooled.mean(0)) / np.sqrt(pooled.var(0) + 1e-3) + beta
    expected = [logit(network(x, values(model.tower)), values(model.head)) for x in normal]
    linear = model.linear(batch, batch['domain'], training=True)
    np.testing.assert_allclose(
        model(batch, training=True) - linear, expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize('name', ['shared_bottom', 'mmoe', 'cgc', 'ple'])
@pytest.mark.parametrize('training', [False, True])
def test_no_tower_of_another_domain_touches_a_row(name, training):
    """Domain 3's weights are not-a-number: only its own rows can show it."""
    model = make(name)
    for layer in model.domain_layers():
        if isinstance(layer, DomainDense):
            for variable in layer.trainable_variables:
                rows = variable.numpy()
                rows[3] = np.nan
                variable.assign(rows)
    batch = make_rows()
    domains = batch['domain'].numpy()
    found = model(batch, training=training).numpy()
    np.testing.assert_array_equal(np.isnan(found), domains == 3)
    one = {key: ids[domains == 1] for key, ids in batch.items()}
    assert np.isfinite(model({**one, 'domain': tf.constant(1)}, training=training)).all()


@pytest.mark.parametrize(
    ('name', 'options', 'complaint'),
    [
        ('shared_bottom', {'shared_layers': 3}, 'shared_layers'),
        ('mmoe', {'tower_layers': 2}, 'tower_layers'),
        ('ple', {'levels': 3}, 'levels'),
        ('cgc', {'levels': 1}, 'unknown key levels'),
        ('wdl', {'crosses': [['user_id', 'genres']]}, 'genres'),
        ('wdl', {'crosses': [['user_id']]}, 'fewer than two'),
    ],
)
def test_options_that_cannot_be(name, options, complaint):
    with pytest.raises(UserError, match=complaint):
        make(name, **options)


@pytest.mark.parametrize('name', ['mmoe', 'cgc', 'cross_stitch'])
def test_without_hidden_layers_there_is_nothing_to_build(name):
    with pytest.raises(UserError, match='hidden_units'):
        make(name, hidden_units=[])


def test_mulann_learns_its_discriminator_in_training_alone():
    model = make('mulann', discriminator_units=[4])
    assert model.batches == 'mixed'
    batch = make_rows()
    model(batch)
    assert model.losses == []
    model(batch, training=True)
    assert len(model.losses) == 1 and model.discriminator.steps.numpy() == 1
