"""Makes examples of a sorted bucket: chooses rows, draws negatives, encodes, writes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.build.bucket_report import BucketReport, SplitCounts
from beam_jobs.build.job import Job
from beam_jobs.build.plan import Domains, Plan, first_positive_numbers
from beam_jobs.build.staging import (
    catalogue_path,
    item_versions_path,
    items_path,
    lookup_path,
)
from beam_jobs.build.statistics import DOMAIN_ROWS, sample_rows
from beam_jobs.examples import writer
from beam_jobs.features.catalogue import EXHAUSTED, Candidates, Catalogue, Interactions
from beam_jobs.features.encode import Encoder, Hashes
from beam_jobs.features.ids import concatenate, example_columns, id_lists
from beam_jobs.features.item_versions import ItemVersions
from beam_jobs.features.lookup import open_lookup
from beam_jobs.features.negative_sampling import (
    catalogue_days,
    draw_keys,
    is_kept,
    negatives_per_positive,
)
from beam_jobs.features.target_statistics import combinations, daily_counts_path
from beam_jobs.rows.columns import codes, numbers, values
from beam_jobs.rows.random_draws import Stream, hash64, uniform
from mdctr import storage
from mdctr.days import days_of
from mdctr.example_files import example_file_name
from mdctr.manifest import split_directory

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Context:
    """What making the examples of any bucket needs.

    Attributes:
        job: The build.
        plan: Its plan.
        domains: The domains of the log.
        encoder: Encodes rows and items.
    """

    job: Job
    plan: Plan
    domains: Domains
    encoder: Encoder

    @staticmethod
    def read(job: Job) -> 'Context':
        """Reads the plan."""
        plan = Plan.read(job.staging)
        vocabularies = {'domain', *(f.vocabulary for f in plan.features if f.vocabulary)}
        encoder = Encoder(
            job.config,
            plan.features,
            {name: lookup_path(job.staging, name) for name in vocabularies},
            {name: daily_counts_path(job.staging, name) for name in combinations(job.config)},
        )
        return Context(job, plan, Domains.read(job.staging), encoder)


class Bucket(NamedTuple):
    """A sorted bucket.

    Attributes:
        number: Number of the bucket.
        table: Its rows, with `split` and `key`.
        split: Number of each row's split, `int8[rows]`.
        domain: Index of each row's domain in `Domains`, `int64[rows]`.
    """

    number: int
    table: pa.Table
    split: np.ndarray
    domain: np.ndarray


class Examples(NamedTuple):
    """The examples of a bucket, as references to rows and drawn items.

    Attributes:
        row: The row that each example is, or whose negative it is, `int64[examples]`.
        item: The row whose item it has, or the number of rows + an index in `drawn`.
        click: 0 or 1.
        key: Its key, `uint64[examples]`.
        drawn: Distinct item versions of the negatives.
    """

    row: np.ndarray
    item: np.ndarray
    click: np.ndarray
    key: np.ndarray
    drawn: np.ndarray


class EncodedBucket(NamedTuple):
    """The ids of a bucket's rows and items, as columns of an example file.

    Attributes:
        shared: Columns that a negative shares with its positive, by row.
        item: The item's features, by `Examples.item`.
        statistics: Target statistics, by example.
        names: All columns in the order of the file; `click` is in none of the three.
    """

    shared: pa.RecordBatch
    item: pa.RecordBatch
    statistics: pa.RecordBatch
    names: list[str]

    def take(self, examples: Examples, chosen: np.ndarray) -> pa.Table:
        """Some of the bucket's examples.

        Args:
            examples: All examples of the bucket.
            chosen: Numbers of those to take, in the order of the result.
        """
        columns = {'click': pa.array(examples.click[chosen], pa.int8())}
        for part, rows in (
            (self.shared, examples.row[chosen]),
            (self.item, examples.item[chosen]),
            (self.statistics, chosen),
        ):
            taken = part.take(pa.array(rows)) if part.num_columns else part
            columns |= dict(zip(part.schema.names, taken.columns, strict=True))
        return pa.table({name: columns[name] for name in self.names})


def write_examples(
    context: Context, number: int, table: pa.Table
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Writes the example files of a bucket, and the report on its rows.

    Args:
        context: The plan.
        number: Number of the bucket.
        table: Its rows, sorted, with `split` and `key`.

    Yields:
        Pairs of a split and ids as `list<int64>` columns, from which the statistics are
        computed: about twice as many rows as those need, or all, drawn by key.
    """
    bucket = Bucket(number, table, numbers(table, 'split'), _domain_indices(context, table))
    examples, report = choose_rows(context, bucket)
    if context.job.config.sampling.ctr_ratio is not None:
        examples = add_negatives(context, bucket, examples, report)
    encoded = encode_bucket(context, bucket, examples)
    split = bucket.split[examples.row]
    domain_ids = numbers(encoded.shared, 'domain')
    order = _shuffle(context, split, domain_ids[examples.row], examples.key)
    begins = np.searchsorted(split[order], np.arange(len(context.plan.splits) + 1))
    for n, name in enumerate(context.plan.splits):
        chosen = order[begins[n] : begins[n + 1]]
        files: dict[str, str] = {}
        if len(chosen):
            files = write_split(context, bucket, name, examples, encoded, chosen)
            yield from _statistics_rows(context, bucket, name, examples, encoded, chosen)
        domain = bucket.domain[examples.row[chosen]]
        report.splits[name] = SplitCounts(
            _count_by_domain(context, domain),
            _count_by_domain(context, domain[examples.click[chosen] > 0]),
            files,
        )
    report.write(context.job.staging, number)


