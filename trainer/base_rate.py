"""The share of clicks that a model starts at."""

from __future__ import annotations

import math

from trainer.examples import Examples


def base_log_odds(examples: Examples) -> float:
    """The log-odds of a click among training rows, by the manifest's counts.

    Half a click is added on either side, so that rows of one class give a number too; 0, the
    odds of a model that knows nothing, where the manifest counts none of the rows.
    """
    names = [domain.name for domain in examples.manifest.domains
             if domain.id in set(examples.domains)]
    splits = [examples.manifest.splits[name] for name in examples.splits]
    rows, clicks = (sum(counts.get(name, 0) for counts in each for name in names)
                    for each in ([split.examples for split in splits],
                                 [split.clicks for split in splits]))
    return math.log((clicks + 0.5) / (rows - clicks + 0.5)) if rows else 0.0
