"""Flink and Beam's job server, from Maven Central, kept in `.cache/flink/`.

Beam publishes its job server as one large jar. Where the one of the installed Beam cannot be
had, the newest version is taken whose parts can: they are the same classes, and what passes
between the job server and Python is a protocol that is kept from version to version.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

CACHE = Path(__file__).parents[2] / '.cache' / 'flink'
FLINK = '1.19.3'
# Of Beam's versions before the installed one, those tried, newest first.
FALLBACKS = ('2.70.0', '2.65.0', '2.62.0')
LOGGING = 'org.slf4j:slf4j-simple:1.7.36'


class Missing(Exception):
    """What this machine lacks, in one sentence."""


class Jars(NamedTuple):
    """Class paths.

    Attributes:
        flink: of Flink's runtime.
        job_server: of Beam's job server.
        beam: the version of that job server.
    """

    flink: str
    job_server: str
    beam: str


def java() -> str:
    """The Java virtual machine to run.

    Raises:
        Missing: there is none, or one older than 11.
    """
    path = shutil.which('java')
    if not path:
        raise Missing('java is not on PATH: install Java 17 (openjdk-17-jre-headless) to run '
                      'these tests.')
    done = subprocess.run([path, '-version'], capture_output=True, text=True, timeout=60,
                          check=False)
    found = re.search(r'version "(\d+)', done.stderr)
    if not found or not 11 <= int(found[1]) <= 17:
        raise Missing(f'Flink {FLINK} runs on Java 11 to 17, and {path} is '
                      f'{found[1] if found else "of an unknown version"}.')
    return path


def find_jars(beam: str) -> Jars:
    """Finds or fetches the jars.

    Args:
        beam: the version of the installed Beam.

    Raises:
        Missing: Maven is not installed, or has no way to the jars.
    """
    if not shutil.which('mvn'):
        raise Missing('mvn is not on PATH: install Maven (apt-get install maven) so that these '
                      "tests can get Flink and Beam's job server.")
    found = CACHE / f'found-{FLINK}-{beam}.json'
    if found.exists():
        jars = Jars(*json.loads(found.read_text()))
        if all(map(os.path.exists, (jars.flink + os.pathsep + jars.job_server).split(
                os.pathsep))):
            return jars
    CACHE.mkdir(parents=True, exist_ok=True)
    jars = Jars(_class_path(f'org.apache.flink:flink-clients:{FLINK}'), *_job_server(beam))
    found.write_text(json.dumps(jars))
    return jars


def _job_server(beam: str) -> tuple[str, str]:
    """The class path of the job server, and its version."""
    minor = FLINK.rpartition('.')[0]
    one_jar = _one_jar(f'org.apache.beam:beam-runners-flink-{minor}-job-server:{beam}')
    if one_jar:
        return one_jar, beam
    problems = []
    for version in (beam, *FALLBACKS):
        try:
            return _class_path(f'org.apache.beam:beam-runners-flink-{minor}:{version}'), version
        except Missing as error:
            problems.append(str(error))
    raise Missing(f"Beam's job server for Flink {minor} cannot be had. {' '.join(problems)}")


def _one_jar(artifact: str) -> str | None:
    """The path of an artifact's jar; None where Maven does not find it."""
    _, name, version = artifact.split(':')
    code, _ = _maven(['dependency:get', f'-Dartifact={artifact}', '-Dtransitive=false'])
    if code != 0:
        return None
    # Maven's own repository is wherever its settings say: it puts the jar where we want it.
    code, _ = _maven(['dependency:copy', f'-Dartifact={artifact}',
                      f'-DoutputDirectory={CACHE}'])
    path = CACHE / f'{name}-{version}.jar'
    return str(path) if code == 0 and path.exists() else None


def _class_path(artifact: str) -> str:
    """The class path of an artifact and all that it needs."""
    listed, pom = CACHE / 'classpath.txt', CACHE / 'pom.xml'
    pom.write_text(_pom(artifact, LOGGING))
    code, output = _maven(['-f', str(pom), 'dependency:build-classpath',
                           f'-Dmdep.outputFile={listed}'])
    if code != 0:
        problem = re.search(r'Could not (find|transfer) artifact \S+', output)
        raise Missing(f'Maven does not get {artifact}: '
                      f'{problem[0] if problem else output.strip()[-300:]}.')
    return listed.read_text()


def _pom(*artifacts: str) -> str:
    dependencies = ''.join(
        '<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>'
        '</dependency>'.format(*artifact.split(':')) for artifact in artifacts)
    return ('<project>'
            '<modelVersion>4.0.0</modelVersion><groupId>mdctr</groupId>'
            '<artifactId>jars</artifactId><version>1</version>'
            f'<dependencies>{dependencies}</dependencies></project>')


def _maven(arguments: list[str]) -> tuple[int, str]:
    done = subprocess.run(['mvn', '-q', '-B', *arguments], capture_output=True, text=True,
                          timeout=900, cwd=CACHE, check=False)
    return done.returncode, done.stdout + done.stderr
