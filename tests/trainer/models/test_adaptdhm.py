"""AdaptDHM against the equations of Li et al. 2022, row by row."""

import numpy as np
import pytest

from tests.trainer import numeric
from tests.trainer.models.compared import assert_logits_are, make, make_rows, values
from trainer.keras import tf
from trainer.layers.experts.cluster_router import ClusterRouter


def paper(model, fields, p):
    x = fields.reshape(-1)
    cluster = np.argmax(model.router.centers.numpy() @ x)
    for layer in [*model.hidden, model.head]:
        kernel, bias, cluster_kernel, cluster_bias = values(layer)
        x = x @ (kernel * cluster_kernel[cluster]) + bias + cluster_bias[cluster]
        if layer is not model.head:
            x = numeric.relu(x)
    return x[0]


@pytest.mark.parametrize('options', [{}, {'clusters': 5}, {'clusters': 1}])
def test_logits_equal_numpy(options):
    assert_logits_are(make('adaptdhm', **options), paper)


def moved(centers, rows, momentum, iterations):
    for _ in range(iterations):
        sums = np.zeros_like(centers)
        for row in rows:
            for k, share in enumerate(numeric.softmax(centers @ row)):
                sums[k] += share * row
        centers = momentum * centers + (1 - momentum) * sums
        centers = np.stack([center / np.linalg.norm(center) for center in centers])
    return centers


def test_centers_follow_the_rows_of_training_batches_alone():
    layer = ClusterRouter(clusters=3, momentum=0.8, iterations=2)
    rows = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    layer(rows)
    expected = layer.centers.numpy().astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1.0, rtol=1e-5)
    for batch in (rows, rows[:3] + 1):
        expected = moved(expected, batch, momentum=0.8, iterations=2)
        found = layer(batch, training=True)
        np.testing.assert_allclose(layer.centers, expected, atol=1e-5)
        np.testing.assert_array_equal(found, np.argmax(batch @ expected.T, axis=1))
    layer(rows)
    np.testing.assert_allclose(layer.centers, expected, atol=1e-5)


def test_a_cluster_learns_from_its_own_rows_alone():
    model = make('adaptdhm', clusters=3)
    batch = make_rows()
    inputs = model.look_up(batch)
    clusters = set(model.router(inputs.flat).numpy())
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch))
    gradients = tape.gradient(loss, [layer.cluster_kernel for layer in model.hidden])
    for gradient in gradients:
        assert isinstance(gradient, tf.IndexedSlices)
        assert set(gradient.indices.numpy()) == clusters
    assert len(clusters) > 1
