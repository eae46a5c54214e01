"""Validation of a model in training, for early stopping and the logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from mdctr.metrics import domain_metrics
from trainer.data.batching import Batch
from trainer.data.examples import Examples
from trainer.data.prefetch import prefetch
from trainer.keras import tf
from trainer.models.probability import probability


class Scorer(Protocol):
    """What scores batches of one domain, such as a framework."""

    def predict(self, batch: Batch) -> tf.Tensor:
        """Logits [batch] of a batch."""


def validate(
    framework: Scorer,
    examples: Examples,
    batch_size: int = 8192,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Computes `mdctr.metrics.domain_metrics` of a split, overall and per domain.

    Where negatives were down-sampled, the metrics are those of the whole log: scores are
    corrected, and each remaining negative is weighted by the inverse of the sampling rate.

    Args:
        framework: Framework whose model scores the split.
        examples: Validation split.
        batch_size: Rows per batch.
        after_batch: Function called after each batch; its exceptions end the validation.

    Returns:
        Metrics by name: `overall`, and `domains` by domain name.
    """
    kept = examples.manifest.keep_negatives
    parts = []
    for batch in prefetch(examples.in_order(batch_size)):
        logits = framework.predict(batch)
        domain = np.full(len(logits), int(batch['domain']), np.int64)
        parts.append(
            (
                domain,
                batch['user_key'].numpy(),
                batch['click'].numpy(),
                probability(logits, kept).numpy(),
            )
        )
        after_batch()
    domains, users, clicks, scores = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    names = {domain.id: domain.name for domain in examples.manifest.domains}
    return domain_metrics(
        domains, users, clicks, scores, names, examples.manifest.row_weights(clicks)
    )


def stopping_value(metrics: dict[str, Any], by: str = 'gauc') -> tuple[str, float]:
    """Returns the name and value of the early-stopping metric; a greater value is better.

    It falls back to the overall AUC where GAUC is undefined (no user has both classes), and to
    the negative log loss where AUC is (the split has one class).

    Args:
        metrics: Metrics as `validate` returns them.
        by: Configured metric: `gauc`, `auc` or `log_loss`.
    """
    overall = metrics['overall']
    names = ('gauc', 'auc')
    for name in names[names.index(by) :] if by in names else ():
        if overall[name] is not None:
            return name, overall[name]
    return 'log_loss', -overall['log_loss']
