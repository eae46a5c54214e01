"""A model of two parameters and NumPy's account of it, to follow frameworks by hand."""

import numpy as np

from mdctr.dataset import open_dataset
from tests.trainer.trainer_dataset import write_dataset
from trainer.config import TrainConfig
from trainer.data.examples import Examples
from trainer.frameworks import make_framework
from trainer.keras import keras, tf


class TwoParameters(keras.Model):
    """logit = w age + b: small enough to be followed with paper and pencil."""

    batches = 'domain'

    def __init__(self, examples):
        super().__init__()
        self.features = [examples.manifest.feature('age')]
        self.num_domains = examples.manifest.num_domains
        self.w = self.add_weight('w', (), initializer=keras.initializers.Constant(0.5))
        self.b = self.add_weight('b', (), initializer=keras.initializers.Constant(-1.0))

    def call(self, features, training=False):
        return self.w * tf.cast(features['age'], tf.float32) + self.b

    def example(self):
        return {'age': tf.zeros([2], tf.int32), 'domain': tf.zeros([2], tf.int32)}

    def domain_layers(self):
        return iter(())


def values(model):
    """(w, b)."""
    return np.array([model.w.numpy(), model.b.numpy()], np.float64)


def loss_of(theta, batch):
    """The mean cross-entropy of a batch, in NumPy."""
    z = theta[0] * batch['age'] + theta[1]
    return float(np.mean(np.log1p(np.exp(z)) - batch['click'] * z))


def gradient(theta, batch):
    """Its gradient."""
    z = theta[0] * batch['age'] + theta[1]
    error = 1 / (1 + np.exp(-z)) - batch['click']
    return np.array([np.mean(error * batch['age']), np.mean(error)])


def hessian(theta, batch):
    """Its second derivatives."""
    x = np.stack([batch['age'], np.ones(len(batch['age']))])
    p = 1 / (1 + np.exp(-(theta[0] * batch['age'] + theta[1])))
    return (x * p * (1 - p)) @ x.T / len(batch['age'])


def examples_of(tmp_path, rows=None, split='train'):
    """The examples of a small dataset of three domains."""
    if not (tmp_path / 'data').exists():
        write_dataset(
            tmp_path / 'data',
            rows or {'train': {1: 7, 2: 4, 3: 6}, 'validation': {1: 9, 2: 8, 3: 7}},
        )
    return Examples(open_dataset(str(tmp_path / 'data')), split)


def two_parameters(tmp_path, name, batch_size=100, seed=3, **options):
    """A framework with SGD of rate 0.1 over the two-parameter model."""
    examples = examples_of(tmp_path)
    config = TrainConfig(
        framework=name,
        framework_options=options,
        optimizer='sgd',
        learning_rate=0.1,
        batch_size=batch_size,
        seed=seed,
    )
    return make_framework(config, TwoParameters(examples), examples)


def batches(framework, domain, epoch):
    """A domain's batches of an epoch, as the framework gets them."""
    return list(
        framework.examples.domain_epoch(
            domain, epoch, framework.config.batch_size, framework.config.seed
        )
    )
