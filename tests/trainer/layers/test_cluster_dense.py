"""ClusterDense against STAR's equations with clusters for domains, gradients included."""

import numpy as np

from tests.trainer import numeric, paper
from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.experts.cluster_dense import ClusterDense

CLUSTERS, INPUTS, UNITS = 4, 3, 2


def test_outputs_gradients_and_steps():
    layer = ClusterDense(UNITS, CLUSTERS, activation='relu')
    layer.build(tf.TensorShape([None, INPUTS]))
    numeric.randomize(layer)

    def loss(batch):
        clusters = DomainBatch(tf.constant(batch[1]), CLUSTERS)
        outputs = layer(clusters.sort(tf.constant(batch[0])), clusters)
        return numeric.weigh(clusters.unsort(outputs))

    numeric.check_training(
        [layer.kernel, layer.cluster_kernel, layer.bias, layer.cluster_bias],
        loss,
        lambda arrays, batch: numeric.weigh(
            numeric.relu(paper.star_dense(batch[0], batch[1], *arrays))
        ),
        numeric.batches(INPUTS),
    )
    again = ClusterDense.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_every_cluster_starts_as_the_shared_layer():
    layer = ClusterDense(UNITS, CLUSTERS)
    x = np.random.default_rng(0).normal(size=(CLUSTERS, INPUTS)).astype(np.float32)
    outputs = layer(x, DomainBatch(tf.range(CLUSTERS), CLUSTERS))
    np.testing.assert_allclose(outputs, x @ layer.kernel.numpy(), atol=1e-6)
