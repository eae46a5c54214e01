"""Which ids rows have, against the rows that were written."""

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from tests.trainer.trainer_dataset import write_dataset
from trainer.data.seen_ids import seen_ids


def test_ids_of_splits_and_domains(tmp_path):
    written = write_dataset(
        tmp_path / 'data', {'day-1': {1: 40, 2: 9}, 'day-2': {1: 30, 3: 8}, 'day-3': {2: 20}}
    )
    for splits, domains in (
        (['day-1', 'day-2'], None),
        ('day-1', ['d2']),
        (['day-1', 'day-2', 'day-3'], ['d1', 'd2']),
    ):
        found = seen_ids(
            open_dataset(str(tmp_path / 'data')),
            splits,
            ['user_id', 'item_id', 'genres'],
            domains,
        )
        wanted = [
            columns
            for split in ([splits] if isinstance(splits, str) else splits)
            for domain, columns in written[split].items()
            if domains is None or f'd{domain}' in domains
        ]
        for name in ('user_id', 'item_id', 'genres'):
            ids = {
                int(i)
                for columns in wanted
                for row in columns[name]
                for i in np.atleast_1d(row)
            } - {0}
            assert set(np.flatnonzero(found[name]).tolist()) == ids
        assert len(found['user_id']) == 61 and found['user_id'].dtype == bool
    with pytest.raises(KeyError):
        seen_ids(open_dataset(str(tmp_path / 'data')), 'day-1', ['colour'])
