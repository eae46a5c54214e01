"""TensorBoard logs of a training run."""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorboard.plugins.hparams import api as hparams

from mdctr.manifest import Domain
from mdctr.settings import to_mapping
from trainer.config import TrainConfig
from trainer.frameworks.core.moments import per_domain_variable_ids
from trainer.keras import tf
from trainer.loop.projector import write_projector
from trainer.loop.scratch import Scratch
from trainer.models.base import CTRModel

_METRICS = ('auc', 'gauc', 'pcoc', 'log_loss')
_HISTOGRAM_VALUES = 100_000
_IMAGE_HEIGHT = 120


class Logs:
    """Writer of a run's event files.

    In an object store, they are copies of local files, which `copy` makes.

    Args:
        directory: Directory of the event files.
    """

    def __init__(self, directory: str) -> None:
        self._scratch = Scratch(directory)
        self._writer = tf.summary.create_file_writer(self._scratch.local)

    def copy(self) -> None:
        """Copies everything that was logged so far to the workspace."""
        self._writer.flush()
        self._scratch.check()
        self._scratch.upload()

    def steps(self, step: int, loss: float, learning_rate: float, speed: float) -> None:
        """Logs the training loss and speed.

        Args:
            step: Number of steps so far.
            loss: Mean loss since the last call.
            learning_rate: Current learning rate.
            speed: Examples per second since the last call.
        """
        with self._writer.as_default(step):
            tf.summary.scalar('train/loss', loss)
            tf.summary.scalar('train/learning_rate', learning_rate)
            tf.summary.scalar('train/examples_per_second', speed)

    def epoch(self, epoch: int, metrics: dict[str, Any], model: CTRModel) -> None:
        """Logs validation metrics, overall and per domain, and histograms of the weights.

        Domains have groups of their own, so a domain called `overall` hides nothing.

        Args:
            epoch: Number of the epoch, from 1.
            metrics: Metrics as `validate` returns them.
            model: Model whose weights are logged.
        """
        with self._writer.as_default(epoch):
            for name in _METRICS:
                if metrics['overall'].get(name) is not None:
                    tf.summary.scalar(f'validation_{name}/overall', metrics['overall'][name])
                for domain, values in metrics['domains'].items():
                    if values.get(name) is not None:
                        tf.summary.scalar(f'validation_{name}_by_domain/{domain}', values[name])
            per_domain = per_domain_variable_ids(model)
            for variable in model.trainable_variables:
                kind = 'domain_weights' if id(variable) in per_domain else 'shared_weights'
                tf.summary.histogram(f'{kind}/{variable.name.split(":")[0]}', _sample(variable))
        self._writer.flush()

    def domains(self, epoch: int, names: list[str], summaries: dict[str, np.ndarray]) -> None:
        """Logs `domain_summaries`: an image with one row per domain, and each row's mean.

        Args:
            epoch: Number of the epoch, from 1.
            names: Names of the domains, in the order of the rows.
            summaries: Values in [0, 1] by name, [domains, entries].
        """
        with self._writer.as_default(epoch):
            for name, values in summaries.items():
                tall = np.repeat(values, max(1, _IMAGE_HEIGHT // len(values)), axis=0)
                tf.summary.image(name, tall[None, :, :, None])
                for domain, row in zip(names, values, strict=True):
                    tf.summary.scalar(f'{name}/{domain}', float(row.mean()))
        self._writer.flush()

    def scalars(self, epoch: int, values: dict[str, float]) -> None:
        """Logs `CTRModel.scalars`.

        Args:
            epoch: Number of the epoch, from 1.
            values: Values by name.
        """
        with self._writer.as_default(epoch):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def embeddings(self, domains: list[Domain], embeddings: dict[str, np.ndarray]) -> None:
        """Writes the current embeddings of the domains for the projector.

        Args:
            domains: Domains of the dataset; row 0 of an embedding is the unseen domain.
            embeddings: Embeddings [len(domains) + 1, dim] by name.
        """
        write_projector(
            self._scratch.local, ['unseen', *(domain.name for domain in domains)], embeddings
        )

    def finish(self, config: TrainConfig, metrics: dict[str, Any], step: int) -> None:
        """Logs the run's hyper-parameters with the metrics of its best epoch (HParams).

        Args:
            config: Configuration of the run.
            metrics: Validation metrics of the best epoch.
            step: Number of steps of the run.
        """
        with self._writer.as_default(step):
            hparams.hparams(_flat(to_mapping(config)))
            for name in _METRICS:
                if metrics.get('overall', {}).get(name) is not None:
                    tf.summary.scalar(f'best/{name}', metrics['overall'][name])
        self._writer.flush()

    def close(self) -> None:
        """Closes the event files."""
        self._writer.close()
        self._scratch.upload()
        self._scratch.close()


def _sample(variable: tf.Variable) -> tf.Tensor:
    """Samples enough rows of a large table for its histogram."""
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
