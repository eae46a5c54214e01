"""Where the continual pipeline of one configuration works."""

import os
from dataclasses import dataclass

from beam_jobs.dataset import Manifest, read_manifest
from components.continual.config import ContinualConfig, served_name
from components.continual.versions import Pushed
from components.steps import dataset_directory, models_directory


@dataclass(frozen=True)
class Context:
    """A configuration's name and `continual` section, and the workspace."""

    name: str
    continual: ContinualConfig
    workspace: str

    @property
    def dataset(self) -> str:
        """The dataset's directory."""
        return dataset_directory(self.workspace, self.name)

    @property
    def models(self) -> str:
        """The directory above the served models' names."""
        return models_directory(self.workspace)

    @property
    def pushed(self) -> Pushed:
        """The pushed models."""
        return Pushed(self.models, self.name)

    def manifest(self) -> Manifest:
        """Of the dataset as it is now."""
        return read_manifest(self.dataset)

    def training(self, model: str) -> str:
        """The directory above a model's runs."""
        return os.path.join(self.workspace, 'training', served_name(self.name, model))
