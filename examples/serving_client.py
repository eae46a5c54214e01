"""Scores impressions by a pushed model in TensorFlow Serving, over its REST API.

    python examples/serving_client.py http://localhost:8501/v1/models/shops < impressions.jsonl

Each line is an impression: a JSON object with the domain and the raw value of every feature.
The output has the probability of a click for each. Only Python's standard library is used.
"""

import argparse
import json
import sys
import urllib.request
from typing import Any

BATCH_SIZE = 1000


def scores(url: str, impressions: list[dict[str, Any]], timeout: float = 10) -> list[float]:
    """The probability of a click of each impression.

    Args:
        url: Address of the model, `http://HOST:8501/v1/models/NAME`.
        impressions: Raw values by name: text for categorical features and the domain, lists of
            text for sequences and histories, numbers for numeric features and statistics.
        timeout: Seconds to wait for the server.
    """
    body = {'signature_name': 'serving_default', 'instances': padded(impressions)}
    request = urllib.request.Request(
        f'{url}:predict',
        data=json.dumps(body).encode(),
        headers={'Content-Type': 'application/json'},
    )
    with urllib.request.urlopen(request, timeout=timeout) as response:
        predictions: list[float] = json.load(response)['predictions']
    return predictions


def padded(impressions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Impressions whose lists are equally long: a request has tensors, not ragged rows."""
    lengths: dict[str, int] = {}
    for impression in impressions:
        for name, value in impression.items():
            if isinstance(value, list):
                lengths[name] = max(lengths.get(name, 1), len(value))
    return [
        {
            name: value + [''] * (lengths[name] - len(value)) if name in lengths else value
            for name, value in impression.items()
        }
        for impression in impressions
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('url', help='address of the model')
    url = parser.parse_args().url
    impressions = [json.loads(line) for line in sys.stdin if line.strip()]
    for first in range(0, len(impressions), BATCH_SIZE):
        for score in scores(url, impressions[first : first + BATCH_SIZE]):
            print(f'{score:.6f}')


if __name__ == '__main__':
    main()
