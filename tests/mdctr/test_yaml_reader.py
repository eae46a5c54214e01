"""YAML 1.2: what values are, and one sentence with the line for text that is not YAML."""

import pytest

from mdctr.errors import UserError
from mdctr.yaml_reader import read_yaml, read_yaml_value


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1e-3', 0.001),
        ('1.0e-3', 0.001),
        ('-2E+2', -200.0),
        ('1_000', 1000),
        ('010', 10),
        ('0x1F', 31),
        ('on', 'on'),
        ('off', 'off'),
        ('yes', 'yes'),
        ('No', 'No'),
        ('true', True),
        ('null', None),
        ('~', None),
        ('', None),
        ('2022-04-24', '2022-04-24'),
        ('2022-04-24T10:00:00Z', '2022-04-24T10:00:00Z'),
        ('12:30:45', '12:30:45'),
        ("'1e-3'", '1e-3'),
        ('[a, {b: 1}]', ['a', {'b': 1}]),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value):
    found = read_yaml_value(text, 'here')
    assert found == value
    assert type(found) is type(value)


def test_keys_that_yaml_1_1_takes_for_booleans_are_text():
    assert read_yaml('{on: 1, no: 2, y: 3}', 'c.yaml').values == {'on': 1, 'no': 2, 'y': 3}


def test_an_empty_file_has_no_values():
    assert read_yaml('# nothing\n', 'c.yaml').values is None


def test_every_value_has_the_line_of_its_key():
    document = read_yaml('a: 1\nb:\n  c: 2\n  d:\n    - 3\n    - {e: 4}\n', 'c.yaml')
    assert document.values == {'a': 1, 'b': {'c': 2, 'd': [3, {'e': 4}]}}
    assert document.lines == {
        ('a',): 1,
        ('b',): 2,
        ('b', 'c'): 3,
        ('b', 'd'): 4,
        ('b', 'd', 0): 5,
        ('b', 'd', 1): 6,
        ('b', 'd', 1, 'e'): 6,
    }


def test_anchors_and_merge_keys():
    text = 'one: &one {a: 1, b: 2}\ntwo: {<<: *one, b: 3}\nthree: {<<: [{a: 5}, *one]}\n'
    values = read_yaml(text, 'c.yaml').values
    assert values['two'] == {'a': 1, 'b': 3}
    assert values['three'] == {'a': 5, 'b': 2}


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        (
            'a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n',
            'c.yaml:5: the key b.c is given a second time, first on line 3: keep one of them.',
        ),
        ('name: a\n  b: [', 'c.yaml:2: not YAML (mapping values are not allowed here).'),
        ('a: *b', "c.yaml:1: not YAML (found undefined alias 'b')."),
        ('a: !b 1', 'c.yaml:1: a value has the tag !b: write it without one.'),
        ('a: &a [*a]', 'c.yaml:1: the value a contains itself.'),
        (
            'a: 1\n--- \nb: 1\n',
            'c.yaml:2: not YAML (expected a single document in the stream but found another '
            'document).',
        ),
        ('a: !!int x', "c.yaml:1: 'x' is not a value of the type tag:yaml.org,2002:int."),
        (
            'a: !!python/name:os.system x',
            "c.yaml:1: 'x' is not a value of the type tag:yaml.org,2002:python/name:os.system.",
        ),
        ('{[a]: 1}', 'c.yaml:1: a key must be text or a number.'),
        ('{<<: 1}', 'c.yaml:1: << takes a mapping or a list of mappings.'),
        ('a: \x00', 'c.yaml: not YAML (special characters are not allowed).'),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(text, sentence):
    with pytest.raises(UserError) as error:
        read_yaml(text, 'c.yaml')
    assert str(error.value) == sentence
