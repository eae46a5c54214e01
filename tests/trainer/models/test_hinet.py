"""HiNet against the equations of Zhou et al. 2023, row by row."""

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
    values,
)


def integrate(x, experts, gate):
    """The mixture of sub-experts, a list of (kernel, bias)."""
    weights = numeric.softmax(dense(x, gate))
    return sum(w * network(x, expert) for w, expert in zip(weights, experts, strict=True))


def specific(model, x, m):
    kernel, bias = of_domain(model.specific, m)
    count = model.options.sub_experts
    experts = list(zip(np.split(kernel, count, axis=1), np.split(bias, count), strict=True))
    return integrate(x, experts, of_domain(model.specific_gate, m))


def paper(model, fields, p):
    x = fields.reshape(-1)
    kernels, biases = values(model.shared)
    shared = integrate(
        x, [(k, b[0]) for k, b in zip(kernels, biases, strict=True)], values(model.shared_gate)
    )
    others = [m for m in range(1, model.num_domains) if m != p]
    embedding, key, key_bias = values(model.attention)
    read = np.zeros_like(shared)
    if others:
        weights = numeric.softmax(key[others] @ embedding[p] + key_bias[others])
        read = weights @ np.stack([specific(model, x, m) for m in others])
    c = np.concatenate([specific(model, x, p), read, shared])

    level = model.task_level
    kernel, bias = of_domain(level.specific, p)
    experts = [*network(c, [kernel, bias]).reshape(level.specific_experts, level.units)]
    experts += [network(c, [k, b[0]]) for k, b in zip(*values(level.shared), strict=True)]
    mixed = numeric.softmax(dense(c, of_domain(level.gate, p))) @ np.stack(experts)
    tower = network(mixed, of_domain(model.tower, p))
    return dense(tower, of_domain(model.head, p))[0]


@pytest.mark.parametrize(
    ('domains', 'hidden_units', 'options'),
    [
        (3, (6, 5), {'sub_experts': 2}),
        (1, (6, 5), {'sub_experts': 1}),  # no other domain to read
        (3, (4, 5, 3), {'sub_experts': 3, 'specific_experts': 1, 'shared_experts': 3}),
    ],
)
def test_logits_equal_numpy(domains, hidden_units, options):
    assert_logits_are(
        make('hinet', domains=domains, hidden_units=hidden_units, **options), paper
    )


def test_one_hidden_layer_is_too_few():
    with pytest.raises(UserError, match='hidden_units of hinet has 1 widths'):
        make('hinet', hidden_units=[4])
