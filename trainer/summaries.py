"""What a model shows of itself, domain by domain."""

from __future__ import annotations

import numpy as np

from trainer.examples import Examples
from trainer.keras import tf
from trainer.models.base import CTRModel

_ROWS = 2048


def domain_summaries(model: CTRModel, examples: Examples) -> dict[str, np.ndarray]:
    """`CTRModel.summaries` of some rows of every domain, in the order of `examples.domains`.

    Returns:
        By name, float32 [domains, entries]; nothing for most models.
    """
    if type(model).summaries is CTRModel.summaries:
        return {}
    of_domains = []
    for domain in examples.domains:
        batch = next(examples.domain_epoch(domain, 0, _ROWS))
        found = model.summaries({name: tf.convert_to_tensor(batch[name]) for name in (
            *(feature.name for feature in model.features), 'domain')})
        of_domains.append({name: values.numpy() for name, values in found.items()})
    return {name: np.stack([each[name] for each in of_domains]) for name in of_domains[0]}
