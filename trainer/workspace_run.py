"""Training in a workspace, where a finished run is reused and an interrupted one is resumed."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from typing import TYPE_CHECKING, Any

from mdctr import storage
from mdctr.exported_model import MODEL_JSON, model_digest, model_problem
from mdctr.workspace import run_directory

if TYPE_CHECKING:
    from mdctr.dataset import Dataset
    from trainer.config import TrainConfig

logger = logging.getLogger(__name__)


def train_in_workspace(
    dataset: Dataset,
    workspace: str,
    name: str,
    config: TrainConfig,
    *,
    again: bool = False,
    **start: Any,
) -> str:
    """Trains a model, unless a finished run of the workspace has trained the same one.

    Runs with the same dataset, settings and version of mdctr, which start from the same models,
    are numbered. The latest finished one is reused if its export is complete and unchanged; a
    damaged export is reported. Otherwise the run after the finished ones is started or resumed.

    Args:
        dataset: Dataset to train on.
        workspace: Directory of the workspace.
        name: Name of the configuration.
        config: Training settings.
        again: Whether to train even if there is a finished run.
        **start: Arguments of `trainer.train.train` that select rows and models to start from.

    Returns:
        The directory of the exported model.

    Raises:
        UserError: As for `trainer.train.train`.
    """
    with storage.reporting_errors(workspace):
        data = _data(dataset, start)
        finished = []
        for number in itertools.count(1):
            run = run_directory(workspace, name, data, config, number)
            if not _has_finished(run):
                break
            finished.append(run)
        reused = None if again else _latest_intact(finished)
    if reused is not None:
        logger.info(
            'Reusing the model %s, trained on this dataset with these settings; --again trains '
            'another one.',
            reused,
        )
        return reused
    from trainer.train import train

    return train(dataset, run, config, **start)


def _data(dataset: Dataset, start: dict[str, Any]) -> str:
    """The text that identifies the rows of a run and the models that it starts from."""
    start = dict(start)
    if start.get('source') is not None:
        start['source'] = model_digest(start['source'])
    if start.get('warm_start') is not None:
        digest = model_digest(start['warm_start'].model)
        start['warm_start'] = dataclasses.replace(start['warm_start'], model=digest)
    fingerprint = dataset.manifest.fingerprint
    return f'{fingerprint} {start!r}' if start else fingerprint


def _has_finished(run: str) -> bool:
    """Whether a run has exported its model, even if files of the export are missing now."""
    return any(
        storage.exists(storage.join(run, *path))
        for path in (('export', MODEL_JSON), ('checkpoints', 'finished'))
    )


def _latest_intact(runs: list[str]) -> str | None:
    """The export of the latest run that is not damaged."""
    for run in reversed(runs):
        export = storage.join(run, 'export')
        problem = model_problem(export, contents=True)
        if problem is None:
            return export
        logger.warning('The model %s is damaged (%s): it is not reused.', export, problem)
    return None
