"""The public data that tests read, kept in `.cache` between runs."""

import functools
from pathlib import Path

import pytest

from beam_jobs.readers.fetch import fetch
from mdctr.errors import UserError

REPOSITORY = Path(__file__).parents[2]
KUAIRAND = REPOSITORY.parent / 'shared' / 'data' / 'kuairand-pure'


def public_data(name: str) -> str:
    """The directory of a public data set; skips the test if it cannot be fetched."""
    try:
        return _fetched(name)
    except UserError as error:
        pytest.skip(str(error))


def kuairand() -> str:
    """The directory of KuaiRand-Pure; skips where it is not."""
    if not KUAIRAND.is_dir():
        pytest.skip(f'KuaiRand-Pure is not at {KUAIRAND}.')
    return str(KUAIRAND)


@functools.cache
def _fetched(name: str) -> str:
    return fetch(name, str(REPOSITORY / '.cache'))
