"""Registries of components by name; users refer to their own components as `module:Class`.

Nothing is imported before a component is loaded: the modules of models and frameworks load
TensorFlow.
"""

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from mdctr.errors import UserError
from mdctr.settings import Settings

T = TypeVar('T')


class Registry(Mapping[str, str], Generic[T]):
    """Components of one kind: a mapping from names to paths `module:Class`.

    Args:
        kind: What the components are, for errors: `model`, `reader`.
        base: Path of their base class. Their constructors must accept its arguments.
        paths: Paths of the built-in components by name.
    """

    def __init__(self, kind: str, base: str, paths: Mapping[str, str]):
        self.kind, self._base, self._paths = kind, base, dict(paths)

    def __getitem__(self, name: str) -> str:
        return self._paths[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, name: str) -> type[T]:
        """The class of a component.

        Args:
            name: Name of a built-in component, or `module:Class` of a user's own. The module
                is imported, also from the current directory.

        Raises:
            UserError: There is no such component, its module cannot be imported, or it is not
                a complete subclass of the base class.
        """
        if name in self._paths:
            built_in: type[T] = _attribute(self._paths[name])
            return built_in
        if ':' not in name:
            raise UserError(unknown_name(self.kind, name, self._paths))
        component: type[T] = load_user_component(self.kind, name)
        _check_subclass(self.kind, name, component, _attribute(self._base), self._base)
        return component


def unknown_name(kind: str, name: str, names: Mapping[str, Any] | list[str]) -> str:
    """The error message for a name that is not in a registry."""
    close = difflib.get_close_matches(name, names, n=1)
    guess = f'did you mean {close[0]}? There' if close else 'there'
    return (
        f'There is no {kind} {name}; {guess} are {", ".join(names)}, and module:Class for one '
        'of your own.'
    )


def load_user_component(kind: str, name: str) -> Any:
    """Loads a user's component, `module:attribute`.

    Raises:
        UserError: The module cannot be imported, or does not define it.
    """
    module_name, _, attribute = name.partition(':')
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises
        raise UserError(
            f'The {kind} {name} cannot be imported: {_one_line(error)}; check the name, and '
            'that the module is in the current directory or installed.'
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UserError(
            f'There is no {kind} {name}: the module {module_name} ({module.__file__}) does not '
            f'define {attribute}.'
        ) from None


def _attribute(path: str) -> Any:
    module, _, attribute = path.partition(':')
    return getattr(importlib.import_module(module), attribute)


def _check_subclass(kind: str, name: str, component: Any, base: type, path: str) -> None:
    if not (isinstance(component, type) and issubclass(component, base)):
        raise UserError(f'{name} is not a {kind}: it must be a subclass of {path}.')
    missing = sorted(getattr(component, '__abstractmethods__', ()))
    if missing:
        raise UserError(f'The {kind} {name} does not implement {", ".join(missing)}.')
    options = getattr(component, 'Options', Settings)
    if not (isinstance(options, type) and issubclass(options, Settings)):
        raise UserError(
            f'The {kind} {name} has Options that are not a subclass of mdctr.settings:Settings.'
        )
    constructor: Any = vars(base).get('__init__', object.__init__)
    arguments = [
        parameter.name
        for parameter in inspect.signature(constructor).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    try:
        inspect.signature(component.__init__).bind(*arguments)
    except TypeError:
        raise UserError(
            f'The {kind} {name} cannot be constructed: its constructor must accept '
            f'({", ".join(arguments[1:])}), as that of {path}.'
        ) from None


def _one_line(error: BaseException) -> str:
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}' if text else type(error).__name__
