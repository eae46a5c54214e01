"""Scores of a split by an exported model, in this process."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BATCH = 8192


class Scores(NamedTuple):
    """A split's rows in the order of its files: ids, labels and predicted probabilities."""

    domain: np.ndarray
    user_id: np.ndarray
    item_id: np.ndarray
    user_key: np.ndarray
    click: np.ndarray
    score: np.ndarray


def score_split(dataset: str, split: str, model: str,
                domains: Sequence[str] | None = None) -> Scores:
    """Scores every row of a split with the signature `encoded` of an exported model.

    Args:
        dataset: the dataset's directory.
        split: the split's name.
        model: the export's directory.
        domains: whose rows are wanted; every row when absent.
    """
    from trainer.examples import Examples
    from trainer.keras import tf

    # Held while its signature is used: the signature alone does not keep the model's tables.
    loaded = tf.saved_model.load(model)
    encoded = loaded.signatures['encoded']
    wanted = encoded.structured_input_signature[1]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in Scores._fields}
    for batch in Examples(dataset, split, domains=domains).in_order(BATCH):
        rows = len(batch['click'])
        batch['domain'] = np.broadcast_to(batch['domain'], rows)
        inputs = {name: tf.constant(batch[name], spec.dtype) for name, spec in wanted.items()}
        columns['score'].append(encoded(**inputs)['score'].numpy())
        for name in ('domain', 'user_id', 'item_id', 'user_key', 'click'):
            columns[name].append(np.array(batch[name]))
    return Scores(**{name: np.concatenate(parts) for name, parts in columns.items()})
