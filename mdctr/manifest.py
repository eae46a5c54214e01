"""The dataset on disk: its manifest and files, which the Beam jobs write and the trainer reads.

A version of a dataset (see `mdctr.dataset_versions`) is complete if it has a `manifest.json`,
which is written last. Nothing in its directory changes afterwards.

    manifest.json                                the `Manifest`
    examples/<split>/part-00000-of-00016.parquet one file a user bucket; the rows of a domain
                                                 are adjacent (`mdctr.example_files`)
    vocabulary/<name>.txt                        UTF-8, one value a line, most frequent first;
                                                 line n (from 1) has the id n, unseen values
                                                 the id 0 (in a dataset that grows, values
                                                 are ordered by the split that added them)
    rejected/part-*.jsonl                        {"source", "line", "reason", "row"}
    log/                                         the rows, if the dataset is `extendable`
    statistics/                                  of TensorFlow Data Validation, and samples

A version that extends another one has only what it adds, such as `rejected/<split>/` and
`log/<split>/`; its manifest says which version has each file (`FileRecord.version`).

The columns of an example file are `domain`, an id (int32); `timestamp` in seconds (int64);
`user_key`, a hash of the raw user, which distinguishes unseen users in GAUC (int64); `click`, 0
or 1 (int8); and every feature of the manifest: one id (int32) or, for sequences, up to `length`
ids, most recent first (list of int32).

A dataset that is split by periods grows (CTNet 4.1): its training splits follow one another in
time, and each adds the values that none before it had. Their ids follow all earlier ids, so the
vocabulary of an older version is a prefix of that of a newer one, whether the days were built
together or added one by one. `Feature.known` is the size as of each training split. A model
that was trained up to the split s knows the ids below `known[s]` and replaces others by 0. It
therefore scores an added day as it will score requests of that day, when most new users and
items are unseen, and learns their ids only when it is trained on that day. The split `test` is
never trained on and adds no ids.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mdctr import storage
from mdctr.errors import UserError
from mdctr.file_records import FileRecord, record_files
from mdctr.settings import parse, to_mapping

MANIFEST = 'manifest.json'
FORMAT = 2


@dataclass(frozen=True)
class Feature:
    """A feature of the examples.

    Attributes:
        name: Key in the examples.
        kind: `categorical` (one id), `sequence` (at most `length` ids) or `numeric` (the id of
            a bucket: 0 for a missing value, else 1 + the number of boundaries at or below).
            Statistics are numeric and must be supplied by the serving client.
        owner: `user`, `item` or `context`.
        size: Ids are in [0, size).
        vocabulary: Name of the vocabulary file of its ids, which several features can share;
            None for numeric features.
        length: Maximum number of ids of a sequence, else 1.
        boundaries: Bucket boundaries of a numeric feature, ascending; `size - 2` numbers.
        history: Whether it is a sequence of the user's past events (mostly clicks) rather
            than of the row's own values.
        domains: Names of the domains whose events a history contains, if not of all domains.
        known: In a dataset that grows, the size as of the end of each training split: ids in
            [0, known[split]) had been seen by then. Otherwise, and for numeric features,
            empty.
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
    """A domain. Ids start at 1; the id 0 represents all domains unseen in training."""

    id: int
    name: str


@dataclass(frozen=True)
class Split:
    """A split.

    Attributes:
        days: First and last day.
        examples: Number of examples, by domain name.
        clicks: Number of clicks, by domain name.
        digest: SHA-256 of the contents: of the files of examples, and of the vocabularies as
            far as the split's ids are known; empty in a dataset of an earlier version.
    """

    days: tuple[str, str]
    examples: dict[str, int]
    clicks: dict[str, int]
    digest: str = ''


