"""MetaDense against its formula, gradients included."""

import numpy as np
import pytest

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.experts.meta_dense import MetaDense

INPUTS, UNITS, CONTEXT, DOMAINS = 3, 2, 2, 4
KNOWLEDGE = np.random.default_rng(1).normal(size=(DOMAINS, CONTEXT)).astype(np.float32)


def paper(x, domains, kernel_generator, kernel, bias_generator, bias):
    outputs = []
    for row, p in zip(x, domains, strict=True):
        generated = (KNOWLEDGE[p] @ kernel_generator).reshape(kernel.shape) + kernel
        outputs.append(numeric.relu(row @ generated + KNOWLEDGE[p] @ bias_generator + bias))
    return np.stack(outputs)


@pytest.mark.parametrize('vectors', [1, 3])
def test_outputs_gradients_and_steps(vectors):
    layer = MetaDense(UNITS)
    rng = np.random.default_rng(0)
    batches = []
    for x, domains, given in numeric.batches(INPUTS):
        if vectors > 1:
            x = rng.normal(size=(len(x), vectors, INPUTS)).astype(np.float32)
        batches.append((x, domains, given))
    layer.build((tf.TensorShape(batches[0][0].shape), tf.TensorShape([None, CONTEXT])))
    numeric.randomize(layer)

    def loss(batch):
        x, _, given = batch
        domains = DomainBatch(given, DOMAINS)
        knowledge = domains.gather(tf.constant(KNOWLEDGE))
        outputs = layer((domains.sort(tf.constant(x)), knowledge), domains)
        return numeric.weigh(domains.unsort(outputs))

    numeric.check_training(
        [layer.kernel_generator, layer.kernel, layer.bias_generator, layer.bias],
        loss,
        lambda arrays, batch: numeric.weigh(paper(batch[0], batch[1], *arrays)),
        batches,
    )


def test_it_is_made_again_from_its_configuration():
    layer = MetaDense(UNITS, name='meta')
    assert MetaDense.from_config(layer.get_config()).get_config() == layer.get_config()
