"""DCN-V2, DLRM and APG as wholes, against their equations in NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.trainer import trainer_dataset
from tests.trainer.random_model import random_batch, random_model
from trainer.config import ModelConfig
from trainer.keras import tf
from trainer.models import build_model


def matrices(model, layer, domain):
    """W and b with which a layer computes for a domain."""
    if hasattr(layer, 'domain_kernel'):
        return (
            layer.kernel.numpy() * layer.domain_kernel.numpy()[domain],
            layer.bias.numpy() + layer.domain_bias.numpy()[domain],
        )
    if hasattr(layer, 'core_kernel'):
        z = model.domain_field.domain_table.numpy()[domain]
        core = z @ layer.core_kernel.numpy() + layer.core_bias.numpy()
        core = core.reshape([int(np.sqrt(core.size))] * 2)
        return layer.inner.numpy() @ core @ layer.outer.numpy(), layer.bias.numpy()
    kernel, bias = (variable.numpy() for variable in layer.variables)
    return kernel, bias


def paper(model, features, activation=lambda x: np.maximum(x, 0)):
    inputs = model.look_up(features)
    flat = inputs.domains.unsort(inputs.flat).numpy().astype(np.float64)
    logits = []
    for x, domain in zip(flat, np.broadcast_to(features['domain'], len(flat)), strict=True):
        crossed = x
        for layer in model.crosses:
            kernel, bias = matrices(model, layer, domain)
            crossed = x * (crossed @ kernel + bias) + crossed
        stacked = model.options.structure == 'stacked'
        h = crossed if stacked else x
        for layer in model.hidden:
            kernel, bias = matrices(model, layer, domain)
            h = activation(h @ kernel + bias)
        if model.crosses and not stacked:
            h = np.concatenate([crossed, h])
        kernel, bias = matrices(model, model.head, domain)
        logits.append((h @ kernel + bias)[0])
    return logits


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('dcnv2', {}),
        ('apg', {'backbone': 'dlrm'}),
        ('dcnv2', {'structure': 'stacked', 'cross_layers': 1}),
        ('dcnv2', {'domain_feature': True}),
        ('dcnv2_star', {}),
        ('apg', {}),
        ('apg', {'rank': 2}),
        ('dcnv2_apg', {'rank': 3}),
    ],
    ids=str,
)
def test_logits_equal_the_paper_in_numpy(name, options):
    model = random_model(name, **options)
    for features in (random_batch(), random_batch(domain=2), random_batch(domain=0)):
        assert_allclose(model(features), paper(model, features), rtol=1e-3, atol=1e-3)


def test_activation_is_an_option():
    model = random_model('apg', activation='tanh')
    assert_allclose(
        model(random_batch()), paper(model, random_batch(), np.tanh), rtol=1e-3, atol=1e-3
    )


def test_cross_layers_are_those_of_tensorflow_recommenders():
    import tensorflow_recommenders as tfrs

    for name in ('dcnv2', 'dcnv2_adasparse'):
        assert all(type(layer) is tfrs.layers.dcn.Cross for layer in random_model(name).crosses)


@pytest.mark.parametrize('name', ['dcnv2', 'dcnv2_star', 'dcnv2_adasparse'])
def test_dropout_is_of_what_a_cross_layer_adds(name):
    model = build_model(
        trainer_dataset.make_manifest(3),
        ModelConfig(
            name=name,
            embedding_dim=4,
            hidden_units=[8],
            normalization='none',
            auxiliary_network=False,
            dropout=0.5,
            options={'cross_layers': 1},
        ),
    )
    rows = {**random_batch(), 'domain': tf.constant(1)}
    crossed, seen, dense, cross = [], [], model.dense, model.cross

    def noting(layer, values, now):
        if layer is model.head:
            seen.append(values)
        return dense(layer, values, now)

    def noting_cross(layer, first, values, now):
        crossed.append((values, cross(layer, first, values, now)))
        return crossed[-1][1]

    model.dense, model.cross = noting, noting_cross
    model(rows, training=True)
    ((residual, whole),) = crossed  # the residual of AdaSparse is pruned
    dropped = seen[0].numpy()[:, :-8]  # without the MLP
    added, kept = (whole - residual).numpy(), dropped - residual.numpy()
    is_dropped = np.abs(kept) < 1e-6
    assert 0.3 < is_dropped[np.abs(added) > 1e-4].mean() < 0.7
    assert_allclose(kept[~is_dropped], 2 * added[~is_dropped], atol=1e-5)


def test_a_row_generates_its_own_weights_from_other_features():
    model = random_model('apg', domain_aware=['age'])
    features = random_batch(domain=1)
    before = model(features).numpy()
    found = random_model('apg', domain_aware=['age'], domain_feature=False)(features).numpy()
    assert np.isfinite(found).all()
    ages = features['age'].numpy()
    layer = model.hidden[0]
    layer.core_kernel.assign(layer.core_kernel * 0)  # no dependence is left in this layer
    changed = np.abs(model(features).numpy() - before)
    assert changed[ages > 0].max() > 1e-3


@pytest.mark.parametrize('name', ['adasparse', 'apg', 'star_adasparse'])
def test_dlrm_adds_the_dot_products_of_all_pairs_to_the_input(name):
    inputs = random_model(name, backbone='dlrm').look_up(random_batch())
    fields = inputs.fields.numpy().astype(np.float64)
    dots = np.einsum('bid,bjd->bij', fields, fields)
    i, j = np.tril_indices(fields.shape[1], -1)
    expected = np.concatenate([fields.reshape(len(fields), -1), dots[:, i, j]], axis=1)
    assert_allclose(inputs.flat, expected, atol=1e-6)


@pytest.mark.parametrize('name', ['adasparse', 'star_adasparse'])
def test_dlrm_scores_the_same_folded(name):
    model = random_model(name, backbone='dlrm', pruner_inputs='domain')
    before = [model(random_batch(domain=domain)).numpy() for domain in (None, 2)]
    model.fold()
    assert_allclose(
        [model(random_batch(domain=domain)) for domain in (None, 2)], before, atol=1e-5
    )
