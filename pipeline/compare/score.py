"""Scores of a split by an exported model, computed in this process."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mdctr.dataset import Dataset
from mdctr.exported_model import load_saved_model

BATCH_SIZE = 8192


class Scores(NamedTuple):
    """The scored rows of a split, in the order of its files.

    Attributes:
        domain: Domain ids, `int64[rows]`.
        user_id: User ids, `int64[rows]`.
        item_id: Item ids, `int64[rows]`.
        user_key: Hashes of the raw users, `int64[rows]`.
        click: Labels, 0 or 1, `int64[rows]`.
        score: Predicted click probabilities, `[rows]`.
    """

    domain: NDArray[Any]
    user_id: NDArray[Any]
    item_id: NDArray[Any]
    user_key: NDArray[Any]
    click: NDArray[Any]
    score: NDArray[Any]


def score_split(
    dataset: Dataset, split: str, model: str, domains: Sequence[str] | None = None
) -> Scores:
    """Scores the rows of a split with the signature `encoded` of an exported model.

    Args:
        dataset: Dataset to read.
        split: Name of the split.
        model: Directory of the exported model.
        domains: Names of the domains whose rows are scored; absent, all domains.
    """
    from trainer.loop.custom_gradients import release_custom_gradients

    with release_custom_gradients():  # those of the loaded graphs
        return _score_split(dataset, split, model, domains)


def _score_split(
    dataset: Dataset, split: str, model: str, domains: Sequence[str] | None
) -> Scores:
    from trainer.data.examples import Examples
    from trainer.keras import tf

    loaded = load_saved_model(model)
    encoded = loaded.signatures['encoded']
    specs = encoded.structured_input_signature[1]
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in Scores._fields}
    for batch in Examples(dataset, split, domains=domains).in_order(BATCH_SIZE):
        rows = len(batch['click'])
        batch['domain'] = np.broadcast_to(batch['domain'], rows)
        inputs = {name: tf.constant(batch[name], spec.dtype) for name, spec in specs.items()}
        columns['score'].append(encoded(**inputs)['score'].numpy())
        for name in ('domain', 'user_id', 'item_id', 'user_key', 'click'):
            columns[name].append(np.array(batch[name]))
    return Scores(**{name: np.concatenate(parts) for name, parts in columns.items()})
