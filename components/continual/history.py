"""What has been trained so far, as a table."""

import glob
import json
import os

from components.continual.attempt import METRICS_JSON
from components.continual.config import served_name
from components.continual.context import Context
from components.continual.versions import Record, read_record


def history_table(context: Context) -> str:
    """Every model that was trained and judged, by its last day: figures and what came of it."""
    rows = [('days', 'model', 'kind', 'CTR', 'AUC', 'GAUC', 'PCOC', '')]
    for record, judged in sorted(_judged(context), key=lambda pair: (
            pair[0].last_day, context.continual.models.index(pair[0].model))):
        overall = judged['overall']
        rows.append((f'{record.first_day} to {record.last_day}',
                     served_name(context.name, record.model), record.kind,
                     *(_shown(overall[name]) for name in ('ctr', 'auc', 'gauc', 'pcoc')),
                     'blessed' if judged['blessed'] else 'refused'))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ['  '.join(cell.ljust(width) if column < 3 or column == len(row) - 1
                       else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths, strict=True))
                       ).rstrip() for row in rows]
    return '\n'.join([lines[0], '-' * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _judged(context: Context) -> list[tuple[Record, dict]]:
    found = []
    for model in context.continual.models:
        folder = glob.escape(context.training(model))
        for path in glob.glob(os.path.join(folder, '*', 'evaluation', METRICS_JSON)):
            record = read_record(os.path.join(os.path.dirname(os.path.dirname(path)), 'export'))
            if record is not None:
                with open(path, encoding='utf-8') as file:
                    found.append((record, json.load(file)))
    return found


def _shown(value: float | None) -> str:
    return '-' if value is None else f'{value:.4f}'
