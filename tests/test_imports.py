"""The architecture, checked by its imports: pipeline -> components -> (both) -> mdctr."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import REPOSITORY, with_tests

MAY_IMPORT = {
    'mdctr': {'mdctr'},
    'beam_jobs': {'beam_jobs', 'mdctr'},
    'trainer': {'trainer', 'mdctr'},
    'components': {'components', 'beam_jobs', 'trainer', 'mdctr'},
    'pipeline': {'pipeline', 'components', 'beam_jobs', 'trainer', 'mdctr'},
}
HEAVY = {'apache_beam', 'kfp', 'tensorflow', 'tf_keras', 'tensorflow_data_validation'}


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import in a file, and of text that names a module of ours."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path}:{node.lineno} imports relatively'
            yield node.lineno, node.module or ''
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module = node.value.partition(':')[0]
            if all(part.isidentifier() for part in module.split('.')) and '.' in module:
                yield node.lineno, module


@pytest.mark.parametrize('package', MAY_IMPORT)
def test_a_package_imports_only_packages_below_it(package):
    wrong = [
        f'{path.relative_to(REPOSITORY)}:{line} imports {module}'
        for path in sorted((REPOSITORY / package).rglob('*.py'))
        for line, module in _imports(path)
        if module.split('.')[0] in set(MAY_IMPORT) - MAY_IMPORT[package]
    ]
    assert not wrong, '\n'.join(wrong)


def test_mdctr_loads_neither_beam_nor_tensorflow_nor_kfp():
    modules = [
        str(path.relative_to(REPOSITORY).with_suffix('')).replace('/', '.')
        for path in sorted((REPOSITORY / 'mdctr').rglob('*.py'))
        if path.stem not in ('__init__', '__main__')
    ]
    program = (
        f'import importlib, sys\nfor module in {modules!r}: '
        'importlib.import_module(module)\nprint(*sys.modules)'
    )
    loaded = subprocess.run(
        [sys.executable, '-c', program],
        env=with_tests(),
        text=True,
        capture_output=True,
        check=True,
    ).stdout.split()
    assert not HEAVY & set(loaded)
