"""What TensorBoard shows of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorboard.plugins.hparams import api as hparams

from beam_jobs.dataset import Domain
from beam_jobs.options import to_mapping
from trainer.config import TrainConfig
from trainer.frameworks.moments import domain_led
from trainer.keras import tf
from trainer.models.base import CTRModel
from trainer.projector import write_projector

_METRICS = ('auc', 'gauc', 'pcoc', 'log_loss')
_HISTOGRAM_VALUES = 100_000
_IMAGE_HEIGHT = 120


class Logs:
    """Writes a run's event files.

    Args:
        directory: of the event files.
    """

    def __init__(self, directory: str):
        self._directory = directory
        self._writer = tf.summary.create_file_writer(directory)

    def steps(self, step: int, loss: float, learning_rate: float, speed: float) -> None:
        """The mean loss since the last call, and examples per second."""
        with self._writer.as_default(step):
            tf.summary.scalar('train/loss', loss)
            tf.summary.scalar('train/learning_rate', learning_rate)
            tf.summary.scalar('train/examples_per_second', speed)

    def epoch(self, epoch: int, metrics: dict[str, Any], model: CTRModel) -> None:
        """Validation metrics, overall and per domain, and histograms of the weights."""
        with self._writer.as_default(epoch):
            for scope, values in (('overall', metrics['overall']),
                                  *metrics['domains'].items()):
                for name in _METRICS:
                    if values.get(name) is not None:
                        tf.summary.scalar(f'validation_{name}/{scope}', values[name])
            of_domains = domain_led(model)
            for variable in model.trainable_variables:
                kind = 'domain_weights' if id(variable) in of_domains else 'shared_weights'
                tf.summary.histogram(f'{kind}/{variable.name.split(":")[0]}',
                                     _sample(variable))
        self._writer.flush()

    def domains(self, epoch: int, names: list[str], summaries: dict[str, np.ndarray]) -> None:
        """Of `domain_summaries`: an image with a row a domain, and each row's mean.

        Args:
            epoch: from 1.
            names: of the domains, in the order of the rows.
            summaries: values in [0, 1] by name, [domains, entries].
        """
        with self._writer.as_default(epoch):
            for name, values in summaries.items():
                tall = np.repeat(values, max(1, _IMAGE_HEIGHT // len(values)), axis=0)
                tf.summary.image(name, tall[None, :, :, None])
                for domain, row in zip(names, values, strict=True):
                    tf.summary.scalar(f'{name}/{domain}', float(row.mean()))
        self._writer.flush()

    def scalars(self, epoch: int, values: dict[str, float]) -> None:
        """Of `CTRModel.scalars`: a point of each curve."""
        with self._writer.as_default(epoch):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def embeddings(self, domains: list[Domain], embeddings: dict[str, np.ndarray]) -> None:
        """The domains' embeddings as they are now, for the projector.

        Args:
            domains: of the dataset; row 0, before them, is the unseen domain.
            embeddings: [len(domains) + 1, dim], by name.
        """
        write_projector(self._directory, ['unseen', *(domain.name for domain in domains)],
                        embeddings)

    def finish(self, config: TrainConfig, metrics: dict[str, Any], step: int) -> None:
        """The run's hyper-parameters beside its best epoch's metrics (HParams)."""
        with self._writer.as_default(step):
            hparams.hparams(_flat(to_mapping(config)))
            for name in _METRICS:
                if metrics.get('overall', {}).get(name) is not None:
                    tf.summary.scalar(f'best/{name}', metrics['overall'][name])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _sample(variable: tf.Variable) -> tf.Tensor:
    """Enough rows of a great table for its histogram."""
    size = int(np.prod(variable.shape))
    if size <= _HISTOGRAM_VALUES:
        return tf.convert_to_tensor(variable)
    rows = variable.shape[0]
    every = min(rows, -(-size // _HISTOGRAM_VALUES))
    return tf.gather(variable, np.arange(0, rows, every))


def _flat(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f'{prefix}{key}.'))
        elif isinstance(value, (bool, int, float, str)):
            flat[prefix + key] = value
        elif value is not None:
            flat[prefix + key] = str(value)
    return flat
