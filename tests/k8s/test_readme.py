"""The README names tests that exist."""

import re

from tests.k8s.manifests import K8S, ROOT


def test_the_table_of_tests_names_tests_and_make_targets_that_exist():
    table = (K8S / 'README.md').read_text().split('## What was tested')[1]
    sources = ''.join(path.read_text() for path in (ROOT / 'tests').rglob('test_*.py'))
    names = re.findall(r'`(test_\w+)`', table)
    assert len(names) >= 10
    for name in names:
        assert f'def {name}(' in sources, name
    makefile = (ROOT / 'Makefile').read_text()
    for target in re.findall(r'`make ([\w-]+)`', table):
        assert f'\n{target}:' in makefile, target
