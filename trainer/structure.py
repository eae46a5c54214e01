"""What a model is made of, short of its weights: enough to build it again without a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beam_jobs.dataset import Domain, Feature, Manifest, Rows
from trainer.config import ModelConfig
from trainer.vocabularies import Vocabulary, read_digests

if TYPE_CHECKING:
    from trainer.models.base import CTRModel


@dataclass(frozen=True)
class Structure:
    """The record of a model in its `model.json`.

    Attributes:
        dataset: the dataset's name.
        fingerprint: of the dataset.
        config: the architecture and its hyper-parameters.
        features: of the dataset as the model knows it, excluded ones too.
        domains: their names, the first having the id 1.
        vocabularies: what ids mean, by name.
        source: of the model that this one was built on, if it was.
    """

    dataset: str
    fingerprint: str
    config: ModelConfig
    features: list[Feature]
    domains: list[str]
    vocabularies: dict[str, Vocabulary]
    source: Structure | None = None

    def manifest(self) -> Manifest:
        """The manifest that builds the model, without splits."""
        return Manifest(self.dataset, self.fingerprint, self.features,
                        [Domain(number, name) for number, name in enumerate(self.domains, 1)],
                        {}, Rows(0, 0, 0, 0, 0, 0, 0))


def structure_of(model: CTRModel, dataset: str) -> Structure:
    """The record of a model.

    Args:
        model: of the registry.
        dataset: the directory of the vocabularies.
    """
    manifest, source = model.manifest, model.source
    return Structure(
        manifest.name, manifest.fingerprint, model.config, list(manifest.features),
        [domain.name for domain in manifest.domains], read_digests(dataset, manifest.features),
        structure_of(source, dataset) if source is not None else None)