def choose_rows(context: Context, bucket: Bucket) -> tuple[Examples, BucketReport]:
    """Chooses the rows that become examples."""
    config, table = context.job.config, bucket.table
    click, keys = numbers(table, 'click'), numbers(table, 'key')
    inside = bucket.split >= 0
    kept = inside & is_kept(config.sampling, config.seed, click, keys)
    rows = np.flatnonzero(kept)
    no_items = np.zeros(0, np.int64)
    examples = Examples(rows, rows, click[rows].astype(np.int64), keys[rows], no_items)
    return examples, BucketReport(kept=len(rows), down_sampled=int((inside & ~kept).sum()))


def add_negatives(
    context: Context, bucket: Bucket, positives: Examples, report: BucketReport
) -> Examples:
    """Draws the negatives of each positive, and counts them in the report."""
    staging, table, plan = context.job.staging, bucket.table, context.plan
    rows, domain = positives.row, bucket.domain[positives.row]
    domains = len(context.domains.names)
    first = first_positive_numbers(staging, bucket.number, len(plan.splits), domains)
    group = bucket.split[rows].astype(np.int64) * domains + domain
    counts = negatives_per_positive(
        first.ravel()[group] + _rank_within(group),
        context.domains.positives[domain],
        context.domains.negatives[domain],
    )
    row, keys = np.repeat(rows, counts), draw_keys(positives.key, counts)
    catalogue = Catalogue(catalogue_path(staging))
    user, timestamp = codes(table, 'user').astype(np.int64), numbers(table, 'timestamp')
    item = open_lookup(items_path(staging)).ids(values(table, 'item')) - 1
    interactions = Interactions.of_rows(
        user, item[codes(table, 'item')], timestamp, catalogue.num_items
    )
    ends = np.array([np.inf if end is None else end for end in plan.split_ends])
    day = days_of(timestamp, context.job.config.utc_offset)
    day = catalogue_days(day, bucket.split, context.job.split_by, len(plan.splits))
    candidates = Candidates(bucket.domain[row], day[row], user[row], ends[bucket.split[row]])
    items = catalogue.sample(context.job.config.seed, candidates, keys, interactions)
    is_drawn = items != EXHAUSTED
    versions = ItemVersions(item_versions_path(staging))
    versions_drawn = versions.as_of(items[is_drawn], timestamp[row[is_drawn]])
    drawn, index = np.unique(versions_drawn, return_inverse=True)
    report.sampled_negatives = int(is_drawn.sum())
    report.shortfall = int((~is_drawn).sum())
    return Examples(
        np.concatenate([rows, row[is_drawn]]),
        np.concatenate([rows, table.num_rows + index]),
        np.concatenate([positives.click, np.zeros(len(index), np.int64)]),
        np.concatenate([positives.key, keys[is_drawn]]),
        drawn,
    )


