"""M3oE against the equations of Zhang et al. 2024, row by row."""

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.trainer import numeric
from tests.trainer.models.compared import (
    assert_logits_are,
    dense,
    make,
    network,
    of_domain,
    sigmoid,
    values,
)


def star(layer, x, p):
    kernel, bias, domain_kernel, domain_bias = values(layer)
    return x @ (kernel * domain_kernel[p]) + bias + domain_bias[p]


def weight(layer):
    return sigmoid(layer.log_odds.numpy())


def of_expert(layers, k):
    return [
        array[k].squeeze() if i % 2 else array[k]
        for layer in layers
        for i, array in enumerate(values(layer))
    ]


def paper(model, fields, p):
    x = fields.reshape(-1)
    h = network(star(model.star, x, p), values(model.star_hidden))
    h = h + network(x, values(model.skip))

    gates = numeric.softmax(dense(h, of_domain(model.gate, p)))
    shared = sum(
        gate * network(h, of_expert(model.shared_experts, k)) for k, gate in enumerate(gates)
    )

    def expert(m):
        return network(h, [a for layer in model.domain_experts for a in of_domain(layer, m)])

    others = [expert(m) for m in range(1, model.num_domains) if m != p]
    beta = weight(model.domain_balance)
    by_domain = beta * expert(p)
    if others:
        by_domain = by_domain + (1 - beta) * np.mean(others, axis=0)

    task = network(h, values(model.task_expert))
    z = shared + weight(model.domain_weight) * by_domain + weight(model.task_weight) * task
    return dense(network(z, of_domain(model.tower, p)), of_domain(model.head, p))[0]


@pytest.mark.parametrize(
    ('domains', 'hidden_units', 'options'),
    [
        (3, (6, 5), {'shared_experts': 2}),
        (1, (6, 5), {}),  # no other domain to balance with
        (3, (6, 4, 5, 3), {'tower_layers': 1, 'domain_balance': 0.8}),
    ],
)
def test_logits_equal_numpy(domains, hidden_units, options):
    assert_logits_are(
        make('m3oe', domains=domains, hidden_units=hidden_units, **options), paper
    )


def test_the_weights_start_at_their_options():
    from tests.trainer.trainer_dataset import make_manifest
    from trainer.config import ModelConfig
    from trainer.models import build_model

    options = {'domain_balance': 0.8, 'domain_weight': 0.3, 'task_weight': 0.1}
    model = build_model(
        make_manifest(), ModelConfig(name='m3oe', hidden_units=[4, 3], options=options)
    )
    for name, initial in options.items():
        assert weight(getattr(model, name)) == pytest.approx(initial)


def test_one_hidden_layer_is_too_few():
    with pytest.raises(UserError, match='tower_layers of m3oe puts 1 of the 1'):
        make('m3oe', hidden_units=[4])
