"""Checks the components that a configuration names, before any work is done.

A reader, model, framework or optimizer may be defined by the user (`module:Class`); its module
is imported here. Nothing is built, and no device is used.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mdctr.errors import UserError
from mdctr.key_path import KeyPath
from mdctr.settings import Settings, parse
from mdctr.settings_errors import origin_of
from trainer.config import ModelConfig, TrainConfig

if TYPE_CHECKING:
    from pipeline.config import RunConfig

S = TypeVar('S', bound=Settings)
T = TypeVar('T')


def check_components(
    config: 'RunConfig', where: str, origins: Mapping[KeyPath, str] | None = None
) -> None:
    """Loads the reader, models, frameworks and optimizers of a configuration.

    Args:
        config: The configuration.
        where: Name of the configuration in errors.
        origins: Origins of its values, as for `mdctr.settings.parse`.

    Raises:
        UserError: A component does not exist or cannot be used, or does not take its options.
    """
    checker = _Checker(where, origins or {})
    checker.check_reader(config.dataset.reader, config.dataset.reader_options)
    for path, train in _train_sections(config):
        checker.check_training(train, path)


def _train_sections(config: 'RunConfig') -> Iterator[tuple[KeyPath, TrainConfig]]:
    """The training sections that the pipeline uses, with their paths."""
    if config.continual is None:
        yield ('train',), config.train
        return
    for name in ('source_train', 'base_train', 'target_train'):
        yield ('continual', name), getattr(config.continual, name)


class _Checker:
    """Checks components, and adds the origin of the value to an error."""

    def __init__(self, where: str, origins: Mapping[KeyPath, str]):
        self._where, self._origins = where, origins

    def check_reader(self, name: str, options: dict[str, object]) -> None:
        from beam_jobs.readers import READERS

        reader = self._at(('dataset', 'reader'), lambda: READERS.load(name))
        self._parse(reader.Options, options, ('dataset', 'reader_options'))

    def check_training(self, train: TrainConfig, path: KeyPath) -> None:
        from trainer.frameworks import FRAMEWORKS
        from trainer.optimizers.row_wise import check_optimizer

        self._check_model(train.model, (*path, 'model'))
        framework = self._at((*path, 'framework'), lambda: FRAMEWORKS.load(train.framework))
        options_path = (*path, 'framework_options')
        options = self._parse(framework.Options, train.framework_options, options_path)
        # A framework may have its own optimizers, each with options in `<optimizer>_options`.
        for section, prefix, key in (
            (train, path, 'optimizer'),
            (options, options_path, 'inner_optimizer'),
            (options, options_path, 'outer_optimizer'),
        ):
            name = getattr(section, key, None)
            if name is not None:
                hyper_parameters = getattr(section, f'{key}_options')
                self._at((*prefix, key), partial(check_optimizer, name, {}))
                self._at(
                    (*prefix, f'{key}_options'),
                    partial(check_optimizer, name, hyper_parameters),
                )

    def _check_model(self, model: ModelConfig, path: KeyPath) -> None:
        from trainer.models import MODELS

        architecture = self._at((*path, 'name'), lambda: MODELS.load(model.name))
        self._parse(architecture.Options, model.options, (*path, 'options'))

    def _at(self, path: KeyPath, check: Callable[[], T]) -> T:
        try:
            return check()
        except UserError as error:
            origin = origin_of(path, self._where, self._origins)
            raise UserError(f'{origin}: {error}') from error.__cause__

    def _parse(self, cls: type[S], values: object, path: KeyPath) -> S:
        return parse(cls, values, self._where, self._origins, path=path)
