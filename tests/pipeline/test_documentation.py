"""Every command, configuration, option, path and link of the documentation is valid."""

import importlib
import importlib.util
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from beam_jobs.simulation.presets import find_preset
from mdctr.settings import Settings, to_mapping
from mdctr.yaml_reader import read_yaml
from pipeline.cli.main import make_parser
from pipeline.compare.methods import parse_methods, parse_references
from pipeline.compare.transfer.methods import parse_transfer_method
from pipeline.config import RunConfig, built_in_names, load_config
from tests import yaml_files
from tests.pipeline.own_log import write_config, write_log
from tests.processes import with_tests
from trainer.config import ModelConfig
from trainer.frameworks import FRAMEWORKS
from trainer.models import MODELS

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    ROOT / 'CHANGELOG.md',
    ROOT / 'k8s' / 'README.md',
    ROOT / 'examples' / 'README.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
]
LINK = re.compile(r'(?<!!)\[[^][]*\]\(([^()\s]+)\)')
FENCED = re.compile(r'^( *)```(\w*)\n(.*?)^\1```$', re.DOTALL | re.MULTILINE)
CODE_PATH = re.compile(
    r'`((?:mdctr|beam_jobs|trainer|components|pipeline|tests|k8s|docs|examples)/[\w./-]*)`'
)
EXAMPLE = 'shops.yaml'  # the configuration that the README writes
PLACEHOLDERS = {'CONFIG'}


class Snippet(NamedTuple):
    """A block of code or a command of a page."""

    page: str
    text: str


def _relative(page: pathlib.Path) -> str:
    return str(page.relative_to(ROOT))


def _blocks(page: pathlib.Path) -> Iterator[tuple[str, str]]:
    """The language and the text of every block of code, fenced or indented."""
    text = page.read_text(encoding='utf-8')
    for indent, language, body in FENCED.findall(text):
        yield language, re.sub(f'^{indent}', '', body, flags=re.MULTILINE)
    rest = FENCED.sub('', text)
    for block in re.findall(r'(?:^ {4}.*\n)+', rest, re.MULTILINE):
        yield '', re.sub('^ {4}', '', block, flags=re.MULTILINE)


def _lines(text: str) -> list[str]:
    """A block's lines, continued ones joined."""
    return text.replace('\\\n', ' ').splitlines()


def _commands(prefix: str) -> list[Snippet]:
    """The commands of all pages that begin with `prefix`."""
    return [
        Snippet(_relative(page), line.strip())
        for page in PAGES
        for _, block in _blocks(page)
        for line in _lines(block)
        if re.match(rf'(\S+/)?{re.escape(prefix)}\s', line.strip())
    ]


def _yaml_blocks() -> list[Snippet]:
    """Configurations and parts of them; Kubernetes' objects are left out."""
    return [
        Snippet(_relative(page), text)
        for page in PAGES
        for language, text in _blocks(page)
        if language == 'yaml' and 'apiVersion:' not in text
    ]


def _ids(snippet: Snippet) -> str:
    return f'{snippet.page}: {" ".join(snippet.text.split())[:60]}'


@pytest.fixture(scope='module')
def example(tmp_path_factory) -> str:
    """The README's configuration, which parts of configurations on other pages extend."""
    blocks = [snippet.text for snippet in _yaml_blocks() if snippet.page == 'README.md']
    (text,) = [block for block in blocks if block.startswith('name:')]
    path = tmp_path_factory.mktemp('example') / EXAMPLE
    path.write_text(text, encoding='utf-8')
    return str(path)


@pytest.mark.parametrize('command', _commands('mdctr'), ids=_ids)
def test_a_command_is_accepted(command, example):
    words = shlex.split(command.text, comments=True)[1:]
    arguments, unknown = make_parser().parse_known_args(words)
    assert not unknown or arguments.takes_beam_args, unknown
    assert all(word.startswith('--') for word in unknown), unknown
    if hasattr(arguments, 'preset'):
        find_preset(arguments.preset)
    if not hasattr(arguments, 'config') or arguments.config in PLACEHOLDERS:
        return
    assert arguments.config in (EXAMPLE, *built_in_names())
    source = example if arguments.config == EXAMPLE else arguments.config
    config = load_config(source, getattr(arguments, 'set', []))
    if hasattr(arguments, 'models'):
        _check_methods(config, arguments)


def _check_methods(config: RunConfig, arguments: Any) -> None:
    if config.continual is not None:
        names = [parse_transfer_method(text).name for text in arguments.models]
    else:
        frameworks = arguments.frameworks or [config.train.framework]
        methods = parse_methods(config.train, arguments.models, frameworks)
        methods += parse_references(config.train, arguments.references)
        names = [method.name for method in methods]
    assert arguments.baseline is None or arguments.baseline in names


