"""The click rate that an untrained model predicts."""

from __future__ import annotations

import math

from trainer.data.examples import Examples


def base_log_odds(examples: Examples) -> float:
    """Returns the log-odds of a click in the training rows, from the manifest's counts.

    Half a click and half a row without a click are added, so that rows of a single class have
    finite log-odds. The result is 0 if the manifest counts none of the rows.
    """
    manifest, domains = examples.manifest, set(examples.domains)
    names = [domain.name for domain in manifest.domains if domain.id in domains]
    splits = [manifest.splits[name] for name in examples.splits]
    rows = sum(split.examples.get(name, 0) for split in splits for name in names)
    clicks = sum(split.clicks.get(name, 0) for split in splits for name in names)
    return math.log((clicks + 0.5) / (rows - clicks + 0.5)) if rows else 0.0
