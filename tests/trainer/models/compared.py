"""Models with random weights, and what a recomputation in NumPy needs of them."""

import numpy as np

from tests.trainer import numeric, trainer_dataset
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.models import build_model

ROWS = 20


def make(name, *, domains=3, normalization='none', hidden_units=(6, 5), **options):
    """A model whose weights are away from their initial values."""
    keras.utils.set_random_seed(1)
    model = build_model(
        trainer_dataset.make_manifest(domains),
        ModelConfig(
            name=name,
            embedding_dim=3,
            hidden_units=list(hidden_units),
            normalization=normalization,
            options=options,
        ),
    )
    numeric.randomize(model, scale=0.4)
    if model.domain_field is not None:  # that of unseen domains is zero and remains so
        table = model.domain_field.domain_table.numpy()
        table[0] = 0.0
        model.domain_field.domain_table.assign(table)
    return model


def make_rows(seed=0):
    """Rows of mixed domains, the first three of unseen ones."""
    batch = trainer_dataset.make_batch(np.random.default_rng(seed), ROWS)
    batch['domain'][:3] = 0
    return {name: tf.constant(ids) for name, ids in batch.items()}


def embedded(model, batch):
    """Embeddings of the rows' features, and of their domains if these are a feature: float64
    [batch, fields, dim]."""
    fields = model.embedding(batch).fields.numpy()
    if model.domain_field is not None:
        domains = model.domain_field.domain_table.numpy()[batch['domain'].numpy()]
        fields = np.concatenate([fields, domains[:, None]], axis=1)
    return fields.astype(np.float64)


def assert_logits_are(model, paper, inputs_of=embedded):
    """Compares the model's logits with `paper(model, inputs, domain)`, row by row: in a batch
    of mixed domains, and in batches of one domain each.

    `inputs_of(model, batch)` returns the inputs of each row; by default, those of `embedded`.
    """
    batch = make_rows()
    domains = batch['domain'].numpy() % model.num_domains
    batch['domain'] = tf.constant(domains)
    expected = np.array(
        [
            paper(model, inputs, p)
            for inputs, p in zip(inputs_of(model, batch), domains, strict=True)
        ]
    )
    assert np.std(expected) > 1e-2
    np.testing.assert_allclose(model(batch), expected, rtol=1e-3, atol=1e-4)
    for p in range(model.num_domains):
        one = {key: ids[domains == p] for key, ids in batch.items()}
        np.testing.assert_allclose(
            model({**one, 'domain': tf.constant(p)}),
            expected[domains == p],
            rtol=1e-3,
            atol=1e-4,
        )


def values(layer):
    """Arrays of a layer's trainable variables."""
    return [variable.numpy() for variable in layer.trainable_variables]


def of_domain(layer, p):
    """A domain's rows of the arrays of a layer that shares nothing; for 0, their means."""
    return [array[p] if p else array[1:].mean(axis=0) for array in values(layer)]


def dense(x, arrays):
    """Kernel, bias."""
    kernel, bias = arrays
    return x @ kernel + bias


def network(x, arrays):
    """ReLU layers: kernel, bias, kernel, bias, ..."""
    for i in range(0, len(arrays), 2):
        x = numeric.relu(dense(x, arrays[i : i + 2]))
    return x


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
