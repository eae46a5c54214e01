"""Exported models as what training starts from: loaded again, continued, taken as a source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from beam_jobs.dataset import Feature, Manifest
from beam_jobs.errors import UserError
from beam_jobs.exported import model_digest, read_model_json
from beam_jobs.options import from_mapping
from trainer.config import ModelConfig
from trainer.export import WEIGHTS
from trainer.keras import tf
from trainer.models import build_model
from trainer.models.base import CTRModel
from trainer.models.grown import continue_model
from trainer.structure import Structure
from trainer.vocabularies import check_vocabularies, id_features, known_by


@dataclass(frozen=True)
class Initial:
    """An exported model whose parameters a run starts from.

    Attributes:
        model: its directory.
        parts: `all` to continue the model, or to fine-tune all of it (CTNet 4.4); only the
            `embeddings` of features that both models have, by their ids; or of those only the
            `id_embeddings`. The rest starts afresh.
        id_features: for `id_embeddings`, the names of the ID features beside those of the
            vocabularies `user_id` and `item_id` (histories of items among them): the paper's
            ID features are the user, the item, its category and its seller, and which
            feature is what, datasets do not say.
    """

    model: str
    parts: Literal['all', 'embeddings', 'id_embeddings'] = 'all'
    id_features: tuple[str, ...] = ()


class Trained(NamedTuple):
    """An exported model with its training-time variables.

    Attributes:
        model: which scores as the export does, before the correction for negatives that were
            left out.
        structure: its record.
        splits: the splits that it was trained on, one run after the other.
        digest: of the export's files.
    """

    model: CTRModel
    structure: Structure
    splits: list[str]
    digest: str


class Started(NamedTuple):
    """A model as its training starts.

    Attributes:
        model: with its variables made, and those set that it does not start afresh with.
        identity: what makes the run another one: the digests of the models it starts from.
        splits: that the parameters were trained on before this run.
    """

    model: CTRModel
    identity: dict[str, Any]
    splits: list[str]


def load_trained(directory: str) -> CTRModel:
    """The model that was exported to `directory`, to be trained on or built on.

    Raises:
        UserError: there is no exported model, a damaged one, or one without its weights.
    """
    return read_trained(directory).model


def read_trained(directory: str) -> Trained:
    """As `load_trained`, with what the export says of itself."""
    described = read_model_json(directory)
    if described.get('structure') is None:
        raise UserError(f'{directory} was exported without the weights that training needs (a '
                        'model with parameters of each domain beside it, or an export of an '
                        'earlier version): train a model that one can continue.')
    structure = from_mapping(Structure, described['structure'],
                             os.path.join(directory, 'model.json'))
    model = build_structure(structure)
    try:
        tf.train.Checkpoint(model=model).read(
            os.path.join(directory, WEIGHTS)).assert_existing_objects_matched()
    except (tf.errors.OpError, AssertionError, LookupError, RuntimeError, ValueError
            ) as error:  # all that TensorFlow makes of missing, cut and other files
        first = str(error).strip().splitlines()[0][:200]
        raise UserError(f'The weights of the exported model {directory} cannot be read '
                        f'({first}): take a complete export.') from None
    return Trained(model, structure, list(described.get('trained_splits', [])),
                   model_digest(directory))


def build_structure(structure: Structure) -> CTRModel:
    """A model of a structure with fresh weights."""
    source = None if structure.source is None else build_structure(structure.source)
    return build_model(structure.manifest(), structure.config, source)


def start_model(dataset: str, manifest: Manifest, config: ModelConfig, splits: Sequence[str],
                initial: Initial | None = None, source: str | None = None) -> Started:
    """The model that a run trains, with the parameters that it starts from.

    Args:
        dataset: the directory of the vocabularies.
        manifest: of the dataset.
        config: the architecture.
        splits: that the run trains on: of a dataset that grows, the model knows the values up
            to the end of them.
        initial: a model whose parameters are taken.
        source: a trained model of another domain, for the architectures that need one.

    Raises:
        UserError: no such model, a damaged one, or one of another vocabulary, other features
            or another architecture than this run's.
    """
    before = _checked(dataset, initial.model) if initial else None
    of_source = _checked(dataset, source) if source is not None else None
    known = known_by(manifest, splits, [before.structure.manifest()] if before else [])
    model = build_model(known, config, of_source and of_source.model)
    identity: dict[str, Any] = {'source': of_source.digest} if of_source else {}
    if before is None:
        return Started(model, identity, [])
    identity['initial'] = [before.digest, initial.parts, sorted(initial.id_features)]
    if initial.parts != 'all':
        _take_embeddings(model, before.model, initial)
        return Started(model, identity, [])
    _check_domains(dataset, known, before.structure, initial.model)
    continue_model(model, before.model, initial.model)
    return Started(model, identity, before.splits)


def _checked(dataset: str, directory: str) -> Trained:
    trained = read_trained(directory)
    structure: Structure | None = trained.structure
    while structure is not None:
        check_vocabularies(dataset, structure.vocabularies, f'The model {directory}')
        structure = structure.source
    return trained


def _check_domains(dataset: str, manifest: Manifest, structure: Structure,
                   directory: str) -> None:
    names = [domain.name for domain in manifest.domains]
    if names[:len(structure.domains)] != structure.domains:
        raise UserError(f'The model {directory} knows the domains '
                        f'{", ".join(structure.domains)}, and {dataset} has '
                        f'{", ".join(names)}: take a model of this dataset, or of an earlier '
                        'state of it.')


def _take_embeddings(model: CTRModel, before: CTRModel, initial: Initial) -> None:
    mine, theirs = model.embedding, before.embedding
    if mine.dim != theirs.dim:
        raise UserError(f'The embeddings of the model {initial.model} have {theirs.dim} '
                        f'dimensions and this model has {mine.dim}: set model.embedding_dim '
                        f'to {theirs.dim}.')
    others = {feature.name: feature for feature in theirs.features}
    names = [feature.name for feature in mine.features if feature.name in others
             and _same_ids(feature, others[feature.name])]
    if initial.parts == 'id_embeddings':
        for name in initial.id_features:
            if name not in names:
                raise UserError(f'The ID feature {name} is not one of both models: there are '
                                f'{", ".join(names)}.')
        names = [name for name in names
                 if name in id_features(mine.features, initial.id_features)]
    if not names:
        raise UserError(f'The model {initial.model} shares no {initial.parts} with this one: '
                        'take a model of the same features.')
    mine.copy_rows(theirs, names)
    if initial.parts == 'embeddings' and None not in (model.numeric_slopes,
                                                      before.numeric_slopes):
        model.numeric_slopes.copy_slopes(before.numeric_slopes, names)


def _same_ids(feature: Feature, other: Feature) -> bool:
    """Whether an id means the same to two models; vocabularies are checked elsewhere."""
    return (feature.vocabulary, feature.boundaries) == (other.vocabulary, other.boundaries)
