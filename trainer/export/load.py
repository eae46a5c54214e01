"""Loads exported models: for a warm start, to continue training, and as source models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from mdctr import storage
from mdctr.dataset import Dataset
from mdctr.errors import UserError
from mdctr.exported_model import MODEL_JSON, model_digest, read_model_json
from mdctr.manifest import Feature, Manifest
from trainer.config import ModelConfig
from trainer.data.vocabularies import check_vocabularies, id_features, manifest_as_of
from trainer.export.structure import Structure, read_structure
from trainer.export.weights import read_weights
from trainer.models import build_model
from trainer.models.base import CTRModel
from trainer.models.extend_model import continue_model


@dataclass(frozen=True)
class WarmStart:
    """An exported model whose parameters a run starts from.

    Attributes:
        model: Directory of the model.
        parts: `all` to continue the model or to fine-tune all of it (CTNet 4.4); `embeddings`
            to load only the embeddings of features that both models have; `id_embeddings` to
            load only those of ID features. Everything else is initialized.
        id_features: For `id_embeddings`, names of ID features in addition to those with the
            vocabularies `user_id` and `item_id` (histories of items included). The paper's ID
            features are user, item, category and seller; a dataset does not say which features
            those are.
    """

    model: str
    parts: Literal['all', 'embeddings', 'id_embeddings'] = 'all'
    id_features: tuple[str, ...] = ()


class LoadedModel(NamedTuple):
    """An exported model with its variables.

    Attributes:
        model: The model; it scores as the export does before the correction for down-sampled
            negatives.
        structure: Its structure.
        splits: The splits that it was trained on, in order.
        digest: Digest of the export's files.
    """

    model: CTRModel
    structure: Structure
    splits: list[str]
    digest: str


class TrainingStart(NamedTuple):
    """A model at the start of a run.

    Attributes:
        model: The model with its variables, some of which may have been loaded.
        identity: What distinguishes this run from others: digests of the models it starts from.
        splits: The splits that the parameters were trained on before this run.
    """

    model: CTRModel
    identity: dict[str, Any]
    splits: list[str]


def load_model(directory: str) -> LoadedModel:
    """Loads an exported model with its variables, to train it further or build on it.

    Args:
        directory: Directory of the exported model.

    Raises:
        UserError: The directory does not contain an exported model, the model is damaged, or
            it was exported without its weights.
    """
    description = read_model_json(directory)
    if description.get('structure') is None:
        raise UserError(
            f'{directory} was exported without the weights that training needs (a model with '
            'domain-specific parameters, or an export of an earlier version): use a model that '
            'can be continued.'
        )
    structure = read_structure(description['structure'], storage.join(directory, MODEL_JSON))
    model = build_structure(structure)
    read_weights(directory, model=model)
    return LoadedModel(
        model, structure, list(description.get('trained_splits', [])), model_digest(directory)
    )


def build_structure(structure: Structure) -> CTRModel:
    """Builds a model of a structure with initialized weights."""
    source = None if structure.source is None else build_structure(structure.source)
    return build_model(structure.manifest(), structure.config, source)


def build_or_warm_start(
    dataset: Dataset,
    config: ModelConfig,
    splits: Sequence[str],
    warm_start: WarmStart | None = None,
    source: str | None = None,
) -> TrainingStart:
    """Builds the model that a run trains, with the parameters that it starts from.

    Args:
        dataset: Dataset of the run.
        config: Architecture and hyper-parameters.
        splits: Names of the training splits. In a dataset that grows, the model knows the
            values up to their end.
        warm_start: Model whose parameters are loaded.
        source: Directory of a trained model of another domain, for architectures that are
            built on one.

    Raises:
        UserError: There is no such model, it is damaged, or its vocabularies, features or
            architecture differ from this run's.
    """
    initial = None if warm_start is None else _load_for(dataset, warm_start.model)
    source_model = None if source is None else _load_for(dataset, source)
    manifest = manifest_as_of(
        dataset.manifest, splits, [] if initial is None else [initial.structure.manifest()]
    )
    model = build_model(manifest, config, source_model and source_model.model)
    identity: dict[str, Any] = {} if source_model is None else {'source': source_model.digest}
    if warm_start is None or initial is None:
        return TrainingStart(model, identity, [])
    identity['initial'] = [initial.digest, warm_start.parts, sorted(warm_start.id_features)]
    if warm_start.parts != 'all':
        _copy_embeddings(model, initial.model, warm_start)
        return TrainingStart(model, identity, [])
    _check_domains(dataset, manifest, initial.structure, warm_start.model)
    continue_model(model, initial.model, warm_start.model)
    return TrainingStart(model, identity, initial.splits)


def _load_for(dataset: Dataset, directory: str) -> LoadedModel:
    """Loads a model whose ids must mean the same values in the dataset."""
    loaded = load_model(directory)
    structure: Structure | None = loaded.structure
    while structure is not None:
        check_vocabularies(dataset, structure.vocabularies, directory)
        structure = structure.source
    return loaded


def _check_domains(
    dataset: Dataset, manifest: Manifest, structure: Structure, directory: str
) -> None:
    names = [domain.name for domain in manifest.domains]
    if names[: len(structure.domains)] != structure.domains:
        raise UserError(
            f'The model {directory} has the domains {", ".join(structure.domains)}, but '
            f'{dataset} has {", ".join(names)}: use a model trained on this dataset or an '
            'earlier version of it.'
        )


def _copy_embeddings(model: CTRModel, initial: CTRModel, warm_start: WarmStart) -> None:
    embedding, initial_embedding = model.embedding, initial.embedding
    if embedding.dim != initial_embedding.dim:
        raise UserError(
            f'The embeddings of the model {warm_start.model} have {initial_embedding.dim} '
            f'dimensions, but those of this run have {embedding.dim}: set model.embedding_dim '
            f'to {initial_embedding.dim}.'
        )
    others = {feature.name: feature for feature in initial_embedding.features}
    names = [
        feature.name
        for feature in embedding.features
        if feature.name in others and _have_same_ids(feature, others[feature.name])
    ]
    if warm_start.parts == 'id_embeddings':
        for name in warm_start.id_features:
            if name not in names:
                raise UserError(
                    f'The ID feature {name} is not a feature of both models; they share '
                    f'{", ".join(names)}.'
                )
        ids = id_features(embedding.features, warm_start.id_features)
        names = [name for name in names if name in ids]
    if not names:
        raise UserError(
            f'The model {warm_start.model} shares no {warm_start.parts} with this run: use a '
            'model with the same features.'
        )
    embedding.copy_rows(initial_embedding, names)
    if (
        warm_start.parts == 'embeddings'
        and model.numeric_slopes is not None
        and initial.numeric_slopes is not None
    ):
        model.numeric_slopes.copy_slopes(initial.numeric_slopes, names)


def _have_same_ids(feature: Feature, other: Feature) -> bool:
    """Returns whether an id means the same in two models, as far as the features say."""
    return (feature.vocabulary, feature.boundaries) == (other.vocabulary, other.boundaries)
