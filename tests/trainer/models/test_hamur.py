"""HAMUR against the equations of Li et al. 2023, row by row."""

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.trainer import paper as star_paper
from tests.trainer.models.compared import (
    assert_logits_are,
    dense,
    make,
    make_rows,
    network,
    of_domain,
    sigmoid,
    values,
)


def adapter(layer, h, matrix, p):
    u1, v1, u2, v2 = (variable.numpy() for variable in layer.factors)
    a = sigmoid((u1 @ matrix @ v1).T @ h + layer.down_bias.numpy())
    z = (u2 @ matrix @ v2).T @ a + layer.up_bias.numpy()
    norm = layer.normalization
    gamma, beta, domain_gamma, domain_beta = values(norm)
    known = p if norm.moving_count.numpy()[p] > 0 else 0
    return h + star_paper.normalize(
        z,
        norm.moving_mean.numpy()[known],
        norm.moving_variance.numpy()[known],
        gamma * domain_gamma[p],
        beta + domain_beta[p],
        norm.epsilon,
    )


def paper(model, fields, p):
    x = fields.reshape(-1)
    hidden = network(x, values(model.hyper_hidden))
    rank = model.options.rank
    matrix = dense(hidden, values(model.hyper_output)).reshape(rank, rank)
    first = len(model.hidden) - len(model.adapters)
    for i, layer in enumerate(model.hidden):
        x = network(x, of_domain(layer, p))
        if i >= first:
            x = adapter(model.adapters[i - first], x, matrix, p)
    return dense(x, of_domain(model.head, p))[0]


@pytest.mark.parametrize(
    ('hidden_units', 'options'),
    [
        ((6, 5), {'rank': 2, 'adapter_units': 3}),
        ((6, 5, 4), {'adapters': 2, 'rank': 3, 'hyper_units': [4, 3]}),
    ],
)
def test_logits_equal_numpy(hidden_units, options):
    model = make('hamur', hidden_units=hidden_units, **options)
    model(make_rows(seed=1), training=True)  # moves the averages of the domains
    assert_logits_are(model, paper)


def test_training_normalizes_by_the_rows_of_the_domain():
    model = make('hamur', rank=2)
    (layer,) = model.adapters
    rng = np.random.default_rng(0)
    h, matrices = rng.normal(size=(6, 5)), rng.normal(size=(6, 2, 2))
    domains = np.array([2, 1, 2, 1, 2, 1], np.int32)
    inputs = h.astype(np.float32), matrices.astype(np.float32)
    found = layer(inputs, domains, training=True).numpy() - h
    gamma, beta, domain_gamma, domain_beta = values(layer.normalization)
    for p in (1, 2):
        rows = found[domains == p]
        np.testing.assert_allclose(rows.mean(axis=0), beta + domain_beta[p], atol=1e-4)
        assert (rows.std(axis=0) <= np.abs(gamma * domain_gamma[p]) + 1e-4).all()


def test_more_adapters_than_layers_are_too_many():
    with pytest.raises(UserError, match='adapters of hamur is 3, but .* has only 2 layers'):
        make('hamur', adapters=3)
