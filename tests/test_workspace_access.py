"""Files of a workspace are read and written through `mdctr.storage` only."""

import ast
import pathlib

import pytest

from tests.processes import REPOSITORY

PACKAGES = ('mdctr', 'beam_jobs', 'trainer', 'components', 'pipeline')
FILE_FUNCTIONS = {
    'glob': None,  # None: every attribute
    'pathlib': None,
    'shutil': None,
    'os': {
        'link',
        'listdir',
        'makedirs',
        'mkdir',
        'path',
        'remove',
        'removedirs',
        'rename',
        'replace',
        'rmdir',
        'scandir',
        'stat',
        'symlink',
        'unlink',
        'walk',
    },
}

# Modules that use them for local files, and which files these are.
LOCAL_FILES = {
    'beam_jobs/arrow_files.py': 'memory-mapped copies in the local cache of a worker',
    'beam_jobs/examples/export.py': 'tf.Examples in a local directory',
    'beam_jobs/features/lookup.py': 'memory-mapped copies in the local cache of a worker',
    'components/artifacts.py': 'artifacts where Kubeflow expects them',
    'components/step.py': 'the error for the command that started the run',
    'components/steps.py': 'artifacts where Kubeflow expects them',
    'mdctr/child_process.py': 'process IDs of steps on this machine',
    'mdctr/dataset.py': 'local copies of vocabularies',
    'mdctr/leases.py': 'the process table of this machine',
    'mdctr/storage.py': 'the module itself',
    'pipeline/cli/run.py': 'the path of the TensorBoard program',
    'pipeline/cluster.py': 'the compiled pipeline',
    'pipeline/config.py': 'configuration files',
    'pipeline/local.py': 'artifacts and errors of steps on this machine',
    'trainer/distributed/listening.py': 'sockets of this process',
    'trainer/export/golden.py': 'an export in its local directory',
    'trainer/export/preprocessing.py': 'local copies of vocabularies',
    'trainer/export/push.py': 'an export in its local directory',
    'trainer/export/weights.py': 'an export in its local directory',
    'trainer/loop/projector.py': 'logs in their local directory',
    'trainer/optimizers/keras_optimizers.py': 'a temporary directory',
}


def uses(path: pathlib.Path) -> set[str]:
    """The functions of files that a module uses, such as `open` and `os.path`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == 'open':
                found.add('open')
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = node.value.id
            if module in FILE_FUNCTIONS:
                names = FILE_FUNCTIONS[module]
                if names is None or node.attr in names:
                    found.add(f'{module}.{node.attr}')
        elif isinstance(node, ast.ImportFrom) and node.module in FILE_FUNCTIONS:
            found |= {f'{node.module}.{alias.name}' for alias in node.names}
    return found


MODULES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for package in PACKAGES
    for path in (pathlib.Path(REPOSITORY) / package).rglob('*.py')
)


@pytest.mark.parametrize('module', MODULES)
def test_no_other_module_uses_functions_of_files(module):
    if module not in LOCAL_FILES:
        assert not uses(pathlib.Path(REPOSITORY) / module), (
            'read and write files of a workspace through mdctr.storage'
        )


def test_the_exceptions_exist():
    assert not LOCAL_FILES.keys() - set(MODULES)
