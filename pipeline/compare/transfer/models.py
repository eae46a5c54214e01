"""Trains the models of one seed, each of them once for all methods."""

import dataclasses
import gc
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

from components.continual.config import ContinualConfig
from components.continual.periods import days_of, periods
from mdctr import storage
from mdctr.dataset import Dataset
from mdctr.settings import to_mapping
from pipeline.compare.files import file_name, read_json
from trainer.config import TrainConfig

logger = logging.getLogger(__name__)

Parts = Literal['all', 'embeddings', 'id_embeddings']


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained model.

    Attributes:
        export: Directory of the exported model.
        digest: Digest of everything that determines the model.
        seconds: Training time in seconds.
    """

    export: str
    digest: str
    seconds: float


class TransferModels:
    """Trains the models that methods ask for, and keeps them.

    A model that is already there, also from an interrupted process, is not trained again.

    Args:
        dataset: Dataset with a split for each day.
        directory: Directory of the models.
        continual: Section `continual`: source, targets, periods, settings.
        seed: Random seed of all trainings.

    Attributes:
        periods: Periods of the dataset, each with the day on which it is evaluated.
    """

    def __init__(self, dataset: Dataset, directory: str, continual: ContinualConfig, seed: int):
        self.dataset, self.directory = dataset, directory
        self.continual, self.seed = continual, seed
        self.periods = list(periods(days_of(dataset.manifest), continual))
        self._trained: dict[str, TrainedModel] = {}

    def splits(self, first: int, last: int) -> list[str]:
        """The splits of the periods `first` to `last`, counted from 1, inclusive."""
        return [day.split for period in self.periods[first - 1 : last] for day in period.days]

    def source(self, period: int) -> TrainedModel:
        """The source model at the end of a period."""
        return self.continued(
            'source', self.continual.source_train, self.continual.source_domains, period
        )

    def continued(
        self, name: str, config: TrainConfig, domains: Sequence[str], period: int
    ) -> TrainedModel:
        """A model at the end of a period, which continues the model of the period before.

        Args:
            name: Name of the models, which are told apart by the number of the period.
            config: Training settings.
            domains: Names of the domains to train on.
            period: Number of the period, from 1.
        """
        previous = self.continued(name, config, domains, period - 1) if period > 1 else None
        return self.train(
            f'{name}/{period}',
            config,
            self.splits(period, period),
            domains,
            warm_start=previous,
        )

    def train(
        self,
        name: str,
        config: TrainConfig,
        splits: Sequence[str],
        domains: Sequence[str],
        warm_start: TrainedModel | None = None,
        parts: Parts = 'all',
        id_features: Sequence[str] = (),
        source: TrainedModel | None = None,
    ) -> TrainedModel:
        """Trains a model with `trainer.train.train`, unless it is already there.

        Args:
            name: Name of the model; a slash separates folders.
            config: Training settings; the seed is replaced.
            splits: Names of the splits to train on.
            domains: Names of the domains to train on.
            warm_start: Model whose parameters training starts from.
            parts: Parameters that are loaded from it, as in `trainer.export.load.WarmStart`.
            id_features: ID features, as in `WarmStart`.
            source: Source model of `ctnet` and `dual_embedding`.
        """
        from trainer.export.load import WarmStart
        from trainer.train import train

        config = config.replace(seed=self.seed)
        digest = _digest(
            [
                self.dataset.manifest.fingerprint,
                to_mapping(config),
                list(splits),
                list(domains),
                warm_start.digest if warm_start else None,
                parts,
                list(id_features),
                source.digest if source else None,
            ]
        )
        if digest in self._trained:
            return self._trained[digest]
        path = storage.join(self.directory, *map(file_name, name.split('/')))
        export, record = storage.join(path, 'export'), storage.join(path, 'trained.json')
        trained = read_json(record)
        if trained is None or trained['digest'] != digest or not storage.exists(export):
            if read_json(storage.join(path, 'key.json')) != digest:
                storage.remove_directory(path)  # of other data or other settings
            storage.write_json(storage.join(path, 'key.json'), digest)
            logger.info('Training %s on %s to %s', name, splits[0], splits[-1])
            start = time.monotonic()
            train(
                self.dataset,
                path,
                config,
                train_split=list(splits),
                validation_split=None,
                domains=list(domains),
                warm_start=(
                    WarmStart(warm_start.export, parts, tuple(id_features))
                    if warm_start
                    else None
                ),
                source=source.export if source else None,
            )
            gc.collect()  # a model and its graphs are in reference cycles
            trained = {'digest': digest, 'seconds': time.monotonic() - start}
            storage.remove_directory(storage.join(path, 'checkpoints'))
            storage.remove_directory(storage.join(path, 'logs'))
            storage.write_json(record, trained)
        self._trained[digest] = TrainedModel(export, digest, trained['seconds'])
        return self._trained[digest]


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
