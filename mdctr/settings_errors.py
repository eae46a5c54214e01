"""Turns pydantic's errors into one sentence for the user: what is wrong, and where."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mdctr.key_path import KeyPath, dotted

UNKNOWN_KEY = 'unknown_key'

# Types as pydantic names them in the location of an error, if a value may have several types.
_TYPES = {'str', 'int', 'float', 'bool', 'list', 'tuple', 'dict'}
_TYPE_ERRORS = {
    'string_type': 'text',
    'int_type': 'a whole number',
    'int_from_float': 'a whole number',
    'float_type': 'a number',
    'finite_number': 'a finite number',
    'bool_type': 'true or false',
    'list_type': 'a list',
    'tuple_type': 'a list',
    'dict_type': 'a mapping',
    'model_type': 'a mapping of keys to values',
    'model_attributes_type': 'a mapping of keys to values',
    'dataclass_type': 'a mapping of keys to values',
}
_BOUNDS = {
    'greater_than': ('more than', 'gt'),
    'greater_than_equal': ('at least', 'ge'),
    'less_than': ('less than', 'lt'),
    'less_than_equal': ('at most', 'le'),
}
_LENGTHS = {
    'too_short': ('at least', 'min_length', 'value'),
    'too_long': ('at most', 'max_length', 'value'),
    'string_too_short': ('at least', 'min_length', 'character'),
    'string_too_long': ('at most', 'max_length', 'character'),
}


def sentence(
    error: ValidationError,
    values: Any,
    where: str,
    origins: Mapping[KeyPath, str],
    parent: KeyPath = (),
) -> str:
    """Describes the first problem; unknown keys come first.

    Args:
        error: Error of pydantic.
        values: Values that it validated.
        where: Name of the values, for example of their file.
        origins: Origins of values by path, which are named instead of `where`.
        parent: Path of the values themselves.
    """
    details = error.errors(include_url=False)
    found = next((each for each in details if each['type'] == UNKNOWN_KEY), details[0])
    path, union = _path(found, values)
    if union is None:
        path, problem = _problem(parent + path, found)
    else:
        path, problem = _union_problem(union, details, values, parent)
    end = '' if problem.endswith(('.', '?')) else '.'
    return f'{origin_of(path, where, origins)}: {problem}{end}'


def origin_of(path: KeyPath, where: str, origins: Mapping[KeyPath, str]) -> str:
    """The origin of the value at `path`, or of the nearest enclosing value."""
    while path and path not in origins:
        path = path[:-1]
    return origins.get(path, where)


def _path(error: ErrorDetails, values: Any) -> tuple[KeyPath, KeyPath | None]:
    """The path of an error in the values, and that of an enclosing value of several types.

    If a value may have one of several types, pydantic's location includes the type that was
    tried, which is not part of the path.
    """
    path: KeyPath = ()
    union: KeyPath | None = None
    for number, part in enumerate(error['loc'], 1):
        if _contains(values, part):
            values = values[part]
        elif error['type'] != 'missing' or number < len(error['loc']):
            if union is None and str(part).partition('[')[0] in _TYPES:
                union = path
            continue
        path = (*path, part)
    return path, union


def _contains(values: Any, part: str | int) -> bool:
    if isinstance(values, Mapping):
        return part in values
    return isinstance(values, (list, tuple)) and isinstance(part, int) and part < len(values)


def _union_problem(
    union: KeyPath, details: list[ErrorDetails], values: Any, parent: KeyPath
) -> tuple[KeyPath, str]:
    """Describes the problem of the value at `union`, which may have one of several types."""
    alternatives, shown = [], ''
    for error in details:
        path, within = _path(error, values)
        if within != union:
            continue
        if path != union or error['type'] not in _TYPE_ERRORS:
            return _problem(parent + path, error)  # of this type, with something wrong inside
        alternatives.append(_TYPE_ERRORS[error['type']])
        shown = _shown(error['input'])
    name = dotted(parent + union)
    return parent + union, f'{name} must be {" or ".join(alternatives)}, not {shown}'


def _problem(path: KeyPath, error: ErrorDetails) -> tuple[KeyPath, str]:
    """The path of the key that an error is about, and a description of the problem."""
    kind, context = error['type'], error.get('ctx', {})
    name, shown = dotted(path), _shown(error['input'])
    if kind == UNKNOWN_KEY:
        path = (*path, str(context['key']))
        return path, f'unknown key {dotted(path)}; {context["hint"]}'
    if kind == 'missing':
        if isinstance(path[-1], int):  # an item of a tuple
            return path[:-1], f'{dotted(path[:-1])} has too few values: {shown}'
        return path, f'the key {name} is missing'
    if kind == 'value_error':
        message = str(context['error'])
        return path, f'{name}: {message}' if path else message
    if kind == 'union_tag_invalid':
        path = (*path, context['discriminator'].strip("'"))
        return path, _not_one_of(path, _choices(context['expected_tags']), context['tag'])
    if kind == 'literal_error':
        return path, _not_one_of(path, _choices(context['expected']), error['input'])
    if kind in _LENGTHS:
        word, bound, unit = _LENGTHS[kind]
        plural = '' if context[bound] == 1 else 's'
        return path, f'{name} must have {word} {context[bound]} {unit}{plural}, not {shown}'
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        return path, f'{name} must be {word} {context[bound]:g}, not {error["input"]}'
    if kind in _TYPE_ERRORS:
        return path, f'{name or "it"} must be {_TYPE_ERRORS[kind]}, not {shown}'
    return path, f'{name}: {error["msg"]}, not {shown}'


def _choices(expected: str) -> list[str]:
    """The words of a list such as `'a', 'b' or 'c'`, as pydantic writes it."""
    return [word.strip("'") for word in expected.replace(' or ', ', ').split(', ')]


def _not_one_of(path: KeyPath, choices: Iterable[str], value: Any) -> str:
    return f'{dotted(path)} must be one of {", ".join(choices)}, not {_shown(value)}'


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'
