"""Prints an evaluation."""

from mdctr import storage
from pipeline.cli.metrics_table import metrics_table


def print_evaluation(directory: str) -> None:
    """Prints the metrics of an evaluation and whether the model is blessed.

    Args:
        directory: Directory of the evaluation.
    """
    evaluation = storage.read_json(storage.join(directory, 'metrics.json'))
    print(metrics_table(evaluation))
    verdict = 'Blessed' if evaluation['blessed'] else 'Not blessed'
    print(f'\n{verdict}: {"; ".join(evaluation["reasons"])}')
