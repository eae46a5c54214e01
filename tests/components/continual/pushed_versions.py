"""Pushed versions that are written by hand."""

import json
import os

from components.continual.config import served_name
from components.continual.context import ContinualContext
from components.continual.versions import Record, write_record


def write_version(
    context: ContinualContext, record: Record | None, model: str = '', number: int = 1
):
    """Writes a version without a graph, which says what `record` says; returns its directory.

    Args:
        context: Names of the configuration and its workspace.
        record: Its record; a version of another pipeline has none.
        model: `source` or the target domain, if there is no record.
        number: Number of the version.
    """
    name = served_name(context.name, record.model if record else model)
    directory = os.path.join(context.models, name, str(number))
    os.makedirs(directory)
    with open(os.path.join(directory, 'model.json'), 'w') as file:
        json.dump({'features': [], 'dataset': {'fingerprint': 'f'}}, file)
    if record:
        write_record(directory, record)
    open(os.path.join(directory, 'saved_model.pb'), 'w').close()
    return directory
