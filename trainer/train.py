"""A training run: from a dataset to an exported model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

from mdctr import storage
from mdctr.dataset import Dataset, open_dataset
from mdctr.errors import UserError
from mdctr.leases import lease
from mdctr.settings import to_mapping
from trainer.config import TrainConfig
from trainer.data.base_rate import base_log_odds
from trainer.data.examples import Examples
from trainer.distributed.framework import DistributedFramework, join_cluster
from trainer.export.load import WarmStart, build_or_warm_start
from trainer.export.saved_model import export_model, partial_export
from trainer.frameworks import make_framework
from trainer.frameworks.core.base import Framework
from trainer.keras import keras
from trainer.loop.checkpoints import Checkpoints, is_finished
from trainer.loop.custom_gradients import release_custom_gradients
from trainer.loop.interruption import StopRequest, stop_on_sigterm
from trainer.loop.non_finite import NonFinite
from trainer.loop.tensorboard import Logs
from trainer.loop.training_loop import TrainingLoop
from trainer.loop.validation import validate
from trainer.loop.weight_average import WeightAverage

logger = logging.getLogger(__name__)


@release_custom_gradients()
def train(
    dataset: str | Dataset,
    run_directory: str,
    config: TrainConfig,
    train_split: str | Sequence[str] = 'train',
    validation_split: str | Sequence[str] | None = 'validation',
    domains: Sequence[str] | None = None,
    warm_start: WarmStart | None = None,
    source: str | None = None,
) -> str:
    """Trains a model and exports its best epoch.

    A killed run resumes from its last checkpoint when `train` is called with the same
    arguments, and produces the same result as an uninterrupted one. After a finished run, a
    call trains again. While another process trains in the directory, it waits.

    On SIGTERM it finishes its step, saves a checkpoint and raises `TrainingInterrupted`, a
    `SystemExit` of status 143; validation is interrupted, and repeated by the next run. Signals
    are handled in the main thread only.

    If TF_CONFIG makes this process the chief of a cluster, the cluster trains
    (`trainer.distributed`); a worker or parameter server serves and does not return.

    Args:
        dataset: Dataset, or its directory.
        run_directory: Directory or URL for `checkpoints/`, `logs/` (TensorBoard) and `export/`.
            At a URL, they are copies of local files, made as these are written: a run that was
            killed resumes from them on any machine.
        config: Configuration of the run.
        train_split: Name of the training split, or several names of splits to train on as one.
        validation_split: Name of the split, or names of the splits, for early stopping and the
            choice of the best epoch; None to train all epochs and keep the last one.
        domains: Names of the domains to train and validate on; all domains if None.
        warm_start: Exported model from which parameters are loaded, if any.
        source: Directory of an exported model of another domain, on which `ctnet` and
            `dual_embedding` are built. Copies of a model count as the same model.

    Returns:
        The directory of the exported model.

    Raises:
        UserError: There is no such dataset, split, domain, model, framework, optimizer or
            option; a file of the dataset is damaged; a split has no rows; a warm-start or
            source model is missing, damaged or does not fit; `run_directory` contains an
            unfinished run of something else, or cannot be written; or the loss is no longer
            finite.
        TrainingInterrupted: SIGTERM arrived.
    """
    with stop_on_sigterm() as stop:
        return _train(
            open_dataset(dataset),
            run_directory,
            config,
            train_split,
            validation_split,
            domains,
            warm_start,
            source,
            stop,
        )


def _train(
    dataset: Dataset,
    run_directory: str,
    config: TrainConfig,
    train_split: str | Sequence[str],
    validation_split: str | Sequence[str] | None,
    domains: Sequence[str] | None,
    warm_start: WarmStart | None,
    source: str | None,
    stop: StopRequest,
) -> str:
    cluster = join_cluster(config)
    storage.check_writable(run_directory)
    dataset.verify_vocabularies()  # rather than at the export, after hours of training
    checkpoints_directory = storage.join(run_directory, 'checkpoints')
    was_finished = is_finished(checkpoints_directory)
    examples = _examples(dataset, train_split, config, domains)
    validation = (
        None
        if validation_split is None
        else _examples(dataset, validation_split, config, domains)
    )
    with _keras_settings(config), _alone_in(run_directory):
        export = storage.join(run_directory, 'export')
        start = build_or_warm_start(dataset, config.model, examples.splits, warm_start, source)
        identity = {
            'configuration': to_mapping(config),
            'dataset': dataset.manifest.fingerprint,
            'splits': [examples.splits, validation and validation.splits],
            'domains': domains and list(domains),
            'start': start.identity,
            **({} if cluster is None else {'parameter servers': True}),
        }
        if not was_finished and is_finished(checkpoints_directory, identity):
            logger.info('Another process has finished this run in the meantime.')
            return export
        if warm_start is None or warm_start.parts != 'all':
            start.model.set_prior(base_log_odds(examples))
        if cluster is None and config.epochs > 1 and config.framework == 'joint':
            start.model.remember()
        framework = make_framework(config, start.model, examples)
        _check_finish(framework, validation)
        if cluster is not None:
            framework = DistributedFramework(framework, cluster)
        average = (
            WeightAverage(framework.weights(), framework.domain_specific)
            if config.average_weights
            else None
        )
        checkpoints = Checkpoints(checkpoints_directory, identity, framework, average)
        state = checkpoints.restore()
        if state.step:
            logger.info('Continuing at epoch %d, step %d.', state.epoch + 1, state.step)
        else:
            storage.remove_directory(storage.join(run_directory, 'logs'))
        logs = Logs(storage.join(run_directory, 'logs'))
        loop = TrainingLoop(
            config, framework, validation, checkpoints, logs, state, average, stop
        )
        try:
            with stop.deferred():
                loop.run()
            best_epoch = state.best_epoch or 0
            checkpoints.restore_best(best_epoch)
            if validation is not None and framework.finish(validation):
                state.best_metrics = validate(framework, validation)
        except NonFinite as error:
            raise _diverged(error, framework, checkpoints.latest) from None
        logs.embeddings(start.model.manifest.domains, framework.domain_embeddings())
        logs.finish(config, state.best_metrics, state.step)
        logs.close()
        export_model(
            framework.serving_model(),
            export,
            validation or examples,
            config,
            state.best_metrics,
            best_epoch + 1,
            list(dict.fromkeys([*start.splits, *examples.splits])),
        )
        checkpoints.finish()
    return export


@contextlib.contextmanager
def _alone_in(run_directory: str) -> Iterator[None]:
    """Context in which no other process trains in a directory, and its errors are sentences."""
    path = storage.join(run_directory, 'lease')
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(
            lease(path, f'trains {storage.name(run_directory)}', wait=True)
        )
        export = storage.join(run_directory, 'export')
        others = [storage.join(run_directory, name) for name in ('checkpoints', 'logs')]
        for directory in (*others, export, partial_export(export)):
            stack.enter_context(storage.guard(directory, held.check))
        stack.enter_context(storage.reporting_errors(run_directory))
        yield


def _examples(
    dataset: Dataset,
    split: str | Sequence[str],
    config: TrainConfig,
    domains: Sequence[str] | None,
) -> Examples:
    examples = Examples(dataset, split, exclude=config.model.exclude_features, domains=domains)
    if not len(examples):
        of = f' of the domains {", ".join(domains)}' if domains else ''
        raise UserError(
            f'The split {examples.split} of {dataset} has no rows{of}: choose its days so that '
            'it has some.'
        )
    return examples


def _diverged(error: NonFinite, framework: Framework, checkpoint: str | None) -> UserError:
    """Returns the error of a run whose loss or weights are not finite."""
    names = {domain.id: domain.name for domain in framework.examples.manifest.domains}
    domain = (
        'several domains'
        if error.domain is None
        else f'domain {names.get(error.domain, "unseen")}'
    )
    found = (
        'there is no checkpoint yet'
        if checkpoint is None
        else f'the last good checkpoint is {checkpoint}'
    )
    return UserError(
        f'{error.what} ({domain}, learning rate {framework.learning_rate():g}): lower '
        f'train.learning_rate or check the data for extreme values; {found}.'
    )


def _check_finish(framework: Framework, validation: Examples | None) -> None:
    if validation is None and type(framework).finish is not Framework.finish:
        raise UserError(
            f'The framework {framework.config.framework} needs a validation split after the '
            'last epoch: set one, or choose another framework.'
        )


@contextlib.contextmanager
def _keras_settings(config: TrainConfig) -> Iterator[None]:
    """Sets the random seeds, and the precision of the layers created in the context."""
    keras.utils.set_random_seed(config.seed)
    before = keras.mixed_precision.global_policy()
    if config.mixed_precision:
        keras.mixed_precision.set_global_policy('mixed_float16')
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
