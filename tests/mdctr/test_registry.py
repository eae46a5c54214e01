"""Components by name and as module:Class; one sentence for one that cannot be used."""

import sys
from abc import ABC, abstractmethod

import pytest

from mdctr.errors import UserError
from mdctr.registry import Registry
from mdctr.settings import Settings


class Shape(ABC):
    Options: type[Settings] = Settings

    def __init__(self, size, options, *, name='x'):
        self.size = size

    @abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def area(self) -> float:
        return self.size**2


SHAPES: Registry[Shape] = Registry(
    'shape', f'{__name__}:Shape', {'square': f'{__name__}:Square', 'cube': 'no.such:Cube'}
)
OWN = """
from mdctr.settings import Settings
from {module} import Shape

class Circle(Shape):
    class Options(Settings):
        digits: int = 2
    def area(self): return 3.14 * self.size ** 2

class Flexible(Circle):
    def __init__(self, *args, **kwargs): super().__init__(*args, **kwargs)

class Unfinished(Shape): pass

class NoArguments(Circle):
    def __init__(self): pass

class OneMore(Circle):
    def __init__(self, size, options, more): pass

class OldOptions(Circle):
    Options = dict

class Other: pass
number = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A current directory with modules of a user."""
    sys.modules.setdefault(__name__, sys.modules[Shape.__module__])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    for name, text in (
        ('own_shapes', OWN.format(module=__name__)),
        ('broken_shapes', 'import no_such_module_at_all'),
        ('raising_shapes', 'raise RuntimeError("two\\nlines")'),
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f'{name}.py').write_text(text)


def test_a_registry_is_a_mapping_that_imports_nothing():
    assert list(SHAPES) == ['square', 'cube'] and len(SHAPES) == 2
    assert SHAPES['cube'] == 'no.such:Cube'


def test_a_built_in_component_is_loaded_by_its_name():
    assert SHAPES.load('square')(3, None).area() == 9


@pytest.mark.parametrize('name', ['Circle', 'Flexible'])
def test_a_users_component_is_loaded_from_the_current_directory(name):
    assert SHAPES.load(f'own_shapes:{name}')(2, None).area() == 3.14 * 4


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        (
            'squar',
            'There is no shape squar; did you mean square? There are square, cube, and '
            'module:Class for one of your own.',
        ),
        (
            'x',
            'There is no shape x; there are square, cube, and module:Class for one of '
            'your own.',
        ),
        (
            'no_such_module:X',
            'The shape no_such_module:X cannot be imported: ModuleNotFoundError: No module '
            "named 'no_such_module'; check the name, and that the module is in the current "
            'directory or installed.',
        ),
        ('broken_shapes:X', 'The shape broken_shapes:X cannot be imported: ModuleNotFound'),
        (
            'raising_shapes:X',
            'The shape raising_shapes:X cannot be imported: RuntimeError: two ',
        ),
        (':X', 'The shape :X cannot be imported: ValueError: Empty module name; '),
        (
            'own_shapes:Triangle',
            'There is no shape own_shapes:Triangle: the module own_shapes (',
        ),
        ('own_shapes:', 'There is no shape own_shapes:: the module own_shapes ('),
        (
            'own_shapes:Other',
            'own_shapes:Other is not a shape: it must be a subclass of ' + __name__ + ':Shape.',
        ),
        ('own_shapes:number', 'own_shapes:number is not a shape: it must be a subclass of '),
        (
            'own_shapes:Unfinished',
            'The shape own_shapes:Unfinished does not implement area.',
        ),
        (
            'own_shapes:NoArguments',
            'The shape own_shapes:NoArguments cannot be constructed: its constructor must '
            'accept (size, options), as that of ',
        ),
        ('own_shapes:OneMore', 'The shape own_shapes:OneMore cannot be constructed: its '),
        (
            'own_shapes:OldOptions',
            'The shape own_shapes:OldOptions has Options that are not a subclass of '
            'mdctr.settings:Settings.',
        ),
    ],
)
def test_a_component_that_cannot_be_used_is_one_sentence(name, sentence):
    with pytest.raises(UserError) as error:
        SHAPES.load(name)
    assert str(error.value).startswith(sentence)
    assert '\n' not in str(error.value)
