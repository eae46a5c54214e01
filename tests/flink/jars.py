"""Flink and Beam's job server, from Maven Central, kept in `.cache/flink/`.

The versions are those that the manifests of k8s/components/flink deploy, so that the tests run
the deployed pair. Beam publishes its job server as one large jar; where Maven does not find it,
the artifacts that it is made of have the same classes.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CACHE = ROOT / '.cache' / 'flink'
MANIFESTS = ROOT / 'k8s' / 'components' / 'flink'
LOGGING = 'org.slf4j:slf4j-simple:1.7.36'


class Missing(Exception):
    """A requirement that this machine does not meet, in one sentence."""


class Versions(NamedTuple):
    """The deployed versions.

    Attributes:
        flink: Version of Flink, from the image of the FlinkDeployment.
        beam: Version of Beam's job server, from the image of its Deployment.
    """

    flink: str
    beam: str


def deployed() -> Versions:
    """Returns the versions that the manifests deploy."""
    flink = re.search(r'image: flink:([\d.]+)', (MANIFESTS / 'flink.yaml').read_text())
    server = re.search(
        r'image: apache/beam_flink([\d.]+)_job_server:([\d.]+)',
        (MANIFESTS / 'job-server.yaml').read_text(),
    )
    assert flink and server and flink[1].startswith(f'{server[1]}.')
    return Versions(flink[1], server[2])


class Jars(NamedTuple):
    """Class paths.

    Attributes:
        flink: Class path of Flink's runtime.
        job_server: Class path of Beam's job server.
    """

    flink: str
    job_server: str


def java() -> str:
    """Returns the path of the Java virtual machine.

    Raises:
        Missing: Java is not installed, or is not of a version that Flink supports.
    """
    path = shutil.which('java')
    if not path:
        raise Missing(
            'java is not on PATH: install Java 17 (openjdk-17-jre-headless) to run these tests.'
        )
    done = subprocess.run(
        [path, '-version'], capture_output=True, text=True, timeout=60, check=False
    )
    found = re.search(r'version "(\d+)', done.stderr)
    if not found or not 11 <= int(found[1]) <= 17:
        raise Missing(
            f'Flink {deployed().flink} runs on Java 11 to 17, and {path} is '
            f'{found[1] if found else "of an unknown version"}.'
        )
    return path


def find_jars() -> Jars:
    """Finds or downloads the jars of the deployed versions.

    Raises:
        Missing: Maven is not installed or does not find the jars.
    """
    if not shutil.which('mvn'):
        raise Missing(
            'mvn is not on PATH: install Maven (apt-get install maven) so that these '
            "tests can get Flink and Beam's job server."
        )
    versions = deployed()
    found = CACHE / f'found-{versions.flink}-{versions.beam}.json'
    if found.exists():
        jars = Jars(*json.loads(found.read_text()))
        if all(
            map(os.path.exists, (jars.flink + os.pathsep + jars.job_server).split(os.pathsep))
        ):
            return jars
    CACHE.mkdir(parents=True, exist_ok=True)
    jars = Jars(
        _class_path(f'org.apache.flink:flink-clients:{versions.flink}'), _job_server(versions)
    )
    found.write_text(json.dumps(jars))
    return jars


def _job_server(versions: Versions) -> str:
    """Returns the class path of the job server."""
    runner = f'org.apache.beam:beam-runners-flink-{versions.flink.rpartition(".")[0]}'
    return _one_jar(f'{runner}-job-server:{versions.beam}') or _class_path(
        f'{runner}:{versions.beam}'
    )


def _one_jar(artifact: str) -> str | None:
    """Returns the path of an artifact's jar, or None if Maven does not find it."""
    _, name, version = artifact.split(':')
    code, _ = _maven(['dependency:get', f'-Dartifact={artifact}', '-Dtransitive=false'])
    if code != 0:
        return None
    # The local repository's place depends on Maven's settings: copy the jar out of it.
    code, _ = _maven(
        ['dependency:copy', f'-Dartifact={artifact}', f'-DoutputDirectory={CACHE}']
    )
    path = CACHE / f'{name}-{version}.jar'
    return str(path) if code == 0 and path.exists() else None


def _class_path(artifact: str) -> str:
    """Returns the class path of an artifact with its dependencies."""
    listed, pom = CACHE / 'classpath.txt', CACHE / 'pom.xml'
    pom.write_text(_pom(artifact, LOGGING))
    code, output = _maven(
        ['-f', str(pom), 'dependency:build-classpath', f'-Dmdep.outputFile={listed}']
    )
    if code != 0:
        problem = re.search(r'Could not (find|transfer) artifact \S+', output)
        raise Missing(
            f'Maven does not find {artifact}: '
            f'{problem[0] if problem else output.strip()[-300:]}.'
        )
    return listed.read_text()


def _pom(*artifacts: str) -> str:
    dependencies = ''.join(
        '<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>'
        '</dependency>'.format(*artifact.split(':'))
        for artifact in artifacts
    )
    return (
        '<project>'
        '<modelVersion>4.0.0</modelVersion><groupId>mdctr</groupId>'
        '<artifactId>jars</artifactId><version>1</version>'
        f'<dependencies>{dependencies}</dependencies></project>'
    )


def _maven(arguments: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        ['mvn', '-q', '-B', *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=CACHE,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
