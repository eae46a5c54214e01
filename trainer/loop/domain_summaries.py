"""Summaries of a model for each domain, such as the gates of its experts."""

from __future__ import annotations

import numpy as np

from trainer.data.examples import Examples
from trainer.keras import tf
from trainer.models.base import CTRModel

_ROWS = 2048  # of each domain


def domain_summaries(
    model: CTRModel, examples: Examples
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Computes `CTRModel.summaries` on a sample of each domain's rows.

    Args:
        model: Model with its variables built.
        examples: Split that the rows are drawn from.

    Returns:
        Names of the domains that have rows, and the summaries by name, float32
        [domains, entries]. Most models have no summaries.
    """
    if type(model).summaries is CTRModel.summaries:
        return [], {}
    known = {domain.id: domain.name for domain in examples.manifest.domains}
    names = [known.get(domain, 'unseen') for domain in examples.domains]
    by_domain = []
    for domain in examples.domains:
        batch = next(examples.domain_epoch(domain, 0, _ROWS))
        summaries = model.summaries(
            {
                name: tf.convert_to_tensor(batch[name])
                for name in (*(feature.name for feature in model.features), 'domain')
            }
        )
        by_domain.append({name: values.numpy() for name, values in summaries.items()})
    return names, {
        name: np.stack([summaries[name] for summaries in by_domain]) for name in by_domain[0]
    }