def encode_bucket(context: Context, bucket: Bucket, examples: Examples) -> EncodedBucket:
    """Encodes rows, items and statistics."""
    encoder, table = context.encoder, bucket.table
    shared = encoder.shared(table, context.job.visible(bucket.split))
    item, hashes = encoder.item(table), Hashes()
    if len(examples.drawn):
        versions = ItemVersions(item_versions_path(context.job.staging))
        ids, hashes = versions.take(examples.drawn)
        item = concatenate(item, ids)
    statistics = encoder.statistics(table, examples.row, hashes, examples.item)
    names = ['domain', 'timestamp', 'user_key', 'click']
    return EncodedBucket(
        example_columns(shared),
        example_columns(item),
        example_columns(statistics),
        [*names, *(feature.name for feature in context.plan.features)],
    )


def write_split(
    context: Context,
    bucket: Bucket,
    split: str,
    examples: Examples,
    encoded: EncodedBucket,
    chosen: np.ndarray,
) -> dict[str, str]:
    """Writes the examples of one split.

    Args:
        context: The plan.
        bucket: The bucket.
        split: Name of the split.
        examples: All examples of the bucket.
        encoded: Their ids.
        chosen: The examples of the split, in the order of the file, `int64[n]`, at least one.

    Returns:
        The SHA-256 of the file, by its name.
    """
    name = example_file_name(bucket.number, context.job.config.user_buckets)
    domain = numbers(encoded.shared, 'domain')[examples.row[chosen]]
    path = storage.join(split_directory(context.job.directory, split), name)
    with storage.atomic_file(path) as file:
        digest = writer.write_examples(
            file,
            domain,
            lambda first, last: encoded.take(examples, chosen[first:last]),
        )
    return {name: digest}


def _statistics_rows(
    context: Context,
    bucket: Bucket,
    split: str,
    examples: Examples,
    encoded: EncodedBucket,
    chosen: np.ndarray,
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of a split for its statistics, see `write_examples`; arguments as above."""
    for begin in range(0, len(chosen), _ROWS_AT_ONCE):
        chunk = chosen[begin : begin + _ROWS_AT_ONCE]
        domain = bucket.domain[examples.row[chunk]]
        sample = _sample_for_statistics(context, split, domain, examples.key[chunk])
        if len(sample):
            yield split, id_lists(encoded.take(examples, chunk[sample]))


def _shuffle(
    context: Context, split: np.ndarray, domain: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """The order of the examples: by split and domain, and at random within them."""
    group = split.astype(np.uint64) * np.uint64(len(context.domains.names) + 1)
    group += domain.astype(np.uint64)
    draws = hash64(context.job.config.seed, int(Stream.ORDER), keys) >> np.uint64(24)
    return np.argsort((group << np.uint64(40)) | draws, kind='stable')


def _sample_for_statistics(
    context: Context, split: str, domain: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """The examples that the statistics may use: they take a sample, so most are left out."""
    config = context.job.config
    expected = np.asarray(context.plan.expected_examples[split])
    share = np.maximum(
        2 * sample_rows(config.split) / max(expected.sum(), 1.0),
        2 * DOMAIN_ROWS / np.maximum(expected, 1.0),
    )
    return np.flatnonzero(uniform(config.seed, Stream.STATISTICS, keys) < share[domain])


def _domain_indices(context: Context, table: pa.Table) -> np.ndarray:
    """The index of each row's domain in `Domains`, `int64[rows]`."""
    indices = pc.index_in(values(table, 'domain'), context.domains.names).to_numpy()
    return indices.astype(np.int64)[codes(table, 'domain')]


def _count_by_domain(context: Context, domain: np.ndarray) -> dict[str, int]:
    counts = np.bincount(domain, minlength=len(context.domains.names))
    present = np.flatnonzero(counts)
    names = context.domains.names.take(pa.array(present)).to_pylist()
    return dict(zip(names, counts[present].tolist(), strict=True))


def _rank_within(group: np.ndarray) -> np.ndarray:
    """The number of rows of the same group before each row."""
    order = np.argsort(group, kind='stable')
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return rank
