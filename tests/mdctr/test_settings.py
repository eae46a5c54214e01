"""Settings are checked when they are read: one sentence for each mistake."""

import json
import pickle
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from mdctr import renamed_keys
from mdctr.errors import UserError
from mdctr.settings import Range, Settings, parse, to_mapping


class Inner(Settings):
    units: list[Annotated[int, Field(ge=1)]] = Field(default=[8, 4])
    rate: float = Field(default=0.5, gt=0, le=1)


class Circle(Settings):
    kind: Literal['circle'] = 'circle'
    radius: float = Field(default=1.0, ge=0)


class Square(Settings):
    kind: Literal['square'] = 'square'
    side: int


Shape = Annotated[
    Annotated[Circle | Square, Field(discriminator='kind')],
    BeforeValidator(
        lambda values: {'kind': 'circle', **values} if isinstance(values, dict) else values
    ),
]


class Outer(Settings):
    name: str
    mode: Literal['a', 'b'] = 'a'
    count: int = 1
    flag: bool = False
    ratio: float | Range | dict[str, float] | None = None
    column: list[str] | str = 'x'
    label: str = Field(default='l', min_length=1, max_length=2)
    pair: Range | None = None
    inner: Inner = Field(default_factory=Inner)
    shapes: list[Shape] = Field(default_factory=list, max_length=2)

    @model_validator(mode='after')
    def _check_name(self) -> 'Outer':
        if self.name == 'bad':
            raise ValueError('the name bad is taken.')
        return self


@dataclass(frozen=True)
class Record:
    days: tuple[str, str]
    inner: Inner
    parts: list['Record'] = field(default_factory=list)


VALUES = {
    'name': 'x',
    'mode': 'b',
    'ratio': [0.2, 1],
    'inner': {'units': [3], 'rate': 1},
    'shapes': [{'radius': 2}, {'kind': 'square', 'side': 3}],
}


def test_builds_nested_settings_and_back():
    made = parse(Outer, VALUES, 'f.yaml')
    assert made == Outer(
        name='x',
        mode='b',
        ratio=(0.2, 1.0),
        inner=Inner(units=[3], rate=1.0),
        shapes=[Circle(radius=2.0), Square(side=3)],
    )
    assert isinstance(made.inner.rate, float)
    mapping = to_mapping(made)
    assert json.loads(json.dumps(mapping)) == mapping
    assert parse(Outer, mapping, 'f.yaml') == made


def test_builds_dataclasses_and_back():
    values = {'days': ['a', 'b'], 'inner': {'rate': 1}, 'parts': []}
    made = parse(Record, {**values, 'parts': [values]}, 'f.json')
    part = Record(('a', 'b'), Inner(rate=1.0))
    assert made == Record(('a', 'b'), Inner(rate=1.0), [part])
    assert parse(Record, to_mapping(made), 'f.json') == made


def test_settings_are_small_and_pickled_as_they_are():
    # Beam pickles them with every function that uses them.
    made = parse(Outer, VALUES, 'f.yaml')
    pickled = pickle.dumps(made)
    assert pickle.loads(pickled) == made
    assert len(pickled) < 2000


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match='frozen'):
        Inner().rate = 1.0


def test_defaults_are_not_shared():
    one, other = Inner(), Inner()
    one.units.append(1)
    assert other.units == [8, 4]


