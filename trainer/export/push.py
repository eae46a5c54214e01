"""Pushes a blessed model as the next version in the directory that a model server watches.

<destination>/<name>/<version>/     what TensorFlow Serving and KServe read
<destination>/<name>/current.json   what was pushed

`mdctr.pushed_models` lists the versions.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import check_files, model_digest, read_model_json
from mdctr.pushed_models import (
    greatest_version,
    latest_version,
    push_record,
    version_number,
)
from trainer.export.publish import publish, pushing, record_versions


@dataclass(frozen=True)
class PushResult:
    """The outcome of a push.

    Attributes:
        pushed: Whether the model is the newest version now.
        version: Number of that version.
        path: Directory of that version.
        reason: The outcome in one sentence.
    """

    pushed: bool
    version: int | None
    path: str | None
    reason: str


def push(
    model: str,
    evaluation: str,
    destination: str,
    name: str,
    expected: int | None = None,
    again: bool = False,
) -> PushResult:
    """Pushes the model as the next version if its evaluation blessed it.

    The verdict applies to one model, one dataset and one pushed version, by their digests:
    anything else is refused. The files of the model must have the digests in its `model.json`,
    and a fresh process loads the SavedModel, which must score its golden batch as training
    did. A model that is the newest version already is not pushed again, nor is one that was
    rolled back, or removed while it was served.

    Args:
        model: Directory of the exported model.
        evaluation: Directory of its evaluation.
        destination: Directory above the models' names.
        name: Name of the pushed model.
        expected: Greatest version number when the model was evaluated (0 if there was none),
            where the caller knows it. If another number has been taken since, the model is
            not pushed.
        again: Whether to push a model that was rolled back or removed.

    Raises:
        UserError: There is no model or evaluation, the evaluation is of another model or
            dataset, the model has changed since its export or does not score its golden batch,
            or the destination cannot be written.
    """
    with storage.reporting_errors(model):
        verdict = _read_verdict(evaluation)
        described = read_model_json(model)
        digest = model_digest(model)
        _check_subject(model, digest, described, evaluation, verdict)
        failed = [check['reason'] for check in verdict['checks'] if not check['passed']]
        if failed or not verdict['blessed']:
            reasons = failed or verdict['reasons']
            return _not_pushed(f'the model is not blessed: {"; ".join(reasons)}.')
    with storage.reporting_errors(storage.join(destination, name)):
        outcome = _already_decided(destination, name, digest, verdict, again)
        if outcome is not None:
            if outcome.pushed:
                record_versions(destination, name)
            return outcome
        storage.check_writable(storage.join(destination, name))
        with storage.local_directory(model) as local:
            check_files(local)
            _check_golden(local)
            with pushing(destination, name):
                # Another push may have come first while the golden batch was scored.
                outcome = _already_decided(destination, name, digest, verdict, again)
                if outcome is not None:
                    return outcome
                greatest = greatest_version(destination, name)
                if expected not in (None, greatest):
                    return _not_pushed(
                        f'version {greatest} of {name} was pushed by another run after version '
                        f'{expected}, with which this model was compared.'
                    )
                path = publish(destination, name, local)
    version = version_number(path)
    return PushResult(True, version, path, f'Pushed {name} version {version} to {path}.')


def _already_decided(
    destination: str, name: str, digest: str, verdict: dict[str, Any], again: bool
) -> PushResult | None:
    """Returns the outcome if the newest version is this model, or not the compared one."""
    newest = latest_version(destination, name)
    served = model_digest(newest) if newest else None
    if newest is not None and served == digest:
        version = version_number(newest)
        return PushResult(
            True, version, newest, f'{name} version {version} is this model already.'
        )
    record = push_record(destination, name)
    if digest in record.withdrawn and not again:
        version = max(number for number, each in record.digests.items() if each == digest)
        return _not_pushed(
            f'this model was version {version} of {name}, and was rolled back or removed; '
            '`mdctr push --again` pushes it anyway.'
        )
    if served == (verdict['pushed'] or {}).get('digest'):
        return None
    if newest is None:
        return _not_pushed(
            f'the model was compared with a version of {name} that is no longer there; '
            'evaluate it again.'
        )
    return _not_pushed(
        f'version {version_number(newest)} of {name} is served, which is not the one that '
        'the model was compared with; evaluate it again.'
    )


def _not_pushed(reason: str) -> PushResult:
    return PushResult(False, None, None, f'Not pushed: {reason}')


def _read_verdict(evaluation: str) -> dict[str, Any]:
    path = storage.join(evaluation, 'metrics.json')
    try:
        values = storage.read_json(path)
        if values['blessed'] not in (True, False) or not isinstance(values['reasons'], list):
            raise ValueError('it contains no verdict')
        for check in values['checks']:
            check['reason'], check['passed']
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{evaluation} does not contain an evaluation ({path}: {error!r}): run '
            '`mdctr evaluate` first.'
        ) from None
    return dict(values)


def _check_subject(
    model: str,
    digest: str,
    described: dict[str, Any],
    evaluation: str,
    verdict: dict[str, Any],
) -> None:
    """Refuses a verdict on another model or dataset, or one that does not name its subject."""
    try:
        evaluated = verdict['model']['digest']
        dataset = verdict['dataset']
        fingerprints = {dataset['fingerprint'], *dataset['extends']}
        if verdict['pushed'] is not None:
            verdict['pushed']['digest']
    except (KeyError, TypeError) as error:
        raise UserError(
            f'The evaluation {evaluation} does not name the model, the dataset and the pushed '
            f'version that it is about ({error!r}): evaluate the model again.'
        ) from None
    if evaluated != digest:
        raise UserError(
            f'The evaluation {evaluation} is of another model than {model}: evaluate this '
            'model first.'
        )
    if described['dataset']['fingerprint'] not in fingerprints:
        raise UserError(
            f'The model {model} was trained on another dataset than the one that {evaluation} '
            'is about: evaluate it on its own dataset, or on one that extends it.'
        )


def _check_golden(model: str) -> None:
    check = subprocess.run(
        [sys.executable, '-m', 'trainer.export.golden', os.path.abspath(model)],
        capture_output=True,
        text=True,
        check=False,
    )
    if check.returncode:
        output = check.stdout.strip().splitlines() or check.stderr.strip().splitlines()
        reason = output[-1] if output else f'the check ended with {check.returncode}'
        raise UserError(f'Not pushed: {reason.rstrip(".")}; train and export the model again.')
