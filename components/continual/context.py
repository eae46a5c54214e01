"""The configuration of a continual pipeline and its directories."""

from dataclasses import dataclass

from components.continual.config import ContinualConfig, served_name
from components.continual.versions import PushedModels
from mdctr import storage
from mdctr.dataset import Dataset, open_dataset
from mdctr.dataset_versions import read_current
from mdctr.manifest import Manifest
from mdctr.workspace import dataset_directory, models_directory


@dataclass(frozen=True)
class ContinualContext:
    """A continual configuration in a workspace.

    Attributes:
        name: Name of the configuration.
        continual: Its `continual` section.
        workspace: Directory that the steps share.
    """

    name: str
    continual: ContinualConfig
    workspace: str

    @property
    def dataset(self) -> str:
        """Directory of the versions of the dataset."""
        return dataset_directory(self.workspace, self.name)

    @property
    def models(self) -> str:
        """Directory above the names of the pushed models."""
        return models_directory(self.workspace)

    @property
    def pushed(self) -> PushedModels:
        """The pushed models."""
        return PushedModels(self.models, self.name)

    def has_dataset(self) -> bool:
        """Whether the dataset has been built."""
        return read_current(self.dataset) is not None

    def current(self) -> Dataset:
        """The current version of the dataset."""
        return open_dataset(self.dataset)

    def manifest(self) -> Manifest:
        """The manifest of the current version of the dataset."""
        return self.current().manifest

    def training(self, model: str) -> str:
        """Directory above the training runs of a model."""
        return storage.join(self.workspace, 'training', served_name(self.name, model))
