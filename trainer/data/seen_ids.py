"""The feature values that occur in the rows of a dataset."""

from collections.abc import Iterable, Sequence

import numpy as np

from mdctr.dataset import Dataset
from trainer.data.examples import Examples


def seen_ids(
    dataset: Dataset,
    splits: str | Sequence[str],
    names: Iterable[str],
    domains: Iterable[str] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the ids that occur in the rows of splits, for `beam_jobs.evaluation.cold_start`.

    Args:
        dataset: Dataset to read.
        splits: Name of a split, or several names.
        names: Names of the features. A history counts by its own ids, not by those of the rows
            it refers to.
        domains: Names of the domains whose rows count; all domains if None.

    Returns:
        Whether each id occurs, bool [size] by feature name; False for 0, the missing value.

    Raises:
        UserError: The dataset has no such split or domain.
        KeyError: The dataset has no such feature.
    """
    manifest = dataset.manifest
    seen = {name: np.zeros(manifest.feature(name).size, bool) for name in names}
    others = [feature.name for feature in manifest.features if feature.name not in seen]
    # Streamed, because every row is needed once only.
    examples = Examples(dataset, splits, others, domains, memory=1 << 26)
    for batch in examples.in_order(1 << 16):
        for name, is_seen in seen.items():
            ids = batch[name]
            is_seen[ids[ids > 0]] = True
    return seen
