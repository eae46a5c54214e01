"""Attention to a user's behaviors against its definitions, row by row in NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.attention.activation_unit import ActivationUnit
from trainer.layers.attention.multi_head_attention import (
    MaskedMultiHeadAttention,
    masked_softmax,
)
from trainer.layers.attention.target_attention import TargetAttention
from trainer.layers.attention.transformer_encoder import TransformerEncoder

BATCH, LENGTH, DIM, HEADS, HEAD_DIM = 3, 4, 4, 2, 2
COUNTS = [3, 0, 4]  # behaviors of each row; the second has none


def sequence(seed=0):
    rng = np.random.default_rng(seed)
    mask = np.arange(LENGTH) < np.array(COUNTS)[:, None]
    return (
        rng.normal(size=(BATCH, DIM)).astype(np.float32),
        rng.normal(size=(BATCH, LENGTH, DIM)).astype(np.float32),
        mask,
    )


def attention(arrays, queries, values, heads=HEADS):
    """Vaswani et al. 2017, 3.2, of one row whose values are all there."""
    query, key, value, output = arrays
    width = query.shape[1] // heads
    joined = np.zeros((len(queries), query.shape[1]))
    for h in range(heads) if len(values) else ():
        part = slice(h * width, (h + 1) * width)
        for n, one in enumerate(queries):
            scores = np.array(
                [(one @ query[:, part]) @ (other @ key[:, part]) for other in values]
            ) / np.sqrt(width)
            joined[n, part] = numeric.softmax(scores) @ (values @ value[:, part])
    return joined @ output


def kernels(layer):
    return [layer.query, layer.key, layer.value, layer.output_kernel]


def test_target_attention_equals_numpy():
    layer = TargetAttention(HEADS, HEAD_DIM)
    target, behaviors, mask = sequence()
    layer((target, behaviors), mask)
    numeric.randomize(layer)

    def paper(arrays, batch):
        target, behaviors, _ = batch
        return numeric.weigh(
            np.stack(
                [
                    attention(arrays, target[i : i + 1], behaviors[i, :count])[0]
                    for i, count in enumerate(COUNTS)
                ]
            )
        )

    numeric.check_training(
        kernels(layer.attention),
        lambda batch: numeric.weigh(layer(batch[:2], batch[2])),
        paper,
        [sequence(seed) for seed in range(3)],
        rate=0.05,
    )
    assert_allclose(layer((target, behaviors), mask)[1], np.zeros(DIM))


def layer_norm(values, gamma, beta):
    mean, variance = values.mean(-1, keepdims=True), values.var(-1, keepdims=True)
    return gamma * (values - mean) / np.sqrt(variance + 1e-6) + beta


def test_transformer_encoder_equals_numpy():
    layer = TransformerEncoder(LENGTH, HEADS, HEAD_DIM, inner_units=5)
    _, behaviors, mask = sequence()
    layer(behaviors, mask)
    numeric.randomize(layer)
    variables = [
        layer.positions,
        *kernels(layer.attention),
        *layer.inner.variables,
        *layer.outer.variables,
        *layer.norms[0].variables,
        *layer.norms[1].variables,
    ]
    assert len(variables) == len(layer.trainable_variables)

    def paper(arrays, batch):
        positions, *rest = arrays
        projections, (w_1, b_1, w_2, b_2, *norms) = rest[:4], rest[4:]
        outputs = []
        for row, count in zip(batch[1], COUNTS, strict=True):
            x = row[:count] + positions[:count]
            a = layer_norm(x + attention(projections, x, x), *norms[:2])
            out = layer_norm(a + numeric.relu(a @ w_1 + b_1) @ w_2 + b_2, *norms[2:])
            outputs.append(np.pad(out, [(0, LENGTH - count), (0, 0)]))
        return numeric.weigh(np.stack(outputs))

    def found(batch):
        encoded = layer(tf.constant(batch[1]), batch[2])
        return numeric.weigh(tf.where(batch[2][:, :, None], encoded, 0.0))

    numeric.check_training(
        variables, found, paper, [sequence(seed) for seed in range(2)], rate=0.02
    )


def test_padding_does_not_matter_and_sequences_may_be_shorter():
    layer = TransformerEncoder(LENGTH, HEADS, HEAD_DIM)
    target, behaviors, mask = sequence()
    other = np.where(mask[:, :, None], behaviors, 99.0).astype(np.float32)
    encoded, again = layer(behaviors, mask), layer(other, mask)
    assert_allclose(encoded.numpy()[mask], again.numpy()[mask], atol=1e-5)
    attend = TargetAttention(HEADS, HEAD_DIM)
    assert_allclose(attend((target, encoded), mask), attend((target, again), mask), atol=1e-5)
    short = layer(behaviors[:1, :3], mask[:1, :3])
    assert_allclose(short[0], encoded[0, :3], atol=1e-5)
    none = attend((target, layer(behaviors[:, :0], mask[:, :0])), mask[:, :0])
    assert_allclose(none, np.zeros((BATCH, DIM)))


def test_masked_softmax_in_half_precision():
    scores = tf.constant([[5.0, -3.0, 2.0]], tf.float16)
    assert_allclose(masked_softmax(scores, [[True, False, False]]), [[1, 0, 0]])
    assert_allclose(masked_softmax(scores, [[False] * 3]), [[0, 0, 0]])


def test_activation_unit_equals_the_paper_in_numpy():
    layer = ActivationUnit([3])
    target, behaviors, mask = sequence()
    layer((target, behaviors), mask)
    numeric.randomize(layer)

    def paper(arrays, batch):
        w_1, b_1, w_2, b_2 = arrays
        target, behaviors, _ = batch
        outputs = np.zeros((BATCH, DIM))
        for i, count in enumerate(COUNTS):
            for e in behaviors[i, :count]:
                inputs = np.concatenate([e, e - target[i], e * target[i], target[i]])
                hidden = 1 / (1 + np.exp(-(inputs @ w_1 + b_1)))
                outputs[i] += (hidden @ w_2 + b_2) * e
        return numeric.weigh(outputs)

    numeric.check_training(
        layer.trainable_variables,
        lambda batch: numeric.weigh(layer(batch[:2], batch[2])),
        paper,
        [sequence(seed) for seed in range(3)],
        rate=0.05,
    )
    assert_allclose(layer((target, behaviors), mask)[1], np.zeros(DIM))


@pytest.mark.parametrize(
    'layer',
    [
        TargetAttention(3, 5),
        MaskedMultiHeadAttention(3, 5, 7),
        TransformerEncoder(9, 3, 5, 11),
        ActivationUnit((7, 5), 'relu'),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_is_rebuilt_from_its_configuration(layer):
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config
