"""Builds a dataset, trains a model and evaluates it, without a configuration file.

    python examples/train_in_python.py log.csv runs

The log is CSV with the columns user_id, item_id, shop, timestamp (seconds) and click.
"""

import argparse
import os

from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    HistoryFeature,
    SplitConfig,
    StatisticFeature,
)
from beam_jobs.evaluation.config import EvaluateConfig
from beam_jobs.evaluation.evaluate import evaluate
from trainer.config import ModelConfig, TrainConfig
from trainer.train import train


def dataset_config(log: str) -> DatasetConfig:
    """A dataset whose domain is the shop, split by time (AdaSparse 4.1.1)."""
    return DatasetConfig(
        reader='generic',
        inputs=[log],
        domain_columns=['shop'],
        split=SplitConfig(by='time', fractions=(0.7, 0.15, 0.15)),
        features=[
            CategoricalFeature(name='user_id', owner='user'),
            CategoricalFeature(name='item_id', owner='item'),
            HistoryFeature(name='recent_items', owner='user', feature='item_id', max_length=10),
            StatisticFeature(name='item_ctr', owner='item', group_by='item_id'),
            CategoricalFeature(name='hour'),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('log', help='CSV file')
    parser.add_argument('workspace', help='directory of the results')
    arguments = parser.parse_args()

    directory = os.path.join(arguments.workspace, 'dataset')
    cache = os.path.join(arguments.workspace, 'cache')
    dataset = build_dataset(dataset_config(arguments.log), 'shops', directory, cache)
    print('Domains:', ', '.join(domain.name for domain in dataset.manifest.domains))

    config = TrainConfig(
        model=ModelConfig(name='star', embedding_dim=8, hidden_units=[32, 16]),
        batch_size=256,
        learning_rate=0.01,
        epochs=2,
    )
    model = train(dataset, os.path.join(arguments.workspace, 'run'), config)

    output = os.path.join(arguments.workspace, 'evaluation')
    evaluation = evaluate(dataset, model, output, EvaluateConfig(min_auc=0.5))
    for domain, metrics in evaluation.metrics['domains'].items():
        print(f'{domain}: AUC {metrics["auc"]:.4f}, PCOC {metrics["pcoc"]:.3f}')
    print('Blessed' if evaluation.blessed else f'Not blessed: {evaluation.reasons}')


if __name__ == '__main__':
    main()