@pytest.mark.parametrize('command', _commands('python'), ids=_ids)
def test_a_module_that_is_run_exists(command):
    words = shlex.split(command.text, comments=True)
    assert words[1] == '-m' and importlib.util.find_spec(words[2]), command.text


@pytest.mark.parametrize('command', _commands('python'), ids=_ids)
def test_an_option_of_a_module_that_is_run_exists(command):
    words = shlex.split(command.text, comments=True)
    source = pathlib.Path(importlib.util.find_spec(words[2]).origin).read_text(encoding='utf-8')
    for word in words[3:]:
        assert not word.startswith('--') or f"'{word.partition('=')[0]}'" in source, word


@pytest.mark.parametrize('command', _commands('make'), ids=_ids)
def test_a_make_target_exists(command):
    targets = [
        word
        for word in shlex.split(command.text, comments=True)[1:]
        if word not in ('&&',) and '=' not in word
    ]
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    for target in targets:
        assert re.search(rf'^{re.escape(target)}:', makefile, re.MULTILINE), target


@pytest.mark.parametrize('snippet', _yaml_blocks(), ids=_ids)
def test_a_configuration_is_accepted(snippet, example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'examples')
    values = read_yaml(snippet.text, snippet.page).values
    path = tmp_path / 'config.yaml'
    if isinstance(values, dict) and 'name' in values:
        path.write_text(snippet.text, encoding='utf-8')
    else:
        whole = read_yaml(pathlib.Path(example).read_text(encoding='utf-8'), EXAMPLE).values
        yaml_files.write(path, _extended(whole, values))
    load_config(str(path), check_components=True)


def _extended(whole: dict[str, Any], part: Any) -> dict[str, Any]:
    """A configuration with a part of one: sections, or a list of features."""
    if isinstance(part, list):
        part = {'dataset': {'features': part}}
    for section, values in part.items():
        if section == 'dataset' and 'features' in values:
            given = {feature['name'] for feature in values['features']}
            features = whole['dataset']['features']
            kept = [feature for feature in features if feature['name'] not in given]
            values = {**values, 'features': kept + values['features']}
        whole[section] = {**whole.get(section, {}), **values}
    return whole


@pytest.fixture(scope='module')
def shop(tmp_path_factory) -> pathlib.Path:
    """A directory with a log and its configuration; pages share the dataset built in it."""
    folder = tmp_path_factory.mktemp('shop')
    write_log(folder / 'log.csv', 2000)
    train = {'model': {'name': 'mlp', 'embedding_dim': 4, 'hidden_units': [8]}, 'epochs': 1}
    write_config(folder / EXAMPLE, folder / 'log.csv', train=train)
    return folder