@dataclass(frozen=True)
class Rows:
    """What became of the rows of the log.

    `read == rejected + duplicates + outside_splits + down_sampled + kept`, and the dataset has
    `kept + sampled_negatives` examples.

    Attributes:
        read: Rows of the log.
        rejected: Rows that are not valid.
        duplicates: Repeated impressions.
        outside_splits: Rows in no split, or of a domain that is not selected.
        down_sampled: Rows without a click that down-sampling, or a CTR ratio, left out.
        kept: Rows that became examples.
        sampled_negatives: Negatives that were drawn.
        reasons: Number of rejected rows, by reason.
        shortfall: Negatives that the CTR ratio asks for but that could not be drawn, since
            their user has interacted with every candidate.
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
    """The contents of a dataset and how it was built.

    Attributes:
        name: Name of the configuration.
        fingerprint: Digest of source, configuration and build version; equal fingerprints
            mean equal bytes.
        features: Features, in the order of the configuration.
        domains: Domains, most frequent in training first; in a dataset that grows, by the
            split that added them.
        splits: Splits, by name.
        rows: What became of the log's rows.
        ctr_ratios: CTR ratio of each domain, by name, if negatives were sampled.
        keep_negatives: Share of the negatives that down-sampling kept, else 1.
        seed: Random seed.
        source: Reader, inputs and their sizes and checksums.
        config: The `dataset` section, without `in_memory_gb`.
        known_domains: In a dataset that grows, `num_domains` as of the end of each training
            split; otherwise empty.
        extends: Fingerprints of the datasets that this one extends, the first one first.
        negative_candidates: If negatives were sampled, the items that those of each split
            were drawn from, by name: `appeared`, the items that had appeared in the domain by
            the end of the positive's day, less those that the user had interacted with by the
            end of the split; or `all`, the items of the domain in the whole log, less those
            that the user interacted with anywhere in it.
        files: Size and SHA-256 of every other file, by path in the version's directory.
        format: Version of this layout.
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
    extends: list[str] = field(default_factory=list)
    negative_candidates: dict[str, Literal['appeared', 'all']] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def num_domains(self) -> int:
        """Number of rows of a per-domain variable: row 0 is for unseen domains."""
        return len(self.domains) + 1

    @property
    def added(self) -> list[str]:
        """Names of the splits that were added by extending the dataset, in order."""
        return list(self.splits)[len(self.splits) - len(self.extends) :]

    def feature(self, name: str) -> Feature:
        """The feature called `name`.

        Raises:
            KeyError: There is no such feature.
        """
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(name)

    def row_weights(self, clicks: NDArray[Any]) -> NDArray[np.float64]:
        """The number of impressions of the log that each row represents.

        If negatives were down-sampled, a negative that was kept also represents those that
        were not.

        Args:
            clicks: 0 or 1, `[rows]`.

        Returns:
            `float64[rows]`.
        """
        return np.where(np.asarray(clicks) > 0, 1.0, 1.0 / self.keep_negatives)

    def ids_known(self, splits: Iterable[str]) -> dict[str, int]:
        """The ids of each feature that a model knows which was trained up to `splits`.

        Such a model was trained on the last of them and on all training splits before it. A
        split that adds no ids counts as the training splits before it.

        Args:
            splits: Names of splits.

        Returns:
            For each feature, by name, the n such that the model knows the ids in [0, n): its
            `size` in a dataset that does not grow.

        Raises:
            KeyError: There is no such split.
        """
        splits = list(splits)
        return {
            feature.name: self._known(feature.known, splits, feature.size)
            for feature in self.features
        }

    def domains_known(self, splits: Iterable[str]) -> int:
        """The n such that such a model knows the domain ids in [0, n); see `ids_known`."""
        return self._known(self.known_domains, list(splits), self.num_domains)

    def _known(self, known: Mapping[str, int], splits: list[str], size: int) -> int:
        last = max(self.splits[split].days[1] for split in splits)
        if not known:
            return size
        earlier = [n for split, n in known.items() if self.splits[split].days[1] <= last]
        return max(earlier, default=1)


def read_manifest(directory: str) -> Manifest:
    """Reads the manifest of the version of a dataset in `directory`.

    Raises:
        UserError: The directory does not contain a complete dataset of this format.
    """
    path = storage.join(directory, MANIFEST)
    try:
        values = storage.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f'{directory} does not contain a complete dataset ({MANIFEST} is missing): build '
            'it with `mdctr dataset build`.'
        ) from None
    except ValueError as error:
        raise UserError(
            f'{path} is not a dataset manifest ({error}): build the dataset again.'
        ) from None
    if isinstance(values, dict) and values.get('format') != FORMAT:
        raise UserError(
            f'{path} has format {values.get("format")}, but this version reads format '
            f'{FORMAT}: build the dataset again.'
        )
    return parse(Manifest, values, path)


def write_manifest(directory: str, manifest: Manifest) -> None:
    """Writes the manifest atomically, which completes the version in `directory`.

    A manifest that lists no files gets the records of all files in the directory.
    """
    if not manifest.files:
        names = [name for name in storage.list_files(directory) if name != MANIFEST]
        manifest = replace(manifest, files=record_files(directory, names))
    storage.write_json(storage.join(directory, MANIFEST), to_mapping(manifest))


def vocabulary_path(directory: str, name: str) -> str:
    """The file of the vocabulary `name`; that of the domains is called `domain`."""
    return storage.join(directory, 'vocabulary', f'{name}.txt')


def read_vocabulary(directory: str, name: str) -> list[str]:
    """The values of a vocabulary that is being built; see `Dataset.vocabulary` for others."""
    return storage.read_text(vocabulary_path(directory, name)).split('\n')[:-1]


def split_directory(directory: str, split: str) -> str:
    """The directory of the example files of `split` in the version that contains them."""
    return storage.join(directory, 'examples', split)
