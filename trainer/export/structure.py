"""The structure of a model: everything but its weights, to rebuild it without a dataset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdctr.dataset import Dataset
from mdctr.manifest import Domain, Feature, Manifest, Rows
from mdctr.renamed_keys import with_new_names
from mdctr.settings import parse
from trainer.config import ModelConfig
from trainer.data.vocabularies import Vocabulary, vocabulary_digests

if TYPE_CHECKING:
    from trainer.models.base import CTRModel


@dataclass(frozen=True)
class Structure:
    """The structure of a model as recorded in its `model.json`.

    Attributes:
        dataset: Name of the dataset.
        fingerprint: Fingerprint of the dataset.
        config: Architecture and hyper-parameters.
        features: Features of the dataset as the model knows them, including excluded ones.
        domains: Names of the domains; the first has the id 1.
        vocabularies: The vocabularies that the ids refer to, by name.
        source: Structure of the source model that this model was built on, if any.
    """

    dataset: str
    fingerprint: str
    config: ModelConfig
    features: list[Feature]
    domains: list[str]
    vocabularies: dict[str, Vocabulary]
    source: Structure | None = None

    def manifest(self) -> Manifest:
        """Returns the manifest, without splits, that the model is built from."""
        return Manifest(
            self.dataset,
            self.fingerprint,
            self.features,
            [Domain(number, name) for number, name in enumerate(self.domains, 1)],
            {},
            Rows(0, 0, 0, 0, 0, 0, 0),
        )


def read_structure(values: Any, path: str) -> Structure:
    """Reads the structure in a `model.json`, which an earlier version may have written.

    Args:
        values: Structure in the file.
        path: Path of the file, for errors.

    Raises:
        UserError: It is not the structure of a model.
    """
    return _with_new_options(parse(Structure, values, path, accept_renamed=True))


def _with_new_options(structure: Structure) -> Structure:
    config, source = structure.config, structure.source
    options = _new_options(config.name, config.options)
    return dataclasses.replace(
        structure,
        config=config.replace(options=options),
        source=None if source is None else _with_new_options(source),
    )


def _new_options(architecture: str, options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of an architecture, which its class checks, under their new names."""
    from trainer.models import MODELS

    cls = MODELS.load(architecture).Options
    options = with_new_names(cls, options)
    if options.get('target_tower_options'):
        tower = options.get('target_tower', cls.model_fields['target_tower'].default)
        options['target_tower_options'] = _new_options(tower, options['target_tower_options'])
    return options


def structure_of(model: CTRModel, dataset: Dataset) -> Structure:
    """Returns the structure of a model.

    Args:
        model: Model to describe.
        dataset: Dataset whose vocabularies the model's ids refer to.
    """
    manifest, source = model.manifest, model.source
    return Structure(
        manifest.name,
        manifest.fingerprint,
        model.config,
        list(manifest.features),
        [domain.name for domain in manifest.domains],
        vocabulary_digests(dataset, manifest.features),
        structure_of(source, dataset) if source is not None else None,
    )
