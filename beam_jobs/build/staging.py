"""Paths of the files that only a build needs; all are below the staging directory."""

from mdctr import storage


def log_summary_path(staging: str) -> str:
    """The counts of the log's rows."""
    return storage.join(staging, 'log-summary.json')


def lookup_path(staging: str, vocabulary: str) -> str:
    """The lookup of a vocabulary."""
    return storage.join(staging, 'lookup', f'{vocabulary}.arrow')


def item_versions_path(staging: str) -> str:
    """The versions of all items."""
    return storage.join(staging, 'item-versions.arrow')


def items_path(staging: str) -> str:
    """The lookup of item numbers + 1."""
    return storage.join(staging, 'plan', 'items.arrow')


def catalogue_path(staging: str) -> str:
    """The catalogue that negatives are drawn from."""
    return storage.join(staging, 'plan', 'catalogue-entries.arrow')


def table_path(staging: str, name: str) -> str:
    """A table of the plan."""
    return storage.join(staging, 'plan', f'{name}.arrow')


def plan_path(staging: str) -> str:
    """The plan itself."""
    return storage.join(staging, 'plan.json')


def report_path(staging: str, bucket: int) -> str:
    """The report on a bucket's rows."""
    return storage.join(staging, 'report', f'{bucket}.json')


def done_directory(staging: str, step: str) -> str:
    """Where `mark_done` counts what a step has finished."""
    return storage.join(staging, 'done', step)


def mark_done(staging: str, step: str, number: int) -> None:
    """Records that a step has finished a shard or bucket, for the progress of the build."""
    storage.write_bytes(storage.join(done_directory(staging, step), str(number)), b'')
