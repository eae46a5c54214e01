"""How often evaluation refuses a model that is exactly as good as the pushed one.

Both models score the same simulated impressions with independent errors of the same size, so
that every refusal is a false one. Prints, for several numbers of domains, the share of pushes
that are refused at the defaults of the `evaluate` section with `max_gauc_drop: 0.005`, and with
all margins at 0, where the rate of `false_refusal_rate` is used up.

    python -m tests.benchmarks.false_refusals --trials 200
"""

import argparse
import math

import numpy as np

from beam_jobs.evaluation.blessing import PUSHED, check_thresholds
from beam_jobs.evaluation.config import EvaluateConfig
from beam_jobs.evaluation.evaluate import measure
from mdctr.settings import parse

SIZES = ((1, 4_000), (5, 8_000), (30, 45_000), (100, 150_000))
CONFIGS = {
    'defaults': {'max_gauc_drop': 0.005},
    'margins of 0': {
        'max_gauc_drop': 0.0,
        'max_domain_gauc_drop': 0.0,
        'max_domain_pcoc_drift': 0.0,
    },
}


def refused(seed: int, domains: int, rows: int, config: EvaluateConfig) -> bool:
    """Whether one of two equally good models refuses the other."""
    rng = np.random.default_rng(seed)
    domain = rng.integers(1, domains + 1, rows)
    users = rng.integers(0, rows // 12 + 1, rows)
    logits = rng.normal(-1.5, 1.0, rows)
    clicks = (rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    names = {number: f'domain {number}' for number in range(1, domains + 1)}
    model, pushed = (
        measure(
            users,
            clicks,
            1 / (1 + np.exp(-(logits + rng.normal(size=rows)))),
            np.ones(rows),
            domain,
            names,
            config,
        )
        for _ in range(2)
    )
    return not all(check.passed for check in check_thresholds(model, {PUSHED: pushed}, config))


def main() -> None:
    """Prints a table of refusals."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--trials', type=int, default=200, help='pushes (%(default)s)')
    parser.add_argument(
        '--most-rows', type=int, default=150_000, help='largest log (%(default)s)'
    )
    arguments = parser.parse_args()
    print(f'{"margins":>13}{"domains":>9}{"rows":>9}{"refused":>9}  95 % interval')
    for title, values in CONFIGS.items():
        config = parse(EvaluateConfig, values, title)
        for domains, rows in SIZES:
            if rows > arguments.most_rows:
                continue
            share = np.mean(
                [refused(seed, domains, rows, config) for seed in range(arguments.trials)]
            )
            half = 1.96 * math.sqrt(share * (1 - share) / arguments.trials)
            print(
                f'{title:>13}{domains:>9}{rows:>9}{share:>9.3f}  '
                f'{max(0.0, share - half):.3f} to {share + half:.3f}',
                flush=True,
            )


if __name__ == '__main__':
    main()
