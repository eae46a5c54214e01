"""Dataclasses from plain mappings, strictly: configurations are checked when they are read.

Every part of the project declares its settings as a dataclass; YAML files, the parameters
of a Kubeflow component and the command line all become one through `from_mapping`.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from beam_jobs.errors import UserError

T = TypeVar('T')


def setting(default: Any = dataclasses.MISSING, *, minimum: float | None = None,
            maximum: float | None = None, above: float | None = None) -> Any:
    """A dataclass field whose number is checked against bounds when it is read.

    Args:
        default: the value when the key is absent; without one the key is required.
        minimum: the least value allowed.
        maximum: the greatest value allowed.
        above: the value must be greater than this.
    """
    bounds = {'minimum': minimum, 'maximum': maximum, 'above': above}
    if isinstance(default, (list, dict)) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: type(default)(default)
                                 if isinstance(default, (list, dict)) else default,
                                 metadata=bounds)
    return dataclasses.field(default=default, metadata=bounds)


def from_mapping(cls: type[T], values: Any, where: str) -> T:
    """Builds the dataclass `cls` from `values`, checking every key and value.

    Nested dataclasses, optional values, `Literal` choices, lists and dictionaries are
    followed. An integer is taken where a float is wanted; nothing else is converted.

    Args:
        cls: a dataclass.
        values: a mapping, as read from YAML or JSON.
        where: what to call the mapping in an error, e.g. `configs/movielens.yaml`.

    Returns:
        An instance of `cls`.

    Raises:
        UserError: a key that is not declared or is missing, or a value of the wrong type or
            out of its bounds; the sentence names `where`, the key and what is allowed.
    """
    return _build(cls, values, where, '')


def to_mapping(settings: Any) -> dict[str, Any]:
    """The plain mapping that `from_mapping` turns back into an equal dataclass."""
    return dataclasses.asdict(settings)


def _build(cls: type[T], values: Any, where: str, path: str) -> T:
    if not isinstance(values, Mapping):
        raise UserError(f'{where}: {path or "the whole file"} must be a mapping of keys to '
                        f'values, not {_shown(values)}.')
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in values:
        if key not in fields:
            raise UserError(f'{where}: unknown key {_join(path, key)}; allowed here: '
                            f'{", ".join(sorted(fields))}.')
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], where, _join(path, name))
            _check_bounds(field, arguments[name], where, _join(path, name))
        elif (field.default is dataclasses.MISSING
              and field.default_factory is dataclasses.MISSING):
            raise UserError(f'{where}: the key {_join(path, name)} is missing.')
    try:
        return cls(**arguments)
    except ValueError as error:  # raised by the dataclass's own __post_init__
        raise UserError(f'{where}: {path + ": " if path else ""}{error}') from error


def _convert(kind: Any, value: Any, where: str, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where, path)
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool) != any(
                isinstance(choice, bool) for choice in arguments if choice == value):
            raise UserError(f'{where}: {path} must be one of '
                            f'{", ".join(map(str, arguments))}, not {_shown(value)}.')
        return value
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where, path)
    if origin in (list, Sequence, tuple):
        if not isinstance(value, (list, tuple)):
            raise UserError(f'{where}: {path} must be a list, not {_shown(value)}.')
        if origin is tuple and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                raise UserError(f'{where}: {path} must be a list of {len(arguments)} values, '
                                f'not {_shown(value)}.')
            return tuple(_convert(part, item, where, f'{path}[{i}]')
                         for i, (part, item) in enumerate(zip(arguments, value, strict=True)))
        made = [_convert(arguments[0], item, where, f'{path}[{i}]')
                for i, item in enumerate(value)]
        return tuple(made) if origin is tuple else made
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f'{where}: {path} must be a mapping, not {_shown(value)}.')
        return {_convert(arguments[0], key, where, path):
                _convert(arguments[1], item, where, _join(path, key))
                for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f'{where}: {path} must be {_NAMES.get(kind, kind.__name__)}, '
                        f'not {_shown(value)}.')
    return value


def _convert_union(choices: Sequence[Any], value: Any, where: str, path: str) -> Any:
    if value is None and type(None) in choices:
        return None
    kinds = [choice for choice in choices if choice is not type(None)]
    errors = []
    for kind in kinds:
        try:
            return _convert(kind, value, where, path)
        except UserError as error:
            errors.append(error)
    if len(kinds) == 1:
        raise errors[0]
    allowed = ' or '.join(_describe(kind) for kind in kinds)
    raise UserError(f'{where}: {path} must be {allowed}, not {_shown(value)}.')


def _check_bounds(field: dataclasses.Field, value: Any, where: str, path: str) -> None:
    numbers = value if isinstance(value, (list, tuple)) else [value]
    for number in numbers:
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            continue
        bounds = field.metadata
        for name, broken, word in (
                ('minimum', lambda bound, n=number: not n >= bound, 'at least'),
                ('maximum', lambda bound, n=number: not n <= bound, 'at most'),
                ('above', lambda bound, n=number: not n > bound, 'more than')):
            bound = bounds.get(name)
            if bound is not None and broken(bound):
                raise UserError(f'{where}: {path} must be {word} {bound}, not {number}.')


_NAMES = {str: 'text', int: 'a whole number', float: 'a number', bool: 'true or false'}


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) in (list, tuple, Sequence):
        return 'a list'
    if typing.get_origin(kind) is dict or dataclasses.is_dataclass(kind):
        return 'a mapping'
    if typing.get_origin(kind) is typing.Literal:
        return 'one of ' + ', '.join(map(str, typing.get_args(kind)))
    return _NAMES.get(kind, getattr(kind, '__name__', str(kind)))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'


def _join(path: str, key: Any) -> str:
    return f'{path}.{key}' if path else str(key)
