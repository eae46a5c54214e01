"""SAR-Net against the equations of Shen et al. 2021, row by row."""

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.trainer import numeric
from tests.trainer.models.compared import (
    assert_logits_are,
    dense,
    embedded,
    make,
    network,
    of_domain,
    sigmoid,
    values,
)
from tests.trainer.trainer_dataset import make_manifest
from trainer.config import ModelConfig
from trainer.models import build_model


def attend(layer, target, behaviors):
    """The sum of the behaviors, weighted by DIN's activation unit."""
    kernel, bias, weight, weight_bias = values(layer)
    total = np.zeros_like(target)
    for behavior in behaviors:
        x = np.concatenate([behavior, behavior - target, behavior * target, target])
        total = (
            total + dense(sigmoid(dense(x, [kernel, bias])), [weight, weight_bias]) * behavior
        )
    return total


def paper(model, inputs, p):
    """The logit of a row's embeddings [fields, dim] and behaviors [number, dim]."""
    fields, behaviors = inputs
    by_name = dict(zip(model.fields, fields, strict=True))
    attentions = dict(zip(model.attentions, model.attention_layers, strict=True))
    parts = [vector for name, vector in by_name.items() if name != 'history']
    parts.append(attend(attentions['history_by_item_id'], by_name['item_id'], behaviors))
    if 'domain' in by_name:
        parts.append(attend(attentions['history_by_domain'], by_name['domain'], behaviors))
    scale, shift = of_domain(model.scale, p)
    x = np.concatenate(parts) * scale + shift

    kernels, biases = values(model.shared)
    experts = [dense(x, [k, b[0]]) for k, b in zip(kernels, biases, strict=True)]
    experts += [*dense(x, of_domain(model.specific, p)).reshape(-1, model.units)]
    mixed = numeric.softmax(dense(x, values(model.gate))) @ np.stack(experts)
    return dense(network(mixed, values(model.tower)), values(model.head))[0]


def with_behaviors(model, batch):
    sequence = model.embedding(batch).sequences['history']
    behaviors = [
        vectors[mask]
        for vectors, mask in zip(sequence.vectors.numpy(), sequence.mask.numpy(), strict=True)
    ]
    return list(zip(embedded(model, batch), behaviors, strict=True))


@pytest.mark.parametrize(
    'options',
    [
        {'shared_experts': 2, 'specific_experts': 1, 'attention_units': [4]},
        {'shared_experts': 1, 'attention_units': [3], 'domain_feature': False},
    ],
)
def test_logits_equal_numpy(options):
    assert_logits_are(make('sar_net', **options), paper, with_behaviors)


def test_without_histories_the_input_is_that_of_other_models():
    config = ModelConfig(name='sar_net', hidden_units=[4], exclude_features=['history'])
    model = build_model(make_manifest(), config)
    assert model.attentions == {}


def test_without_hidden_layers_there_are_no_experts():
    with pytest.raises(UserError, match='hidden_units of sar_net is empty'):
        make('sar_net', hidden_units=[])
