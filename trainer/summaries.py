"""What a model shows of itself, domain by domain."""

from __future__ import annotations

import numpy as np

from trainer.examples import Examples
from trainer.keras import tf
from trainer.models.base import CTRModel

_ROWS = 2048


def domain_summaries(model: CTRModel, examples: Examples
                     ) -> tuple[list[str], dict[str, np.ndarray]]:
    """`CTRModel.summaries` of some rows of every domain.

    Returns:
        The names of the domains that have rows, and by name of the summary, of which most
        models have none, float32 [domains, entries].
    """
    if type(model).summaries is CTRModel.summaries:
        return [], {}
    known = {domain.id: domain.name for domain in examples.manifest.domains}
    names = [known.get(domain, 'unseen') for domain in examples.domains]
    of_domains = []
    for domain in examples.domains:
        batch = next(examples.domain_epoch(domain, 0, _ROWS))
        found = model.summaries({name: tf.convert_to_tensor(batch[name]) for name in (
            *(feature.name for feature in model.features), 'domain')})
        of_domains.append({name: values.numpy() for name, values in found.items()})
    return names, {name: np.stack([each[name] for each in of_domains])
                   for name in of_domains[0]}
