"""Which values rows of a dataset have."""

from collections.abc import Iterable, Sequence

import numpy as np

from beam_jobs.dataset import read_manifest
from trainer.examples import Examples


def seen_ids(dataset: str, splits: str | Sequence[str], names: Iterable[str],
             domains: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The ids that some row of the splits has, for `beam_jobs.cold_start`.

    Args:
        dataset: the dataset's directory.
        splits: one name or several.
        names: of features; histories' own ids count, not those of the rows they remember.
        domains: the names of the domains whose rows count; absent, all do.

    Returns:
        By feature, bool [size]; the id 0 stands for no value and is False.

    Raises:
        UserError: no such dataset, split or domain.
        KeyError: no such feature.
    """
    manifest = read_manifest(dataset)
    seen = {name: np.zeros(manifest.feature(name).size, bool) for name in names}
    others = [feature.name for feature in manifest.features if feature.name not in seen]
    # Streamed: the rows are wanted once.
    for batch in Examples(dataset, splits, others, domains, memory=1 << 26).in_order(1 << 16):
        for name, found in seen.items():
            ids = batch[name]
            found[ids[ids > 0]] = True
    return seen
