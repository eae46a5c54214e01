"""Scores a split with a model in training, for early stopping and the logs."""

from __future__ import annotations

from typing import Any

import numpy as np

from beam_jobs.metrics import domain_metrics
from trainer.examples import Examples, prefetch
from trainer.frameworks.base import Framework
from trainer.probability import probability


def validate(framework: Framework, examples: Examples, batch_size: int = 8192
             ) -> dict[str, Any]:
    """The metrics of `beam_jobs.metrics.domain_metrics` of a split, overall and per domain.

    They are those of the whole log: where negatives were down-sampled, scores are corrected
    and each negative that was kept stands for those that were not.
    """
    kept = examples.manifest.keep_negatives
    parts = []
    for batch in prefetch(examples.in_order(batch_size)):
        logits = framework.predict(batch)
        domain = np.full(len(logits), int(batch['domain']), np.int64)
        parts.append((domain, batch['user_key'].numpy(), batch['click'].numpy(),
                      probability(logits, kept).numpy()))
    domains, users, clicks, scores = (np.concatenate(column)
                                      for column in zip(*parts, strict=True))
    names = {domain.id: domain.name for domain in examples.manifest.domains}
    return domain_metrics(domains, users, clicks, scores, names,
                          examples.manifest.row_weights(clicks))


def stopping_value(metrics: dict[str, Any], by: str = 'gauc') -> tuple[str, float]:
    """What early stopping compares, greater being better: its name and value.

    The overall GAUC, if it is to be this; AUC, if it is, or where no user has both classes;
    else, and where the split has one class, minus the log loss.
    """
    overall = metrics['overall']
    names = ('gauc', 'auc')
    for name in names[names.index(by):] if by in names else ():
        if overall[name] is not None:
            return name, overall[name]
    return 'log_loss', -overall['log_loss']