@pytest.mark.parametrize('page', ['README.md', 'docs/python.md'])
def test_the_python_code_runs(page, shop):
    shutil.rmtree(shop / 'runs' / 'evaluation', ignore_errors=True)
    blocks = [text for language, text in _blocks(ROOT / page) if language == 'python']
    done = subprocess.run(
        [sys.executable, '-c', '\n'.join(blocks)],
        cwd=shop,
        env=with_tests(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (shop / 'runs' / 'evaluation' / 'metrics.json').exists()


@pytest.mark.parametrize('name', MODELS)
def test_a_models_page_has_its_options_and_their_defaults(name):
    page = (ROOT / 'docs' / 'models' / f'{name}.md').read_text(encoding='utf-8')
    assert f'`train.model.name: {name}`' in page
    options = _options(_load(MODELS[name]).Options)
    common = _options(_load('trainer.models.base:CTRModel').Options)
    if common.keys() <= options.keys():
        assert 'index.md#options-of-every-model' in page
        options = {
            key: default
            for key, default in options.items()
            if key not in common or common[key] != default
        }
    assert _table(page, 'option') == options


def test_the_models_index_has_what_every_model_takes():
    page = (ROOT / 'docs' / 'models' / 'index.md').read_text(encoding='utf-8')
    assert _table(page, 'option') == _options(_load('trainer.models.base:CTRModel').Options)
    settings = _options(ModelConfig)
    del settings['name']
    assert _table(page, 'setting') == settings
    assert not [name for name in MODELS if f'[`{name}`]({name}.md)' not in page]


@pytest.mark.parametrize('name', FRAMEWORKS)
def test_a_frameworks_section_has_its_options_and_their_defaults(name):
    page = (ROOT / 'docs' / 'frameworks.md').read_text(encoding='utf-8')
    sections = dict(re.findall(r'^## (\w+)\n(.*?)(?=^## |\Z)', page, re.M | re.S))
    options = _table(sections[name], 'option')
    included = re.search(r'All options of ([^:.]*)', sections[name])
    for other in re.findall(r'\[`(\w+)`\]', included.group(1) if included else ''):
        options |= _table(sections[other], 'option')
    assert options == _options(_load(FRAMEWORKS[name]).Options)


def _load(name: str) -> Any:
    module, _, attribute = name.partition(':')
    return getattr(importlib.import_module(module), attribute)


def _options(options: type[Settings]) -> dict[str, Any]:
    """The defaults of settings by name, as YAML would give them."""
    return to_mapping(options())


def _table(page: str, kind: str) -> dict[str, Any]:
    """The defaults of the tables whose first column is `kind`, by name."""
    defaults = {}
    for table in re.findall(rf'^\| {kind} \| default \|.*\n\|.*\n((?:\|.*\n?)+)', page, re.M):
        for row in table.splitlines():
            name, default = re.match(r'\| `(\w+)` \| `(.*?)` \| ', row).groups()
            defaults[name] = read_yaml(default.replace('\\|', '|'), name).values
    return defaults


@pytest.mark.parametrize('page', PAGES, ids=_relative)
def test_relative_links_resolve(page):
    broken = []
    for target in LINK.findall(_prose(page)):
        if re.match(r'[a-z]+:', target):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize('page', PAGES, ids=_relative)
def test_paths_of_the_project_exist(page):
    if page.name == 'CHANGELOG.md':  # which also names old paths
        return
    named = CODE_PATH.findall(_prose(page))
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize('page', PAGES, ids=_relative)
def test_tests_that_are_named_exist(page):
    missing = []
    for path, name in re.findall(r'`(?:tests/)?([\w/]+\.py)::(\w+)`', _prose(page)):
        file = ROOT / 'tests' / path
        if not file.exists() or f'\ndef {name}(' not in file.read_text(encoding='utf-8'):
            missing.append(f'{path}::{name}')
    assert not missing


def test_the_reliability_page_names_a_test_in_every_row():
    page = (ROOT / 'docs' / 'reliability.md').read_text(encoding='utf-8')
    faults = page.partition('\n## Measured\n')[0].splitlines()
    rows = [
        line for line in faults if re.match(r'\| (\d+ \| )?[`A-Z](?!hat can go wrong)', line)
    ]
    assert len(rows) > 50
    assert not [row for row in rows if not re.search(r'\.py::test_\w+`', row)]
    numbers = [int(row.split()[1]) for row in rows if row.split()[1].isdigit()]
    assert numbers and numbers == sorted(set(numbers))


def test_the_reliability_page_says_which_tests_are_slow():
    page = (ROOT / 'docs' / 'reliability.md').read_text(encoding='utf-8')
    named = re.findall(r'`([\w/]+\.py)::(test_\w+)`( \(`make test-slow`\))?', page)
    wrong = []
    for path, name, said in named:
        text = (ROOT / 'tests' / path).read_text(encoding='utf-8')
        marks = text.partition(f'\ndef {name}(')[0].rpartition('\n\n')[2]
        if bool(said) != ('\n@pytest.mark.slow\n' in f'\n{marks}\n'):
            wrong.append(f'{path}::{name}')
    assert not wrong


@pytest.mark.parametrize('page', PAGES, ids=_relative)
def test_configuration_keys_in_the_text_exist(page):
    if page.name == 'CHANGELOG.md':  # which also names old keys
        return
    sections = '|'.join(RunConfig.model_fields)
    keys = re.findall(rf'`((?:{sections})(?:\.\w+)+)\b', _prose(page))
    assert not [key for key in keys if not _is_key(key)]


def _is_key(key: str) -> bool:
    """Whether the configuration has this dotted key; keys below a mapping are not checked."""
    section: type[Settings] | None = RunConfig
    for name in key.split('.'):
        if section is None:
            return True
        if name not in section.model_fields:
            return False
        section = _section(section.model_fields[name].annotation)
    return True


def _section(annotation: Any) -> type[Settings] | None:
    """The section that a key holds, also if it may be absent."""
    kinds = typing.get_args(annotation) or (annotation,)
    sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)]
    return (
        sections[0]
        if len(sections) == 1 and typing.get_origin(annotation) is not list
        else None
    )


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) <= 200


def test_every_page_is_reached_from_the_readme():
    reached, open_pages = set(), [ROOT / 'README.md']
    while open_pages:
        page = open_pages.pop()
        if page in reached or page.suffix != '.md' or not page.exists():
            continue
        reached.add(page)
        for target in LINK.findall(_prose(page)):
            if not re.match(r'[a-z]+:', target):
                open_pages.append((page.parent / target.partition('#')[0]).resolve())
    assert not set(PAGES) - reached


def _prose(page: pathlib.Path) -> str:
    return FENCED.sub('', page.read_text(encoding='utf-8'))


def _anchors(page: pathlib.Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r'^#+ (.*)$', _prose(page), re.MULTILINE)
    return {
        re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-') for title in titles
    }
