"""What the README tells people to write and to type is accepted."""

import pathlib
import re
import shlex

import pytest

from beam_jobs.simulation.presets import find_preset
from pipeline.cli import _parser
from pipeline.config import built_in_names, load_config

README = (pathlib.Path(__file__).parents[2] / 'README.md').read_text(encoding='utf-8')


def _commands() -> list[str]:
    lines = [line.strip() for line in README.splitlines() if line.startswith('    mdctr ')]
    return [line.partition('#')[0].strip() for line in lines]


def test_the_example_configuration_is_valid(tmp_path):
    text, = re.findall(r'```yaml\n(.*?)```', README, re.DOTALL)
    (tmp_path / 'shops.yaml').write_text(text)
    config = load_config(str(tmp_path / 'shops.yaml'))
    assert config.dataset.domain == ['shop']
    assert config.evaluate.max_gauc_drop == 0.005


@pytest.mark.parametrize('command', _commands())
def test_its_commands_are_understood(command):
    parsed, _ = _parser().parse_known_args(shlex.split(command)[1:])
    if hasattr(parsed, 'preset'):
        find_preset(parsed.preset)
        return
    name = parsed.config
    assert name in built_in_names() or name == 'shops.yaml'
