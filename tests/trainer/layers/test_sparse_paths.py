"""The sparse and the dense path of each operation, against NumPy and each other."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.trainer import trainer_dataset
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.layers.domain import domain_batch
from trainer.layers.domain.auxiliary_network import AuxiliaryNetwork
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.grouped_matmul import UNROLLED_GROUPS
from trainer.layers.domain.partitioned_normalization import PartitionedNormalization
from trainer.layers.domain.star_dense import StarDense
from trainer.layers.inputs.feature_embedding import FeatureEmbedding
from trainer.layers.sparse.dispatch import dispatch
from trainer.layers.sparse.domain_indicator import DomainIndicator
from trainer.layers.sparse.paths import DISPATCH_ROWS, SPARSE_FROM, forced_path, uses_sparse
from trainer.layers.sparse.pooling import mean_embedding
from trainer.layers.sparse.pruned_product import pruned_product
from trainer.loop.step import loss_of
from trainer.models import build_model

DOMAINS = 4
RNG = np.random.default_rng(0)

both_paths = pytest.mark.parametrize('sparse', [True, False], ids=['sparse', 'dense'])


@pytest.fixture()
def path(sparse):
    with forced_path(sparse):
        yield


def value_and_gradients(compute, *inputs):
    """Outputs, and the gradients of their weighted sum."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = compute(*inputs)
        factors = np.random.default_rng(5).normal(size=outputs.shape)
        loss = tf.reduce_sum(outputs * tf.constant(factors, outputs.dtype))
    found = [tf.convert_to_tensor(each).numpy() for each in tape.gradient(loss, inputs)]
    return outputs.numpy(), factors, found


@both_paths
def test_sums_by_domain_and_their_gradients(path):
    segments = np.array([0, 0, 1, 2, 2, 2])
    values = RNG.normal(size=(6, 3)).astype(np.float32)
    indicator = DomainIndicator(tf.constant(segments, tf.int32), tf.constant(3))
    outputs, factors, (gradient,) = value_and_gradients(indicator.sum, tf.constant(values))
    assert_allclose(outputs, np.stack([values[segments == p].sum(0) for p in range(3)]), 1e-6)
    assert_allclose(gradient, factors[segments], atol=1e-6)


@both_paths
@pytest.mark.parametrize('shape', [(), (3,), (2, 3)])
def test_values_of_each_rows_domain_and_their_gradients(path, shape):
    segments = np.array([0, 0, 1, 2, 2, 2])
    values = RNG.normal(size=(3, *shape)).astype(np.float32)
    indicator = DomainIndicator(tf.constant(segments, tf.int32), tf.constant(3))
    outputs, factors, (gradient,) = value_and_gradients(
        indicator.broadcast, tf.constant(values)
    )
    assert_allclose(outputs, values[segments], atol=1e-6)
    expected = np.stack([factors[segments == p].sum(axis=0) for p in range(3)])
    assert_allclose(gradient, expected, atol=1e-6)


@both_paths
def test_a_batch_without_rows_sums_to_zero(path):
    indicator = DomainIndicator(tf.zeros([0], tf.int32), tf.constant(1))
    assert indicator.sum(tf.zeros([0, 3])).numpy().tolist() == [[0.0, 0.0, 0.0]]


@both_paths
def test_means_of_embeddings_and_their_gradients(path):
    table = RNG.normal(size=(6, 2)).astype(np.float32)
    table[5] = 0  # the padding
    rows = np.array([[1, 1, 4], [2, 5, 5], [5, 5, 5], [0, 3, 5]])
    mask = rows < 5
    outputs, factors, (gradient,) = value_and_gradients(
        lambda table: mean_embedding(
            table, tf.constant(rows), tf.constant(mask), 5, tf.gather(table, rows), True
        ),
        tf.constant(table),
    )
    lengths = np.maximum(mask.sum(axis=1), 1)
    assert_allclose(outputs, table[rows].sum(axis=1) / lengths[:, None], atol=1e-6)
    expected = np.zeros_like(table)
    for i, j in zip(*np.nonzero(mask), strict=True):
        expected[rows[i, j]] += factors[i] / lengths[i]
    assert_allclose(gradient, expected, atol=1e-6)


@both_paths
def test_sequences_without_values_change_no_row_but_the_paddings(path):
    features = trainer_dataset.make_manifest(DOMAINS).features
    layer = FeatureEmbedding(features, dim=2)
    ids = {
        feature.name: tf.fill([3, feature.length], -1)
        if feature.kind == 'sequence'
        else tf.ones([3], tf.int32)
        for feature in features
    }
    layer(ids)
    sequence = next(i for i, each in enumerate(features) if each.kind == 'sequence')
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(ids, training=True).fields[:, sequence])
    gradient = tape.gradient(loss, layer.table)
    assert not np.any(gradient.values.numpy())
    # Row 0 is that of unseen users, of whom there are none here.
    assert 0 not in gradient.indices.numpy() and layer.rows - 1 in gradient.indices.numpy()


