"""The dataset on disk: its manifest and its files, shared by the Beam jobs and the trainer.

A dataset is complete when its `manifest.json` is there, which is written last.

    manifest.json                                the `Manifest`
    examples/<split>/part-00000-of-00016.tfrecord  uncompressed tf.Examples, one file a user
                                                 bucket, the rows of a domain side by side
    examples/<split>/index.parquet               where each domain's rows are in those files:
                                                 domain, file (name), offset and bytes (of
                                                 the TFRecord framing), examples
    vocabulary/<name>.txt                        UTF-8, one value a line, most frequent first;
                                                 line n (from 1) has id n, unseen values id 0
                                                 (of a dataset that grows, by the split that
                                                 it came with first)
    rejected/part-*.jsonl                        {"source", "line", "reason", "row"}
    log/                                         the rows, where a dataset is `extendable`
    statistics/, schema.pbtxt, report.html       of TensorFlow Data Validation

A tf.Example has int64 lists: `user_id`, `item_id`, `domain`, `timestamp` (seconds), `click`,
`user_key` (a hash of the raw user, which keeps unseen users apart in GAUC) and every feature
of the manifest: one id, or for sequences up to `length` ids, most recent first.

A dataset that is split by periods grows (CTNet 4.1): its training splits follow one another in
time, and each brings values that none before it had. Their ids come after all earlier ones, so
the vocabulary of an older state is a prefix of that of a newer one, whether the days were built
together or added one by one. `Feature.known` says how far each training split reaches. A model
that was trained up to the split s knows the ids below `known[s]`, and takes greater ones for 0:
so it scores a day that has been added as it will score requests of that day, most new users and
items being unseen, and learns their ids only when it is trained on that day. The split `test`
is never trained on and brings no ids.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from beam_jobs.errors import UserError
from beam_jobs.options import from_mapping, to_mapping

MANIFEST = 'manifest.json'
FORMAT = 1


@dataclass(frozen=True)
class Feature:
    """A feature as the examples hold it.

    Attributes:
        name: its key in the examples.
        kind: `categorical` (one id), `sequence` (ids, at most `length`), `numeric` (the id of
            a bucket: 0 for a missing value, else 1 + the number of boundaries at or below);
            a statistic is a number, which at serving whoever asks has to know.
        owner: `user`, `item` or `context`.
        vocabulary: the name of the vocabulary file of its ids; several features can share
            one; None for numeric features.
        size: ids are in [0, size).
        length: the most ids of a sequence, else 1.
        boundaries: of a numeric feature, ascending, `size - 2` of them.
        history: a sequence of what is behind the user's past impressions (its clicks, mostly),
            not of the row's own values.
        domains: of a history, the names of the domains whose clicks it holds, where it holds
            those of some domains alone; else empty.
        known: of a dataset that grows, for each training split the size as of its end: ids in
            [0, known[split]) had been seen by then. Empty elsewhere and for numeric features.
    """

    name: str
    kind: Literal['categorical', 'sequence', 'numeric']
    owner: Literal['user', 'item', 'context']
    size: int
    vocabulary: str | None = None
    length: int = 1
    boundaries: list[float] = field(default_factory=list)
    history: bool = False
    domains: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Domain:
    """A domain; ids start at 1, and 0 is every domain that training has not seen."""

    id: int
    name: str


@dataclass(frozen=True)
class Split:
    """A split's first and last day, and its examples and clicks by domain name."""

    days: tuple[str, str]
    examples: dict[str, int]
    clicks: dict[str, int]


@dataclass(frozen=True)
class Rows:
    """Where the rows of the log went.

    `read == rejected + duplicates + outside_splits + down_sampled + kept`, and the dataset's
    examples are `kept + sampled_negatives`. `shortfall` negatives more were due, but their
    users have interacted with every item of the domain.
    """

    read: int
    rejected: int
    duplicates: int
    outside_splits: int
    down_sampled: int
    kept: int
    sampled_negatives: int
    reasons: dict[str, int] = field(default_factory=dict)
    shortfall: int = 0


