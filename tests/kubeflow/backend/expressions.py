"""Conditions of tasks: the part of CEL that KFP's compiler writes for `dsl.If`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>\d+(?:\.\d+)?) |
    (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") |
    (?P<parameter>inputs\.parameter_values\[(?:'[^']*'|"[^"]*")\]) |
    (?P<operator>&&|\|\||==|!=|<=|>=|[<>!()-]) |
    (?P<name>[A-Za-z_]\w*)
)""",
    re.VERBOSE,
)
_COMPARISONS = {
    '==': operator.eq,
    '!=': operator.ne,
    '<': operator.lt,
    '<=': operator.le,
    '>': operator.gt,
    '>=': operator.ge,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {'int': int, 'double': float, 'string': str}


def evaluate_condition(condition: str, parameters: dict[str, Any]) -> bool:
    """The value of a trigger condition.

    Args:
        condition: CEL, such as `inputs.parameter_values['x'] != ''`.
        parameters: The values of the task's input parameters.

    Raises:
        ValueError: It is not an expression of the covered part, it names a parameter that is
            absent, compares values of two types, or is not a boolean.
    """
    parser = _Parser(condition, parameters)
    value = parser.either()
    if parser.token is not None:
        raise ValueError(f'{condition}: unexpected {parser.token[1]}')
    if not isinstance(value, bool):
        raise ValueError(f'{condition} is {value!r}, not a boolean')
    return value


class _Parser:
    """A parser by recursive descent; `token` is the next token, None at the end."""

    def __init__(self, text: str, parameters: dict[str, Any]):
        self._text, self._parameters, self._position = text, parameters, 0
        self.token: tuple[str, str] | None = None
        self._advance()

    def either(self) -> Any:
        value = self._both()
        while self._take('||'):
            other = self._both()
            value = value or other
        return value

    def _both(self) -> Any:
        value = self._comparison()
        while self._take('&&'):
            other = self._comparison()
            value = value and other
        return value

    def _comparison(self) -> Any:
        value = self._unary()
        while self.token is not None and self.token[1] in _COMPARISONS:
            compare = _COMPARISONS[self._advance()]
            other = self._unary()
            if _kind(value) != _kind(other):
                raise ValueError(f'{self._text}: no such overload of {value!r} and {other!r}')
            value = compare(value, other)
        return value

    def _unary(self) -> Any:
        if self._take('!'):
            return not self._unary()
        if self._take('-'):
            return -self._unary()
        if self._take('('):
            value = self.either()
            self._expect(')')
            return value
        if self.token is None:
            raise ValueError(f'{self._text} ends too early')
        kind, text = self.token
        self._advance()
        if kind == 'number':
            return float(text) if '.' in text else int(text)
        if kind == 'string':
            return re.sub(r'\\(.)', r'\1', text[1:-1])
        if kind == 'parameter':
            name = text[len('inputs.parameter_values[') + 1 : -2]
            if name not in self._parameters:
                raise ValueError(f'{self._text}: no such key: {name}')
            return self._parameters[name]
        if text in ('true', 'false'):
            return text == 'true'
        if text in _FUNCTIONS:
            self._expect('(')
            value = _FUNCTIONS[text](self.either())
            self._expect(')')
            return value
        raise ValueError(f'{self._text}: unexpected {text}')

    def _take(self, text: str) -> bool:
        if self.token != ('operator', text):
            return False
        self._advance()
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise ValueError(f'{self._text}: {text} expected')

    def _advance(self) -> str:
        taken = self.token[1] if self.token else ''
        if not self._text[self._position :].strip():
            self.token = None
            return taken
        found = _TOKEN.match(self._text, self._position)
        if found is None:
            raise ValueError(f'{self._text}: not understood from {self._position}')
        self._position = found.end()
        self.token = str(found.lastgroup), str(found.group(str(found.lastgroup)))
        return taken


def _kind(value: Any) -> type:
    """The type that CEL compares by: numbers with numbers, text with text."""
    return float if type(value) in (int, float) else type(value)