@both_paths
def test_products_of_rows_with_zeros_and_their_gradients(path):
    rows = RNG.normal(size=(5, 4)) * (RNG.random((5, 4)) > 0.6)
    kernel = RNG.normal(size=(4, 3))
    outputs, factors, found = value_and_gradients(
        lambda rows, kernel: pruned_product(tf.where(rows != 0, rows, 0.0), kernel),
        tf.constant(rows, tf.float32),
        tf.constant(kernel, tf.float32),
    )
    assert_allclose(outputs, rows @ kernel, atol=1e-6)
    assert_allclose(found[0], np.where(rows != 0, factors @ kernel.T, 0), atol=1e-6)
    assert_allclose(found[1], rows.T @ factors, atol=1e-6)


def test_each_rows_product_with_its_domains_matrix_needs_no_order():
    domain = np.array([2, 0, 2, 1, 0, 2])
    rows, weights = RNG.normal(size=(6, 4)), RNG.normal(size=(3, 4, 2))
    outputs, factors, found = value_and_gradients(
        lambda rows, weights: dispatch(rows, weights, tf.constant(domain, tf.int32)),
        tf.constant(rows, tf.float32),
        tf.constant(weights, tf.float32),
    )
    assert_allclose(outputs, np.einsum('bi,bio->bo', rows, weights[domain]), atol=1e-6)
    assert_allclose(found[0], np.einsum('bo,bio->bi', factors, weights[domain]), atol=1e-6)
    expected = np.zeros_like(weights)
    np.add.at(expected, domain, rows[:, :, None] * factors[:, None, :])
    assert_allclose(found[1], expected, atol=1e-6)


@both_paths
@pytest.mark.parametrize('num_domains', [UNROLLED_GROUPS, UNROLLED_GROUPS + 1])
@pytest.mark.parametrize('with_factor', [True, False])
@pytest.mark.parametrize('batch', [0, 1, 50])
def test_dispatch_by_domain_and_its_gradients(path, num_domains, with_factor, batch):
    ids = RNG.integers(0, num_domains, batch)
    rows, weights = RNG.normal(size=(batch, 4)), RNG.normal(size=(num_domains, 4, 3))
    factor = RNG.normal(size=(4, 3)) if with_factor else np.ones((4, 3))

    def compute(rows, weights, factor):
        domains = DomainBatch(tf.constant(ids, tf.int32), num_domains)
        return domains.unsort(
            domains.dense(
                domains.sort(rows),
                domains.gather(weights) * (1 if with_factor else factor),
                factor=factor if with_factor else None,
            )
        )

    inputs = [tf.constant(each, tf.float32) for each in (rows, weights, factor)]
    outputs, upstream, found = value_and_gradients(compute, *inputs)
    kernels = weights * factor
    assert_allclose(outputs, np.einsum('bi,bio->bo', rows, kernels[ids]), atol=1e-6)
    of_kernels = np.zeros_like(weights)
    np.add.at(of_kernels, ids, rows[:, :, None] * upstream[:, None, :])
    expected = [
        np.einsum('bo,bio->bi', upstream, kernels[ids]),
        of_kernels * factor,
        (of_kernels * weights).sum(axis=0),
    ]
    for one, right in zip(found, expected, strict=True):
        assert_allclose(one, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ('rows', 'training', 'is_sparse'),
    [(DISPATCH_ROWS, False, True), (DISPATCH_ROWS + 1, False, False), (1, True, False)],
)
def test_dispatch_is_sparse_in_inference_with_few_rows_per_domain(
    rows, training, is_sparse, monkeypatch
):
    taken = []
    monkeypatch.setattr(
        domain_batch, 'dispatch', lambda *args: taken.append('sparse') or dispatch(*args)
    )
    domains = DomainBatch(tf.constant([1] * rows + [2] * rows), 3)
    domains.dense(tf.ones([2 * rows, 4]), tf.ones([2, 4, 2]), training=training)
    assert taken == ['sparse'] * is_sparse


def test_second_order_gradients_of_the_sparse_dispatch():
    """The squared norm of a gradient, against the same on the dense path."""
    rows, weights = RNG.normal(size=(5, 3)), RNG.normal(size=(2, 3, 4))
    inputs = [tf.constant(each, tf.float32) for each in (rows, weights)]
    found = []
    for sparse in (True, False):
        with forced_path(sparse), tf.GradientTape() as outer:
            outer.watch(inputs)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                domains = DomainBatch(tf.constant([0, 1, 1, 0, 1]), 2)
                outputs = domains.dense(domains.sort(inputs[0]), domains.gather(inputs[1]))
                loss = tf.reduce_sum(tf.sin(outputs))
            first = inner.gradient(loss, inputs)
            norm = sum(tf.reduce_sum(tf.square(tf.convert_to_tensor(each))) for each in first)
        found.append([tf.convert_to_tensor(each) for each in outer.gradient(norm, inputs)])
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, atol=1e-5, rtol=1e-5)


