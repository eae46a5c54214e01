"""A training of a few steps, for processes that are killed or suspended."""

import os

from mdctr import storage
from trainer.config import ModelConfig, TrainConfig
from trainer.keras import tf
from trainer.train import train

PRELOAD = ('tests.trainer.tiny_run', 's3fs')
CONFIG = TrainConfig(
    model=ModelConfig(name='mlp', embedding_dim=2, hidden_units=[2]),
    batch_size=64,
    epochs=2,
    learning_rate=0.01,
    checkpoint_steps=4,
)
ROWS = {'train': {1: 200, 2: 60}, 'validation': {1: 100, 2: 30}}  # of `write_dataset`


def train_tiny(
    dataset: str,
    run: str,
    variables: dict[str, str] | None = None,
    splits: tuple[str, str] = ('train', 'validation'),
) -> None:
    """Trains a model.

    Args:
        dataset: Directory of the dataset.
        run: Directory of the run.
        variables: Environment variables, which the server of processes lacks.
        splits: Names of the splits for training and validation.
    """
    os.environ.update(variables or {})
    train(dataset, run, CONFIG, *splits)


def outcome(run: str) -> dict[str, object]:
    """What a run leaves: its files, their bytes, and the values of checkpoints.

    The objects that a checkpoint describes have names that depend on what the process traced
    before, so its variables are compared. Logs have times, and leases have owners.
    """
    with storage.local_directory(run) as local:
        names = [
            name
            for name in storage.list_files(local)
            if not name.startswith(('logs/', 'lease.'))
        ]
        found: dict[str, object] = dict.fromkeys(names, b'')
        for name in names:
            if not name.startswith('checkpoints/ckpt-'):
                found[name] = storage.read_bytes(storage.join(local, name))
            elif name.endswith('.index'):
                found[name] = _variables(storage.join(local, name.removesuffix('.index')))
        return found


def _variables(checkpoint: str) -> dict[str, bytes]:
    reader = tf.train.load_checkpoint(checkpoint)
    return {
        name: reader.get_tensor(name).tobytes()
        for name in reader.get_variable_to_shape_map()
        if not name.startswith(('_CHECKPOINTABLE', 'run/'))
    }
