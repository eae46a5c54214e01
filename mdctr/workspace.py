"""Paths in a workspace."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mdctr
from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import model_digest

if TYPE_CHECKING:
    from mdctr.dataset import Dataset


def cache_directory(workspace: str) -> str:
    """The directory of raw data that readers fetch, which all steps and workers can read."""
    return storage.join(workspace, 'cache')


def datasets_directory(workspace: str) -> str:
    """The directory of all datasets, which has a subdirectory for each name."""
    return storage.join(workspace, 'datasets')


def check_name(name: str) -> None:
    """Makes sure that the name of a configuration can be that of a directory.

    Raises:
        UserError: `name` is not a name but a path.
    """
    if not re.fullmatch(r'[\w-]+', name):
        raise UserError(
            f'{name!r} is not the name of a configuration: use letters, digits, - and _.'
        )


def dataset_directory(workspace: str, name: str) -> str:
    """The directory of all versions of the dataset of the configuration `name`.

    Raises:
        UserError: `name` is not a name but a path.
    """
    check_name(name)
    return storage.join(datasets_directory(workspace), name)


def current_dataset(workspace: str, name: str) -> Dataset:
    """The current version of the dataset of the configuration `name`.

    Raises:
        UserError: It has not been built.
    """
    from mdctr.dataset import open_dataset

    return open_dataset(dataset_directory(workspace, name))


def models_directory(workspace: str) -> str:
    """The directory of all pushed models, which has a subdirectory for each name."""
    return storage.join(workspace, 'models')


def validation_directory(workspace: str, name: str, fingerprint: str, config: Any) -> str:
    """The directory in which a dataset is validated.

    Args:
        workspace: Directory of the workspace.
        name: Name of the configuration.
        fingerprint: Fingerprint of the dataset.
        config: Settings of the validation.
    """
    return storage.join(workspace, 'validations', name, _identity(fingerprint, config))


def evaluation_directory(
    model: str, fingerprint: str, config: Any, compared: Sequence[str]
) -> str:
    """The directory in which a pipeline run evaluates a model, next to the model.

    Args:
        model: Directory of the exported model.
        fingerprint: Fingerprint of the dataset.
        config: Settings of the evaluation.
        compared: Digests of the pushed models that it can be compared with.
    """
    identity = _identity([fingerprint, model_digest(model), *compared], config)
    return storage.join(storage.parent(model), 'evaluations', identity)


def run_directory(workspace: str, name: str, data: str, config: Any, number: int) -> str:
    """The directory of a training run.

    Runs with the same data, settings and version of mdctr are numbered.

    Args:
        workspace: Directory of the workspace.
        name: Name of the configuration.
        data: Fingerprint of the dataset, and of anything else that the run depends on.
        config: Training settings.
        number: Number of the run, from 1.
    """
    method = re.sub(r'[^\w-]', '_', f'{config.model.name}-{config.framework}')
    run = f'{method}-{_identity(data, config)}-{number}'
    return storage.join(workspace, 'training', name, run)


def _identity(data: str | list[str], config: Any) -> str:
    """A short digest of data, settings and the version of mdctr."""
    from mdctr.settings import to_mapping

    identity = json.dumps([data, to_mapping(config), mdctr.__version__], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:8]
