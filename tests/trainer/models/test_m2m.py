"""M2M against the equations of Zhang et al. 2022, row by row."""

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.trainer import numeric
from tests.trainer.models.compared import assert_logits_are, dense, make, network, values


def meta(layer, h, knowledge):
    kernel_generator, kernel, bias_generator, bias = (
        variable.numpy()
        for variable in (layer.kernel_generator, layer.kernel, layer.bias_generator, layer.bias)
    )
    generated = (knowledge @ kernel_generator).reshape(kernel.shape) + kernel
    return numeric.relu(generated.T @ h + knowledge @ bias_generator + bias)


def paper(model, fields, p):
    x, embedding = fields.reshape(-1), fields[model.fields.index('domain')]
    knowledge = network(embedding, values(model.knowledge))
    kernels, biases = values(model.experts)
    experts = [network(x, [k, b[0]]) for k, b in zip(kernels, biases, strict=True)]
    task, (v,) = model.task.numpy(), values(model.attention_weight)
    scores = [
        (meta(model.attention, np.concatenate([expert, task]), knowledge) @ v)[0]
        for expert in experts
    ]
    level = numeric.softmax(np.array(scores)) @ np.stack(experts)
    for layer in model.meta_tower:
        level = numeric.relu(meta(layer, level, knowledge) + level)
    return dense(network(level, values(model.tower)), values(model.head))[0]


@pytest.mark.parametrize(
    'options',
    [{'experts': 3, 'scenario_units': 2}, {'experts': 1, 'meta_layers': 2}],
)
def test_logits_equal_numpy(options):
    assert_logits_are(make('m2m', **options), paper)


@pytest.mark.parametrize(
    ('kwargs', 'complaint'),
    [
        ({'domain_feature': False}, 'domain_feature of m2m is false'),
        ({'hidden_units': []}, 'hidden_units of m2m is empty'),
    ],
)
def test_wrong_options_are_one_sentence(kwargs, complaint):
    with pytest.raises(UserError, match=complaint):
        make('m2m', **kwargs)
