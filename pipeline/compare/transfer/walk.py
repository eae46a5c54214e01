"""The models of one seed, each trained once, whichever methods use it."""

import dataclasses
import gc
import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from typing import Any

from beam_jobs.dataset import read_manifest
from beam_jobs.options import to_mapping
from components.continual.config import ContinualConfig
from components.continual.periods import days_of, periods
from pipeline.compare.files import file_name, read_json, write_json
from trainer.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Stage:
    """A trained model.

    Attributes:
        export: its directory.
        digest: of everything that decides it.
        seconds: that its training took.
    """

    export: str
    digest: str
    seconds: float


class Walk:
    """Trains what methods ask for, and remembers it; a killed walk goes on where it stopped.

    Args:
        dataset: a dataset with a split for each day.
        directory: of the models.
        continual: the `continual` section: source, targets, periods, settings.
        seed: of every training.

    Attributes:
        periods: of the dataset, each with the day after that it is evaluated on.
    """

    def __init__(self, dataset: str, directory: str, continual: ContinualConfig, seed: int):
        manifest = read_manifest(dataset)
        self.dataset, self.directory = dataset, directory
        self.continual, self.seed = continual, seed
        self.periods = list(periods(days_of(manifest), continual))
        self._fingerprint = manifest.fingerprint
        self._made: dict[str, Stage] = {}

    def splits(self, first: int, last: int) -> list[str]:
        """The splits of periods `first` to `last`, numbered from 1, both included."""
        return [day.split for period in self.periods[first - 1:last] for day in period.days]

    def source(self, number: int) -> Stage:
        """The source's model as of the end of a period, each period trained on the last."""
        return self.chain('source', self.continual.source_train,
                          self.continual.source_domains, number)

    def chain(self, name: str, config: TrainConfig, domains: Sequence[str],
              number: int) -> Stage:
        """A model that every period continues, as of the end of one."""
        before = self.chain(name, config, domains, number - 1) if number > 1 else None
        return self.train(f'{name}/{number}', config, self.splits(number, number), domains,
                          initial=before)

    def train(self, name: str, config: TrainConfig, splits: Sequence[str],
              domains: Sequence[str], initial: Stage | None = None, parts: str = 'all',
              id_features: Sequence[str] = (), source: Stage | None = None) -> Stage:
        """A model of `trainer.train.train`, or the one that was trained so before."""
        from trainer.train import train
        from trainer.trained import Initial

        config = dataclasses.replace(config, seed=self.seed)
        digest = _digest([
            self._fingerprint, to_mapping(config), list(splits), list(domains),
            initial and initial.digest, parts, list(id_features), source and source.digest])
        if digest in self._made:
            return self._made[digest]
        path = os.path.join(self.directory, *map(file_name, name.split('/')))
        export, record = os.path.join(path, 'export'), os.path.join(path, 'stage.json')
        found = read_json(record)
        if found is None or found['digest'] != digest or not os.path.exists(export):
            if read_json(os.path.join(path, 'key.json')) != digest:
                shutil.rmtree(path, ignore_errors=True)  # of other data or other settings
            os.makedirs(path, exist_ok=True)
            write_json(os.path.join(path, 'key.json'), digest)
            print(f'  {name} on {splits[0]} to {splits[-1]}', flush=True)
            start = time.monotonic()
            train(self.dataset, path, config, train_split=list(splits), validation_split=None,
                  domains=list(domains),
                  initial=initial and Initial(initial.export, parts, tuple(id_features)),
                  source=source and source.export)
            gc.collect()  # a model and its graphs refer to each other
            found = {'digest': digest, 'seconds': time.monotonic() - start}
            shutil.rmtree(os.path.join(path, 'checkpoints'), ignore_errors=True)
            shutil.rmtree(os.path.join(path, 'logs'), ignore_errors=True)
            write_json(record, found)
        self._made[digest] = Stage(export, digest, found['seconds'])
        return self._made[digest]


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
