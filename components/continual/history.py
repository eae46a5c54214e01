"""A table of the models that were trained so far."""

from collections.abc import Sequence
from typing import Any

from components.continual.attempt import METRICS_JSON
from components.continual.config import served_name
from components.continual.context import ContinualContext
from components.continual.versions import Record, read_record
from mdctr import storage

_COLUMNS = ('days', 'model', 'kind', 'CTR', 'AUC', 'GAUC', 'PCOC', '')


def history_table(context: ContinualContext) -> str:
    """A table of all evaluated models by their last day: metrics and outcome."""
    rows = [_COLUMNS, *_rows(context)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        '  '.join(
            cell.ljust(width) if column < 3 or column == len(row) - 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return '\n'.join([lines[0], '-' * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def history_markdown(
    context: ContinualContext, notes: Sequence[str] = (), most: int = 500
) -> str:
    """The table of the latest models in Markdown, the newest first.

    Args:
        context: The configuration and its workspace.
        notes: Sentences about the raw log, which come first.
        most: Maximum number of models.
    """
    rows = _rows(context)[::-1]
    lines = [
        f'# Models of {context.name}',
        '',
        *(f'- {note}' for note in notes),
        *([''] if notes else []),
        '| ' + ' | '.join(_COLUMNS) + ' |',
        '| :-- | :-- | :-- | --: | --: | --: | --: | :-- |',
        *('| ' + ' | '.join(row) + ' |' for row in rows[:most]),
    ]
    if not rows:
        lines += ['', 'No model has been trained yet.']
    if len(rows) > most:
        lines += ['', f'And {len(rows) - most:,} earlier ones.']
    return '\n'.join(lines) + '\n'


def _rows(context: ContinualContext) -> list[tuple[str, ...]]:
    judged = sorted(
        _judged(context),
        key=lambda pair: (pair[0].last_day, context.continual.models.index(pair[0].model)),
    )
    return [
        (
            f'{record.first_day} to {record.last_day}',
            served_name(context.name, record.model),
            record.kind,
            *(_shown(values['overall'][name]) for name in ('ctr', 'auc', 'gauc', 'pcoc')),
            'blessed' if values['blessed'] else 'refused',
        )
        for record, values in judged
    ]


def _judged(context: ContinualContext) -> list[tuple[Record, dict[str, Any]]]:
    found = []
    for model in context.continual.models:
        folder = context.training(model)
        for name in storage.list_directory(folder):
            path = storage.join(folder, name, 'evaluation', METRICS_JSON)
            if storage.is_file(path):
                record = read_record(storage.join(folder, name, 'export'))
                if record is not None:
                    found.append((record, storage.read_json(path)))
    return found


def _shown(value: float | None) -> str:
    return '-' if value is None else f'{value:.4f}'
