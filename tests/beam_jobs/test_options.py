"""Configurations are checked when they are read: one sentence for each mistake."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from beam_jobs.errors import UserError
from beam_jobs.options import from_mapping, setting, to_mapping


@dataclass(frozen=True)
class Inner:
    units: list[int] = setting([8, 4], minimum=1)
    rate: float = setting(0.5, above=0, maximum=1)


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal['a', 'b'] = 'a'
    count: int = 1
    flag: bool = False
    ratio: float | tuple[float, float] | dict[str, float] | None = None
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self):
        if self.name == 'bad':
            raise ValueError('the name bad is taken.')


def test_builds_nested_dataclasses_and_back():
    values = {'name': 'x', 'kind': 'b', 'ratio': [0.2, 1], 'inner': {'units': [3], 'rate': 1}}
    made = from_mapping(Outer, values, 'f.yaml')
    assert made == Outer('x', 'b', ratio=(0.2, 1.0), inner=Inner([3], 1.0))
    assert isinstance(made.inner.rate, float)
    assert from_mapping(Outer, to_mapping(made), 'f.yaml') == made


def test_defaults_are_not_shared():
    one, other = Inner(), Inner()
    one.units.append(1)
    assert other.units == [8, 4]


@pytest.mark.parametrize(('values', 'sentence'), [
    ({}, 'f.yaml: the key name is missing.'),
    ({'name': 'x', 'nmae': 1},
     'f.yaml: unknown key nmae; allowed here: count, flag, inner, kind, name, ratio.'),
    ({'name': 1}, 'f.yaml: name must be text, not 1.'),
    ({'name': 'x', 'kind': 'c'}, "f.yaml: kind must be one of a, b, not 'c'."),
    ({'name': 'x', 'count': 1.5}, 'f.yaml: count must be a whole number, not 1.5.'),
    ({'name': 'x', 'count': True}, 'f.yaml: count must be a whole number, not True.'),
    ({'name': 'x', 'flag': 1}, 'f.yaml: flag must be true or false, not 1.'),
    ({'name': 'x', 'ratio': 'much'},
     "f.yaml: ratio must be a number or a list or a mapping, not 'much'."),
    ({'name': 'x', 'inner': 3},
     'f.yaml: inner must be a mapping of keys to values, not 3.'),
    ({'name': 'x', 'inner': {'rate': 0}}, 'f.yaml: inner.rate must be more than 0, not 0.0.'),
    ({'name': 'x', 'inner': {'rate': 2}}, 'f.yaml: inner.rate must be at most 1, not 2.0.'),
    ({'name': 'x', 'inner': {'rate': float('nan')}},
     'f.yaml: inner.rate must be at most 1, not nan.'),
    ({'name': 'x', 'inner': {'units': [4, 0]}},
     'f.yaml: inner.units must be at least 1, not 0.'),
    ({'name': 'x', 'inner': {'units': [4, 'b']}},
     "f.yaml: inner.units[1] must be a whole number, not 'b'."),
    ({'name': 'bad'}, 'f.yaml: the name bad is taken.'),
    ([1], 'f.yaml: the whole file must be a mapping of keys to values, not [1].'),
])
def test_a_mistake_is_one_sentence(values, sentence):
    with pytest.raises(UserError) as error:
        from_mapping(Outer, values, 'f.yaml')
    assert str(error.value) == sentence