def test_a_copy_with_other_values_is_checked():
    made = parse(Outer, VALUES, 'f.yaml')
    assert made.replace(count=2) == parse(Outer, {**VALUES, 'count': 2}, 'f.yaml')
    with pytest.raises(ValidationError, match='the name bad is taken'):
        made.replace(name='bad')
    with pytest.raises(ValidationError, match='unknown key'):
        made.replace(nmae='x')


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'name': None}, 'f.yaml: name must be text, not None.'),
        ({'nmae': 1}, 'f.yaml: unknown key nmae; did you mean name?'),
        (
            {'zzz': 1},
            'f.yaml: unknown key zzz; allowed here: name, mode, count, flag, ratio, column, '
            'label, pair, inner, shapes.',
        ),
        ({'inner': {'Rate': 1}}, 'f.yaml: unknown key inner.Rate; did you mean rate?'),
        ({1: 2}, 'f.yaml: unknown key 1; allowed here: '),
        ({'name': 1}, 'f.yaml: name must be text, not 1.'),
        ({'mode': 'c'}, "f.yaml: mode must be one of a, b, not 'c'."),
        ({'count': 1.5}, 'f.yaml: count must be a whole number, not 1.5.'),
        ({'count': 1.0}, 'f.yaml: count must be a whole number, not 1.0.'),
        ({'count': '1'}, "f.yaml: count must be a whole number, not '1'."),
        ({'count': True}, 'f.yaml: count must be a whole number, not True.'),
        ({'flag': 1}, 'f.yaml: flag must be true or false, not 1.'),
        (
            {'ratio': 'much'},
            "f.yaml: ratio must be a number or a list or a mapping, not 'much'.",
        ),
        ({'ratio': True}, 'f.yaml: ratio must be a number or a list or a mapping, not True.'),
        ({'ratio': [1, 'b']}, "f.yaml: ratio[1] must be a number, not 'b'."),
        ({'ratio': [1]}, 'f.yaml: ratio has too few values: [1].'),
        ({'ratio': {'a': 'b'}}, "f.yaml: ratio.a must be a number, not 'b'."),
        ({'column': [1]}, 'f.yaml: column[0] must be text, not 1.'),
        ({'column': 1}, 'f.yaml: column must be a list or text, not 1.'),
        ({'label': ''}, "f.yaml: label must have at least 1 character, not ''."),
        ({'label': 'abc'}, "f.yaml: label must have at most 2 characters, not 'abc'."),
        ({'pair': 3}, 'f.yaml: pair must be a list, not 3.'),
        ({'pair': [1, 2, 3]}, 'f.yaml: pair must have at most 2 values, not [1, 2, 3].'),
        ({'inner': 3}, 'f.yaml: inner must be a mapping of keys to values, not 3.'),
        ({'inner': {'rate': 0}}, 'f.yaml: inner.rate must be more than 0, not 0.'),
        ({'inner': {'rate': 2}}, 'f.yaml: inner.rate must be at most 1, not 2.'),
        (
            {'inner': {'rate': float('nan')}},
            'f.yaml: inner.rate must be a finite number, not nan.',
        ),
        ({'inner': {'units': [4, 0]}}, 'f.yaml: inner.units[1] must be at least 1, not 0.'),
        (
            {'inner': {'units': [4, 'b']}},
            "f.yaml: inner.units[1] must be a whole number, not 'b'.",
        ),
        (
            {'shapes': [{'kind': 'x'}]},
            "f.yaml: shapes[0].kind must be one of circle, square, not 'x'.",
        ),
        (
            {'shapes': [{'side': 1}]},
            'f.yaml: unknown key shapes[0].side; allowed here: kind, radius.',
        ),
        ({'shapes': [{'kind': 'square'}]}, 'f.yaml: the key shapes[0].side is missing.'),
        ({'shapes': [{'radius': 'a'}]}, "f.yaml: shapes[0].radius must be a number, not 'a'."),
        ({'shapes': [3]}, 'f.yaml: shapes[0] must be a mapping of keys to values, not 3.'),
        (
            {'shapes': [{}, {}, {}]},
            'f.yaml: shapes must have at most 2 values, not [{}, {}, {}].',
        ),
        ({'name': 'bad'}, 'f.yaml: the name bad is taken.'),
        (
            {'name': 1, 'inner': {'x': 1}},
            'f.yaml: unknown key inner.x; allowed here: units, rate.',
        ),
    ],
)
def test_a_mistake_is_one_sentence(values, sentence):
    with pytest.raises(UserError) as error:
        parse(Outer, {'name': 'x', **values}, 'f.yaml')
    assert str(error.value).startswith(sentence)
    assert '\n' not in str(error.value)


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match=r'^f.yaml: the key name is missing.$'):
        parse(Outer, {}, 'f.yaml')


def test_values_must_be_a_mapping():
    with pytest.raises(
        UserError, match=r'^f.yaml: it must be a mapping of keys to values, not'
    ):
        parse(Outer, [1], 'f.yaml')


ORIGINS = {('inner',): 'f.yaml:3', ('inner', 'rate'): '--set inner.rate=2'}


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'inner': {'rate': 2}}, '--set inner.rate=2: inner.rate must be at most 1, not 2.'),
        ({'inner': {'units': [0]}}, 'f.yaml:3: inner.units[0] must be at least 1, not 0.'),
        ({'inner': {'rat': 0}}, 'f.yaml:3: unknown key inner.rat; did you mean rate?'),
        ({'count': 'x'}, "f.yaml: count must be a whole number, not 'x'."),
    ],
)
def test_a_mistake_is_named_by_its_origin(values, sentence):
    with pytest.raises(UserError) as error:
        parse(Outer, {'name': 'x', **values}, 'f.yaml', ORIGINS)
    assert str(error.value) == sentence


def test_a_part_of_a_configuration_is_named_by_its_path():
    origins = {('a', 'b'): 'f.yaml:2', ('a', 'b', 'inner'): 'f.yaml:4'}
    for values, sentence in (
        ({'nam': 1}, 'f.yaml:2: unknown key a.b.nam; did you mean name?'),
        ({'inner': {'rate': 2}}, 'f.yaml:4: a.b.inner.rate must be at most 1, not 2.'),
        ({'column': 1}, 'f.yaml:2: a.b.column must be a list or text, not 1.'),
    ):
        with pytest.raises(UserError) as error:
            parse(Outer, {'name': 'x', **values}, 'f.yaml', origins, path=('a', 'b'))
        assert str(error.value) == sentence


@pytest.fixture
def renamed(monkeypatch):
    monkeypatch.setitem(renamed_keys.RENAMED_KEYS, 'Inner', {'speed': 'rate'})


def test_an_old_key_is_refused_with_its_new_name(renamed):
    with pytest.raises(UserError) as error:
        parse(Outer, {'name': 'x', 'inner': {'speed': 1}}, 'f.yaml')
    assert str(error.value) == 'f.yaml: unknown key inner.speed; it is now called rate.'


def test_a_removed_key_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setitem(
        renamed_keys.REMOVED_KEYS, 'Inner', {'gears': 'remove it: one is enough'}
    )
    with pytest.raises(UserError) as error:
        parse(Outer, {'name': 'x', 'inner': {'gears': 1}}, 'f.yaml')
    assert str(error.value) == 'f.yaml: unknown key inner.gears; remove it: one is enough.'


def test_an_old_key_is_read_from_files_of_earlier_versions(renamed):
    values = {'name': 'x', 'inner': {'speed': 1, 'units': [2]}}
    made = parse(Outer, values, 'model.json', accept_renamed=True)
    assert made.inner == Inner(units=[2], rate=1.0)


def test_subclasses_inherit_old_keys(renamed):
    class Special(Inner):
        pass

    assert renamed_keys.new_name(Special, 'speed') == 'rate'
    assert renamed_keys.new_name(Special, 'rate') is None
