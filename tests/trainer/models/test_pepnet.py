"""EPNet, PPNet and PEPNet against the equations of Chang et al. 2023, row by row."""

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.trainer import numeric
from tests.trainer.models.compared import (
    assert_logits_are,
    dense,
    embedded,
    make,
    make_rows,
    network,
    sigmoid,
    values,
)
from tests.trainer.trainer_dataset import make_manifest
from trainer.config import ModelConfig
from trainer.keras import tf
from trainer.models import build_model


def gate(layer, *inputs):
    kernel, bias, factor_kernel, factor_bias = values(layer)
    hidden = network(np.concatenate(inputs), [kernel, bias])
    return layer.gamma * sigmoid(dense(hidden, [factor_kernel, factor_bias]))


def paper(model, fields, p, stopped=None):
    """The logit of a row's embeddings [fields, dim].

    With `stopped`, the gates read these embeddings instead where the paper stops gradients.
    """

    def prior(names):
        return np.concatenate([fields[model.fields.index(name)] for name in names])

    x = fields.reshape(-1)
    stopped = x if stopped is None else stopped.reshape(-1)
    if model.embedding_gate is not None:
        domain_side = prior(model.options.domain_side)
        x = x * gate(model.embedding_gate, domain_side, stopped)
        stopped = stopped * gate(model.embedding_gate, domain_side, stopped)
    for i, layer in enumerate(model.hidden):
        x = network(x, values(layer))
        if model.gates:
            features = model.options.prior_features or ('user_id', 'item_id')
            x = x * gate(model.gates[i], prior(features), stopped)
    return dense(x, values(model.head))[0]


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('epnet', {'gate_units': 3}),
        ('epnet', {'domain_side': ['age', 'domain'], 'gamma': 1.5}),
        ('ppnet', {'gate_units': 3}),
        ('ppnet', {'prior_features': ['user_id', 'domain'], 'gamma': 1.5}),
        ('pepnet', {'gate_units': 3}),
    ],
)
def test_logits_equal_numpy(name, options):
    assert_logits_are(make(name, **options), paper)


@pytest.mark.parametrize('name', ['epnet', 'ppnet'])
def test_the_general_embeddings_get_no_gradient_through_the_gates(name):
    model = make(name, gate_units=3)
    batch = {key: ids[5:6] for key, ids in make_rows().items()}
    inputs = model.look_up(batch)
    fields = inputs.fields
    with tf.GradientTape() as tape:
        tape.watch(fields)
        logit = model.network(
            inputs._replace(fields=fields, flat=tf.reshape(fields, [1, -1])), training=True
        )
    (row,) = embedded(model, batch)
    (expected,) = numeric.gradients(
        lambda arrays: paper(model, arrays[0], 1, stopped=row), [row.copy()]
    )
    found = tape.gradient(logit, fields)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    (through,) = numeric.gradients(lambda arrays: paper(model, arrays[0], 1), [row.copy()])
    assert np.abs(through - expected).max() > 1e-3


@pytest.mark.parametrize(
    ('name', 'options', 'complaint'),
    [
        ('epnet', {'domain_side': ['shop']}, 'domain_side of epnet names shop'),
        ('epnet', {'domain_feature': False}, 'domain_feature: true'),
        ('epnet', {'domain_side': []}, 'domain_side of epnet is empty'),
        ('ppnet', {'prior_features': ['author_id']}, 'prior_features of ppnet names author_id'),
        ('pepnet', {'gamma': 0.0}, 'gamma'),
    ],
)
def test_wrong_options_are_one_sentence(name, options, complaint):
    with pytest.raises(UserError, match=complaint):
        make(name, **options)


def test_without_features_of_users_and_items_the_prior_must_be_named():
    config = ModelConfig(
        name='ppnet', exclude_features=['user_id', 'item_id'], hidden_units=[4]
    )
    with pytest.raises(UserError, match='prior_features of ppnet is empty'):
        build_model(make_manifest(), config)
