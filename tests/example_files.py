"""Writes example files in the layout of `mdctr.manifest`, without the code of the build."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS = 70  # few, so that domains share row groups and have several


def write_example_files(directory, split, columns, files=2):
    """Writes the examples of a split, every `files`-th row to the same file.

    Args:
        directory: Directory of the dataset.
        split: Name of the split.
        columns: Ids by column name, [rows]; a list of arrays for a sequence. `domain` ascends.
        files: Number of files; one without rows is not written.
    """
    folder = os.path.join(str(directory), 'examples', split)
    os.makedirs(folder, exist_ok=True)
    for number in range(files):
        mine = range(number, len(columns['click']), files)
        if mine:
            rows = {name: [values[row] for row in mine] for name, values in columns.items()}
            path = os.path.join(folder, f'part-{number:05d}-of-{files:05d}.parquet')
            pq.write_table(_table(rows), path, row_group_size=GROUP_ROWS)


def _table(columns):
    types = {'timestamp': pa.int64(), 'user_key': pa.int64(), 'click': pa.int8()}
    table = pa.table(
        {
            name: pa.array(
                values,
                pa.list_(pa.int32())
                if isinstance(values[0], np.ndarray)
                else types.get(name, pa.int32()),
            )
            for name, values in columns.items()
        }
    )
    domain = np.array(columns['domain'])
    assert (np.diff(domain) >= 0).all()
    domains = [
        [int(each), int(np.searchsorted(domain, each)), int((domain == each).sum())]
        for each in np.unique(domain)
    ]
    return table.replace_schema_metadata({'mdctr.domains': json.dumps(domains)})
