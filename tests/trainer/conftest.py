"""What the tests of the trainer share."""

import pytest

from tests.trainer.trainer_dataset import write_dataset


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """The directory of a tiny dataset; a module with needs of its own has its own fixture."""
    directory = str(tmp_path_factory.mktemp('data') / 'tiny')
    write_dataset(directory)
    return directory
