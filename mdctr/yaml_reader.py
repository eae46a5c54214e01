"""Reads YAML 1.2 with the line of every key, for configurations and `--set`.

In YAML 1.2, `1e-3` is a number, and `on`, `off`, `yes` and `no` are text. In addition, a date
is read as text, and a key that is given twice is an error.
"""

import io
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from mdctr.errors import UserError
from mdctr.key_path import KeyPath, dotted


@dataclass(frozen=True)
class Document:
    """A YAML document.

    Attributes:
        values: Mappings, lists and scalars as Python objects.
        lines: Line of each key or list item, from 1, by its path: `('train', 'epochs')`,
            `('dataset', 'features', 3)`.
    """

    values: Any
    lines: dict[KeyPath, int]


def read_yaml(text: str, where: str) -> Document:
    """Parses a YAML document.

    Args:
        text: The document.
        where: Name of the document in errors, for example its path.

    Raises:
        UserError: The text is not YAML, has a custom tag, or gives a key twice.
    """
    yaml = YAML(typ='safe', pure=True)
    try:
        root = yaml.compose(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f':{mark.line + 1}' if mark else ''
        problem = str(error.problem)
        if problem.startswith('but'):
            problem = f'{error.context} {problem}'
        raise UserError(f'{where}{line}: not YAML ({problem}).') from None
    except YAMLError as error:  # a character that YAML does not allow
        reason = getattr(error, 'reason', error)
        raise UserError(f'{where}: not YAML ({reason}).') from None
    builder = _Builder(where, yaml.constructor)
    return Document(None if root is None else builder.build(root, ()), builder.lines)


def read_yaml_value(text: str, where: str) -> Any:
    """Parses a YAML value, such as `3`, `[a, b]` or `{a: 1}`.

    Args:
        text: The value.
        where: Name of the value in errors.

    Raises:
        UserError: The text is not YAML.
    """
    return read_yaml(text, where).values


class _Builder:
    """Converts the nodes of a document to values, and records their lines."""

    def __init__(self, where: str, constructor: Any):
        self.lines: dict[KeyPath, int] = {}
        self._where, self._constructor = where, constructor
        self._open: set[int] = set()

    def build(self, node: Any, path: KeyPath) -> Any:
        if node.id == 'scalar':
            return self._scalar(node)
        if id(node) in self._open:
            self._fail(node, f'the value {dotted(path[:1])} contains itself')
        self._open.add(id(node))
        value = self._mapping(node, path) if node.id == 'mapping' else self._list(node, path)
        self._open.remove(id(node))
        return value

    def _scalar(self, node: Any) -> Any:
        tag = str(node.tag)
        if tag.endswith(':timestamp'):
            return node.value
        if not tag.startswith('tag:yaml.org,2002:'):
            self._fail(node, f'a value has the tag {tag}: write it without one')
        try:
            return self._constructor.construct_object(node)
        except (YAMLError, ValueError):
            self._fail(node, f'{node.value!r} is not a value of the type {tag}')

    def _list(self, node: Any, path: KeyPath) -> list[Any]:
        values = []
        for number, item in enumerate(node.value):
            self.lines[(*path, number)] = _line(item)
            values.append(self.build(item, (*path, number)))
        return values

    def _mapping(self, node: Any, path: KeyPath) -> dict[Hashable, Any]:
        values: dict[Hashable, Any] = {}
        first: dict[Hashable, int] = {}
        merged: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag).endswith(':merge'):
                for mapping in self._merged(value_node, path):
                    merged = {**mapping, **merged}
                continue
            if key_node.id != 'scalar':
                self._fail(key_node, 'a key must be text or a number')
            key = self._scalar(key_node)
            if key in first:
                self._fail(
                    key_node,
                    f'the key {dotted((*path, key))} is given a second time, first on line '
                    f'{first[key]}: keep one of them',
                )
            first[key] = self.lines[(*path, key)] = _line(key_node)
            values[key] = self.build(value_node, (*path, key))
        return {**merged, **values}

    def _merged(self, node: Any, path: KeyPath) -> Iterator[dict[Hashable, Any]]:
        for part in node.value if node.id == 'sequence' else [node]:
            if part.id != 'mapping':
                self._fail(node, '<< takes a mapping or a list of mappings')
            yield self.build(part, path)

    def _fail(self, node: Any, problem: str) -> NoReturn:
        raise UserError(f'{self._where}:{_line(node)}: {problem}.')


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
