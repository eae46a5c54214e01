"""A missing requirement is reported in one sentence."""

import pytest

from tests.flink import jars


@pytest.fixture
def empty_path(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    return tmp_path


def program(path, text: str) -> None:
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)


def test_a_missing_java_is_one_sentence(empty_path):
    with pytest.raises(jars.Missing, match='java is not on PATH: install Java 17'):
        jars.java()


@pytest.mark.parametrize('version', ['1.8.0_402', '21.0.2'])
def test_a_java_that_flink_does_not_run_on_is_one_sentence(empty_path, version):
    program(empty_path / 'java', f'''echo 'openjdk version "{version}"' >&2''')
    with pytest.raises(jars.Missing, match='runs on Java 11 to 17'):
        jars.java()


def test_java_17_is_accepted(empty_path):
    program(empty_path / 'java', """echo 'openjdk version "17.0.15" 2025-04-15' >&2""")
    assert jars.java() == str(empty_path / 'java')


def test_a_missing_maven_is_one_sentence(empty_path, monkeypatch):
    monkeypatch.setattr(jars, 'CACHE', empty_path / 'cache')
    with pytest.raises(jars.Missing, match='mvn is not on PATH: install Maven'):
        jars.find_jars()


def test_a_maven_that_finds_nothing_is_one_sentence(empty_path, monkeypatch):
    monkeypatch.setattr(jars, 'CACHE', empty_path / 'cache')
    program(
        empty_path / 'mvn',
        """echo 'Could not transfer artifact a:b:jar:1 from central'
exit 1""",
    )
    with pytest.raises(
        jars.Missing, match='Maven does not find org.apache.flink:flink-clients'
    ):
        jars.find_jars()
