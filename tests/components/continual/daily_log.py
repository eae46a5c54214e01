"""A log of a large shop and two small ones, with a file per day, and its configuration."""

import pathlib

import numpy as np

from beam_jobs.config import DatasetConfig
from beam_jobs.evaluation.config import EvaluateConfig
from components.continual.attempt import Attempt
from components.continual.config import ContinualConfig
from components.continual.context import ContinualContext
from components.continual.extend import next_period
from components.continual.run import evaluate_model, push_model, train_model
from mdctr.settings import parse

FIRST = 1577836800  # 2020-01-01
MODEL = {'embedding_dim': 4, 'hidden_units': [8]}


def write_day(
    folder: pathlib.Path,
    number: int,
    shops=('large', 'small', 'tiny'),
    rows: int = 400,
    seed: int = 0,
) -> None:
    """The file of the day `number` from 1; users like items of their own parity."""
    draw = np.random.default_rng([number, seed])
    shares = {'large': 0.6, 'small': 0.25, 'tiny': 0.15, 'huge': 0.3}
    share = np.array([shares[shop] for shop in shops])
    user, item = draw.integers(0, 40 + 2 * number, rows), draw.integers(0, 30 + number, rows)
    shop = draw.choice(shops, rows, p=share / share.sum())
    time = FIRST + (number - 1) * 86400 + np.sort(draw.integers(0, 86400, rows))
    click = draw.random(rows) < 1 / (1 + np.exp(0.8 - (user % 2 == item % 2) * 1.6))
    lines = ['user_id,item_id,shop,timestamp,click']
    lines += [
        f'u{u},i{i},{s},{t},{int(c)}'
        for u, i, s, t, c in zip(user, item, shop, time, click, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'2020-01-{number:02d}.csv').write_text('\n'.join(lines) + '\n')


def settings(log: pathlib.Path, **continual) -> dict:
    """A configuration as a user would write it; `continual` changes that section."""
    base = {'model': {'name': 'mlp', **MODEL}, 'batch_size': 64, 'checkpoint_steps': 2}
    return {
        'name': 'shops',
        'dataset': {
            'reader': 'generic',
            'inputs': [str(log / '{day}.csv')],
            'domain_columns': ['shop'],
            'user_buckets': 2,
            'extendable': True,
            'split': {
                'by': 'periods',
                'periods': 1,
                'period_days': 1,
                'first_day': '2020-01-01',
            },
            'features': [
                {'name': 'user_id', 'owner': 'user'},
                {'name': 'item_id', 'owner': 'item'},
                {
                    'name': 'recent',
                    'owner': 'user',
                    'kind': 'history',
                    'feature': 'item_id',
                    'max_length': 6,
                },
            ],
        },
        'evaluate': {'max_gauc_drop': 1.0, 'min_impressions': 10, 'bootstrap_replicates': 0},
        'continual': {
            'source_domains': ['large'],
            'target_domains': ['small'],
            'source_train': base,
            'base_train': base,
            'target_train': {
                **base,
                'model': {'name': 'ctnet', **MODEL, 'options': {'target_tower': 'mlp'}},
            },
            **continual,
        },
    }


class Home:
    """A configuration in a workspace, run in this process, step by step.

    Attributes:
        results: What `walk` found: each model's result in each period.
    """

    def __init__(self, values: dict, workspace: pathlib.Path):
        self.dataset = parse(DatasetConfig, values['dataset'], 'test')
        self.evaluate = parse(EvaluateConfig, values['evaluate'], 'test')
        self.context = ContinualContext(
            values['name'],
            parse(ContinualConfig, values['continual'], 'test'),
            str(workspace),
        )
        self.results: list[dict] = []

    def find(self, report=lambda sentence: None):
        """The next period, or None; `report` is called with each sentence about the log."""
        return next_period(self.context, self.dataset, self.evaluate, report=report)

    def train(self, model: str, period) -> Attempt | str:
        """A model of the period."""
        return train_model(self.context, model, period.number)

    def finish(self, attempt: Attempt):
        """Evaluates the attempt and pushes it if it is blessed."""
        evaluate_model(self.context, attempt, self.evaluate)
        return push_model(self.context, attempt)

    def period(self) -> dict | None:
        """Trains a period; returns each model's result, None if there was nothing to do."""
        period = self.find()
        if period is None:
            return None
        results = {}
        for model in self.context.continual.models:
            attempt = self.train(model, period)
            results[model] = attempt if isinstance(attempt, str) else self.finish(attempt)
        return results

    def walk(self) -> None:
        """Trains periods until none is pending."""
        while (period := self.period()) is not None:
            self.results.append(period)

    def newest(self, model: str):
        """The newest version of a model."""
        return self.context.pushed.newest(model)
