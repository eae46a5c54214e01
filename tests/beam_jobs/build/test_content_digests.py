"""The digest of a split tells its contents, not only its counts."""

import dataclasses

import numpy as np
import pyarrow as pa

from tests.beam_jobs.build.test_build_runners import checksums
from tests.beam_jobs.build.test_growing import build, day_of, extend, growing_log


def counts(manifest):
    return {
        name: dataclasses.replace(split, digest='') for name, split in manifest.splits.items()
    }


def changed(before, after) -> set[str]:
    """The splits whose digest differs."""
    return {name for name in before.splits if before.splits[name] != after.splits[name]}


def test_a_corrected_log_changes_the_digest_of_its_days_although_the_counts_stay(tmp_path):
    log = growing_log(3, rows=60)
    before = build(tmp_path / 'before', log, 2)
    # On the last day, one domain's first click and first other row are exchanged.
    day, click = day_of(log), log['click'].to_numpy().copy()
    here = (day == 2) & (log['scene'].to_pandas() == 's1').to_numpy()
    one, other = np.flatnonzero(here & (click == 1))[0], np.flatnonzero(here & (click == 0))[0]
    click[[one, other]] = click[[other, one]]
    place = log.column_names.index('click')
    corrected = log.set_column(place, 'click', pa.array(click))
    after = build(tmp_path / 'corrected', corrected, 2)
    assert counts(after) == counts(before)
    assert changed(before, after) == {'test'}


def test_a_renamed_value_changes_the_digest_of_its_days_and_of_those_after(tmp_path):
    log = growing_log(3, rows=60)
    before = build(tmp_path / 'before', log, 2)
    tags = [[{'t2': 't2!'}.get(tag, tag) for tag in row] for row in log['tags'].to_pylist()]
    renamed = log.set_column(log.column_names.index('tags'), 'tags', pa.array(tags))
    after = build(tmp_path / 'renamed', renamed, 2)
    files, others = (checksums(str(tmp_path / name)) for name in ('before', 'renamed'))
    # The examples have the same ids; one of them stands for another value.
    different = {name for name in files if files[name] != others[name]}
    assert 'vocabulary/tags.txt' in different
    assert not [name for name in different if name.startswith('examples/')]
    assert changed(before, after) == {'period-2', 'test'}


def test_days_that_are_added_have_digests_and_leave_those_of_the_others(tmp_path):
    log = growing_log(4, rows=60)
    base = build(tmp_path / 'base', log.filter(pa.array(day_of(log) < 3)), 2)
    manifest = extend(tmp_path / 'base', log.filter(pa.array(day_of(log) == 3)), 3)
    assert manifest.splits.items() >= base.splits.items()
    digests = [split.digest for split in manifest.splits.values()]
    assert len(set(digests)) == len(digests) == 4 and all(len(d) == 64 for d in digests)