def on_both_paths(compute, variables):
    """Outputs and gradients of `compute` on the sparse path and on the dense one."""
    found = []
    for sparse in (True, False):
        with forced_path(sparse), tf.GradientTape() as tape:
            outputs = compute()
            loss = tf.reduce_mean(tf.sin(outputs))
        gradients = tape.gradient(loss, variables)
        found.append(
            [outputs.numpy()]
            + [None if each is None else tf.convert_to_tensor(each) for each in gradients]
        )
    return zip(*found, strict=True)


@pytest.mark.parametrize(
    'make',
    [
        lambda: PartitionedNormalization(DOMAINS),
        lambda: AuxiliaryNetwork(DOMAINS, 3, 2),
        lambda: StarDense(3, DOMAINS, activation='tanh'),
    ],
    ids=['pn', 'auxiliary', 'star'],
)
def test_layers_agree_on_both_paths(make):
    layer = make()
    values = tf.constant(RNG.normal(size=(20, 3)), tf.float32)
    domain = tf.constant(RNG.integers(1, DOMAINS, 20))
    layer(values, domain)
    for variable in layer.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape))
    state = [variable.numpy() for variable in layer.variables]

    def compute():
        for variable, initial in zip(layer.variables, state, strict=True):
            variable.assign(initial)
        return layer(values, domain, training=True)

    for one, other in on_both_paths(compute, layer.trainable_variables):
        assert_allclose(one, other, atol=1e-6, rtol=1e-6)


def make_model(name, **options):
    keras.utils.set_random_seed(1)
    config = ModelConfig(
        name=name, embedding_dim=4, hidden_units=[8, 6], embedding_l2=1e-3, options=options
    )
    return build_model(trainer_dataset.make_manifest(DOMAINS), config)


MODELS = [
    ('mlp', {}),
    ('star', {}),
    ('adasparse', {'pruner_inputs': 'domain'}),
    ('din', {}),
    ('mlp_pp', {}),
]


@pytest.mark.parametrize(('name', 'options'), MODELS, ids=[name for name, _ in MODELS])
def test_models_train_alike_on_both_paths(name, options):
    model = make_model(name, **options)
    rows = trainer_dataset.make_batch(np.random.default_rng(3), 24)
    features = {key: tf.constant(value) for key, value in rows.items()}
    click = tf.constant(np.arange(24) % 3 == 0, tf.float32)
    state = [variable.numpy() for variable in model.variables]

    def compute():
        for variable, initial in zip(model.variables, state, strict=True):
            variable.assign(initial)
        return loss_of(model, features, click)

    for one, other in on_both_paths(compute, model.trainable_variables):
        if one is None:
            assert other is None
        else:
            assert_allclose(one, other, atol=1e-6, rtol=1e-6)


@both_paths
@pytest.mark.parametrize('domain', [None, 2])
def test_folded_adasparse_scores_as_before(path, domain):
    model = make_model('adasparse', pruner_inputs='domain')
    rows = trainer_dataset.make_batch(np.random.default_rng(3), 24)
    features = {key: tf.constant(value) for key, value in rows.items()}
    if domain is not None:
        features['domain'] = tf.constant(domain)
    before = model(features).numpy()
    model.fold()
    assert_allclose(model(features), before, atol=1e-6)


def operations(model, training):
    """Types of the operations of a model's graph for mixed batches."""
    rows = trainer_dataset.make_batch(np.random.default_rng(3), 4)
    features = {key: tf.constant(value) for key, value in rows.items()}
    graph = tf.function(lambda rows: model(rows, training=training), autograph=False)
    concrete = graph.get_concrete_function(features)
    return {operation.type for operation in concrete.graph.get_operations()}


def test_star_trains_with_sparse_lookups_and_products():
    found = operations(make_model('star'), training=True)
    assert {'SparseTensorDenseMatMul', 'SparseSegmentMean'} <= found


def test_star_scores_with_a_sparse_dispatch():
    model = make_model('star')
    rows = trainer_dataset.make_batch(np.random.default_rng(3), 4)
    features = {key: tf.constant(value) for key, value in rows.items()}
    score = tf.function(lambda rows: model(rows, training=False), autograph=False)
    graph = score.get_concrete_function(features).graph.as_graph_def()
    in_branches = [node.op for function in graph.library.function for node in function.node_def]
    assert in_branches.count('SparseTensorDenseMatMul') >= len(model.hidden)


def test_inference_looks_sequences_up_densely():
    assert 'SparseSegmentMean' not in operations(make_model('star'), training=False)


def test_a_pruned_product_is_sparse_from_the_measured_share():
    assert uses_sparse('pruned_product', sparsity=SPARSE_FROM)
    assert not uses_sparse('pruned_product', sparsity=SPARSE_FROM - 0.01)