@dataclass(frozen=True)
class Manifest:
    """What a dataset holds and how it was built.

    Attributes:
        name: the configuration's name.
        fingerprint: of source, configuration and code: equal fingerprints, equal bytes.
        features: in the order of the configuration.
        domains: id and name, most frequent in training first; of a dataset that grows, by the
            split that they came with first.
        splits: by name.
        rows: the account of the log's rows.
        ctr_ratios: by domain name, where negatives were sampled by ratio.
        keep_negatives: the kept portion of negatives where they were down-sampled, else 1.
        seed: of every random draw.
        source: reader, inputs and their sizes and checksums.
        config: the `dataset` section that it was built from.
        known_domains: `num_domains` as of the end of each training split, where the dataset
            grows; empty elsewhere.
        format: of this layout.
    """

    name: str
    fingerprint: str
    features: list[Feature]
    domains: list[Domain]
    splits: dict[str, Split]
    rows: Rows
    ctr_ratios: dict[str, float] = field(default_factory=dict)
    keep_negatives: float = 1.0
    seed: int = 0
    source: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    known_domains: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def num_domains(self) -> int:
        """Rows of a per-domain variable: every domain and, in row 0, the unseen ones."""
        return len(self.domains) + 1

    def feature(self, name: str) -> Feature:
        """The feature called `name`; KeyError where there is none."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(name)

    def row_weights(self, clicks: np.ndarray) -> np.ndarray:
        """How many impressions of the log each row stands for, `float64[rows]`: where negatives
        were down-sampled, one that was kept stands for those that were not.

        Args:
            clicks: [rows], 0 or 1.
        """
        return np.where(np.asarray(clicks) > 0, 1.0, 1.0 / self.keep_negatives)

    def ids_known(self, splits: Iterable[str]) -> dict[str, int]:
        """By feature, the size that a model knows that was trained up to `splits`.

        Such a model has been trained on the last of them and on training splits before it; of
        a split that brings no ids, those of the training splits before it count.

        Args:
            splits: names.

        Returns:
            For each feature the n for which the model knows the ids in [0, n): `size` in a
            dataset that does not grow.

        Raises:
            KeyError: no such split.
        """
        splits = list(splits)
        return {feature.name: self._known(feature.known, splits, feature.size)
                for feature in self.features}

    def domains_known(self, splits: Iterable[str]) -> int:
        """As `ids_known`, of the domains: `num_domains` where the dataset does not grow."""
        return self._known(self.known_domains, list(splits), self.num_domains)

    def _known(self, known: Mapping[str, int], splits: list[str], size: int) -> int:
        last = max(self.splits[split].days[1] for split in splits)
        return size if not known else max(
            (so_far for split, so_far in known.items() if self.splits[split].days[1] <= last),
            default=1)


def read_manifest(directory: str) -> Manifest:
    """The manifest of the dataset in `directory`.

    Raises:
        UserError: there is no complete dataset of this format.
    """
    path = os.path.join(directory, MANIFEST)
    try:
        with open(path, encoding='utf-8') as file:
            values = json.load(file)
    except FileNotFoundError:
        raise UserError(f'{directory} holds no complete dataset ({MANIFEST} is missing): build '
                        'it with `mdctr dataset build`.') from None
    except json.JSONDecodeError as error:
        raise UserError(f'{path} is not a dataset manifest ({error}): build the dataset '
                        'again.') from None
    if isinstance(values, dict) and values.get('format') != FORMAT:
        raise UserError(f'{path} has the format {values.get("format")}, and this version reads '
                        f'{FORMAT}: build the dataset again.')
    return from_mapping(Manifest, values, path)


def write_manifest(directory: str, manifest: Manifest) -> None:
    """Completes the dataset in `directory`: writes its manifest, in one step."""
    path = os.path.join(directory, MANIFEST)
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        json.dump(to_mapping(manifest), file, indent=1, ensure_ascii=False)
        file.write('\n')
    os.replace(path + '.tmp', path)


def vocabulary_path(directory: str, name: str) -> str:
    """The vocabulary file called `name`; `domain` is the domains' own."""
    return os.path.join(directory, 'vocabulary', f'{name}.txt')


def read_vocabulary(directory: str, name: str) -> list[str]:
    """The values of a vocabulary; the value at index n has the id n + 1."""
    with open(vocabulary_path(directory, name), encoding='utf-8', newline='\n') as file:
        return file.read().split('\n')[:-1]


def split_directory(directory: str, split: str) -> str:
    """Where the example files and the index of `split` are."""
    return os.path.join(directory, 'examples', split)
