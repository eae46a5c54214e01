"""Which values a model knows: its share of a dataset's vocabularies, which only grow."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence

from beam_jobs.dataset import Feature, Manifest, vocabulary_path
from beam_jobs.errors import UserError


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The values with the ids 1 to `size - 1`, and their SHA-256 as lines of UTF-8."""

    size: int
    sha256: str


def known_by(manifest: Manifest, splits: Iterable[str], models: Iterable[Manifest] = ()
             ) -> Manifest:
    """The manifest as training on these splits sees it.

    Of a dataset that grows, a model has the ids and domains up to the end of the splits that
    it is trained on; those that come later are unseen ones to it.

    Args:
        manifest: of the dataset.
        splits: that are trained on.
        models: of models that training starts from; what they know stays known.
    """
    splits, models = list(splits), list(models)
    known, sizes = manifest.ids_known(splits), {}
    for features in (manifest.features, *(model.features for model in models)):
        for feature in features:
            if feature.vocabulary:
                size = known[feature.name] if features is manifest.features else feature.size
                sizes[feature.vocabulary] = max(sizes.get(feature.vocabulary, 1), size)
    domains = max([manifest.domains_known(splits), *(model.num_domains for model in models)])
    return dataclasses.replace(manifest, domains=manifest.domains[:domains - 1], features=[
        dataclasses.replace(feature, size=min(feature.size, sizes[feature.vocabulary]))
        if feature.vocabulary else feature for feature in manifest.features])


def vocabulary_sizes(features: Iterable[Feature]) -> dict[str, int]:
    """Ids that features have together, by vocabulary."""
    sizes: dict[str, int] = {}
    for feature in features:
        if feature.vocabulary:
            sizes[feature.vocabulary] = max(sizes.get(feature.vocabulary, 1), feature.size)
    return sizes


def id_features(features: Sequence[Feature], more: Sequence[str] = ()) -> list[str]:
    """The names of the ID features: those of the vocabularies `user_id` and `item_id` that
    belong to users or items, and those named."""
    return [feature.name for feature in features if feature.name in more or (
        feature.vocabulary in ('user_id', 'item_id') and feature.owner in ('user', 'item'))]


def read_digests(dataset: str, features: Iterable[Feature]) -> dict[str, Vocabulary]:
    """Of the dataset's vocabularies what these features know; those that are there."""
    return {name: Vocabulary(size, _digest(dataset, name, size))
            for name, size in vocabulary_sizes(features).items()
            if os.path.exists(vocabulary_path(dataset, name))}


def check_vocabularies(dataset: str, vocabularies: Mapping[str, Vocabulary],
                       model: str) -> None:
    """Makes sure that a model's ids mean the same values in a dataset.

    Args:
        dataset: the directory.
        vocabularies: of the model; those that the dataset has none of are not looked at.
        model: what to call it in an error.

    Raises:
        UserError: the dataset has other values under the model's ids.
    """
    for name, vocabulary in vocabularies.items():
        if (os.path.exists(vocabulary_path(dataset, name))
                and _digest(dataset, name, vocabulary.size) != vocabulary.sha256):
            raise UserError(
                f'{model} knows another vocabulary {name} than {dataset} has: take a model of '
                'this dataset, or of an earlier state of it.')


def _digest(dataset: str, name: str, size: int) -> str:
    digest = hashlib.sha256()
    with open(vocabulary_path(dataset, name), 'rb') as file:
        for line in itertools.islice(file, size - 1):
            digest.update(line)
    return digest.hexdigest()
