"""The Dockerfile, read and not built: `make test-image` builds it."""

import functools
import re
import shlex
from importlib.metadata import requires
from pathlib import Path

import pytest

from components.component import component
from pipeline.config import ClusterConfig
from tests.k8s.dockerfile import Instruction, Stage, expand, is_ignored, parse
from tests.k8s.manifests import K8S, ROOT

DOCKERFILE = parse(K8S / 'Dockerfile')
BUILD, IMAGE = DOCKERFILE.stages
IGNORE_FILE = ROOT / '.dockerignore'


def copied(stage: Stage) -> list[str]:
    """Returns the files that a stage copies from the build context."""
    arguments = [shlex.split(text) for text in stage.arguments('COPY')]
    return [
        source
        for sources in arguments
        for source in sources[:-1]
        if not sources[0].startswith('--from=')
    ]


def names(stage: Stage) -> list[str]:
    return [instruction.name for instruction in stage.instructions]


def test_the_base_is_pinned_debian_12_with_python_3_11():
    assert re.fullmatch(r'python:3\.11\.\d+-slim-bookworm', DOCKERFILE.defaults['BASE'])
    assert {stage.base for stage in DOCKERFILE.stages} == {'${BASE}'}


def test_another_base_is_checked_and_is_not_installed_into():
    """Debian's own Python is externally managed (PEP 668): packages go into a venv."""
    runs = BUILD.arguments('RUN')
    assert 'sys.version_info[:2] != (3, 11)' in runs[0]
    assert any('python3 -m venv /opt/mdctr/venv' in run for run in runs)
    for run in (*runs, *IMAGE.arguments('RUN')):
        assert 'break-system-packages' not in run
        for command in re.findall(r'\S+ -m pip install', run):
            assert command.startswith(('/opt/mdctr/venv/bin/python ', 'python '))
    # `python` of the final stage is the one of the venv.
    (env,) = IMAGE.arguments('ENV')
    assert shlex.split(env)[0] == 'PATH=/opt/mdctr/venv/bin:${PATH}'


def test_only_the_first_stage_has_a_compiler():
    assert any('apt-get install' in run and 'g++' in run for run in BUILD.arguments('RUN'))
    assert not any('apt' in run for run in IMAGE.arguments('RUN'))
    assert IMAGE.arguments('COPY')[0] == '--from=build /opt/mdctr/venv /opt/mdctr/venv'


def test_packages_that_a_compiler_makes_fast_are_checked():
    assert any('import crcmod._crcfunext, farmhash' in run for run in IMAGE.arguments('RUN'))


@pytest.mark.parametrize('source', [*copied(BUILD), *copied(IMAGE)])
def test_what_is_copied_exists_and_is_not_ignored(source):
    assert (ROOT / source).exists()
    assert not is_ignored(source, IGNORE_FILE)
    below = [str(path.relative_to(ROOT)) for path in (ROOT / source).rglob('*.py')]
    assert not [path for path in below if is_ignored(path, IGNORE_FILE)]


@pytest.mark.parametrize(
    'path',
    [
        '.git/config',
        '.venv/bin/python',
        'runs/models/x/1/saved_model.pb',
        'tests/k8s/test_image.py',
        'Makefile',
        'k8s/base/serving.yaml',
        'beam_jobs/__pycache__/build.pyc',
    ],
)
def test_what_the_image_does_not_need_is_ignored(path):
    assert is_ignored(path, IGNORE_FILE)


def test_the_packages_of_setup_py_are_copied():
    text = (ROOT / 'setup.py').read_text()
    packages = re.findall(r"'(\w+)\*'", text)
    assert packages and {*packages, 'setup.py', 'pyproject.toml'} <= set(copied(IMAGE))
    for name in re.findall(r"ROOT / '([\w.]+)'", text):
        assert name in copied(IMAGE), name


def test_it_does_not_run_as_root():
    (user,) = IMAGE.arguments('USER')
    uid, gid = map(int, user.split(':'))
    assert uid > 0 and gid > 0
    assert f'useradd --uid {uid} --gid {gid}' in ' '.join(IMAGE.arguments('RUN'))
    last_run = max(i for i, name in enumerate(names(IMAGE)) if name == 'RUN')
    assert names(IMAGE).index('USER') > last_run


def test_the_manifests_have_the_user_of_the_image():
    (user,) = IMAGE.arguments('USER')
    for path in (K8S / 'base').glob('*.yaml'):
        for uid in re.findall(r'runAsUser: (\d+)', path.read_text()):
            assert uid == user.split(':')[0], path.name


def test_packages_are_installed_from_the_locks_alone():
    runs = [*BUILD.arguments('RUN'), *IMAGE.arguments('RUN')]
    installs = [
        part for run in runs for part in re.split(r'&&|;|then', run) if 'pip install' in part
    ]
    assert len(installs) == 3
    for install in installs:
        assert '--no-deps' in install and '--no-cache-dir' in install
        assert '--require-hashes' in install or install.rstrip().endswith(' .')


def test_a_change_of_the_code_does_not_reinstall_packages():
    assert {*copied(BUILD)} == {'requirements.txt', 'k8s/requirements-gpu.txt'}


def test_the_environment():
    (text,) = IMAGE.arguments('ENV')
    env = dict(pair.split('=', 1) for pair in shlex.split(text))
    assert env['TF_USE_LEGACY_KERAS'] == '1'
    home = env['HOME']
    assert f'--create-home --home-dir {home}' in ' '.join(IMAGE.arguments('RUN'))
    assert IMAGE.arguments('WORKDIR')[-1] == home


def test_the_gpu_lock_is_what_tensorflow_names():
    extra = [found for found in requires('tensorflow') or [] if 'and-cuda' in found]
    wanted = {re.match(r'([\w-]+) *\(?==([\d.]+)', found).groups() for found in extra}
    lock = (K8S / 'requirements-gpu.txt').read_text()
    locked = set(
        re.findall(r'^([\w-]+)==([\d.]+) \\\n    --hash=sha256:[0-9a-f]{64}$', lock, re.M)
    )
    assert wanted and locked == wanted
    assert lock.count('==') == len(locked)


def test_the_image_has_the_name_that_components_use():
    text = (K8S / 'Dockerfile').read_text()
    assert f'-t {ClusterConfig().image} .' in text
    assert isinstance(component, functools.partial)
    assert component.keywords['base_image'] == ClusterConfig().image


def test_the_parser(tmp_path):
    path = tmp_path / 'Dockerfile'
    path.write_text(
        '# comment\nARG BASE=a:1\n\nFROM ${BASE} AS one\nRUN x \\\n    # inside\n    && y\n'
        'FROM b\nENV A=1 \\\n    B=${A}\n'
    )
    found = parse(path)
    assert found.defaults == {'BASE': 'a:1'}
    assert found.stages[0] == Stage('one', '${BASE}', (Instruction('RUN', 'x     && y'),))
    assert found.stages[1].arguments('ENV') == ['A=1     B=${A}']
    assert expand('/x:${PATH}:$B:$C', {'PATH': 'p', 'B': 'b'}) == '/x:p:b:'


def test_the_parser_refuses_what_it_does_not_know(tmp_path: Path):
    (tmp_path / 'Dockerfile').write_text('FROM a\nADD x y\n')
    with pytest.raises(ValueError, match='the instruction ADD is not supported'):
        parse(tmp_path / 'Dockerfile')
