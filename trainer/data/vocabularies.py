"""The part of a dataset's growing vocabularies that a model knows."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence

from mdctr.dataset import Dataset
from mdctr.errors import UserError
from mdctr.manifest import Feature, Manifest


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A vocabulary up to some size: the values with ids 1 to `size - 1`.

    Attributes:
        size: Number of ids, including the id 0 of unseen values.
        sha256: SHA-256 of the values as lines of UTF-8.
    """

    size: int
    sha256: str


def manifest_as_of(
    manifest: Manifest, splits: Iterable[str], models: Iterable[Manifest] = ()
) -> Manifest:
    """Returns the manifest with the ids and domains that training on some splits knows.

    In a growing dataset, a model knows the ids and domains up to the end of its training
    splits; later ones are unseen.

    Args:
        manifest: Manifest of the dataset.
        splits: Names of the training splits.
        models: Manifests of the models that training starts from, whose ids and domains remain
            known.
    """
    splits, models = list(splits), list(models)
    known = manifest.ids_known(splits)
    sizes: dict[str, int] = {}
    for features in (manifest.features, *(model.features for model in models)):
        for feature in features:
            if feature.vocabulary:
                size = known[feature.name] if features is manifest.features else feature.size
                sizes[feature.vocabulary] = max(sizes.get(feature.vocabulary, 1), size)
    domains = max([manifest.domains_known(splits), *(model.num_domains for model in models)])
    return dataclasses.replace(
        manifest,
        domains=manifest.domains[: domains - 1],
        features=[
            dataclasses.replace(feature, size=min(feature.size, sizes[feature.vocabulary]))
            if feature.vocabulary
            else feature
            for feature in manifest.features
        ],
    )


def vocabulary_sizes(features: Iterable[Feature]) -> dict[str, int]:
    """Returns the number of ids of each vocabulary, over all features that share it."""
    sizes: dict[str, int] = {}
    for feature in features:
        if feature.vocabulary:
            sizes[feature.vocabulary] = max(sizes.get(feature.vocabulary, 1), feature.size)
    return sizes


def id_features(features: Sequence[Feature], more: Sequence[str] = ()) -> list[str]:
    """Returns the names of the ID features.

    These are the features of users or items with the vocabulary `user_id` or `item_id`, and
    those named in `more`.
    """
    return [
        feature.name
        for feature in features
        if feature.name in more
        or (feature.vocabulary in ('user_id', 'item_id') and feature.owner in ('user', 'item'))
    ]


def vocabulary_digests(dataset: Dataset, features: Iterable[Feature]) -> dict[str, Vocabulary]:
    """Returns the part of each vocabulary that features know, if the dataset has its file."""
    return {
        name: Vocabulary(size, _digest(dataset, name, size))
        for name, size in vocabulary_sizes(features).items()
        if dataset.has_vocabulary(name)
    }


def check_vocabularies(
    dataset: Dataset, vocabularies: Mapping[str, Vocabulary], model: str
) -> None:
    """Checks that a model's ids mean the same values in a dataset.

    Args:
        dataset: Dataset to check against.
        vocabularies: Vocabularies of the model; those that the dataset lacks are ignored.
        model: Directory of the model, for the error.

    Raises:
        UserError: The dataset has different values for the model's ids.
    """
    for name, vocabulary in vocabularies.items():
        if (
            dataset.has_vocabulary(name)
            and _digest(dataset, name, vocabulary.size) != vocabulary.sha256
        ):
            raise UserError(
                f'The model {model} was trained with a different vocabulary for {name} than '
                f'{dataset}: use a model trained on this dataset or an earlier version of it.'
            )


def _digest(dataset: Dataset, name: str, size: int) -> str:
    digest = hashlib.sha256()
    lines = io.BytesIO(dataset.vocabulary_bytes(name))
    for line in itertools.islice(lines, size - 1):
        digest.update(line)
    return digest.hexdigest()
