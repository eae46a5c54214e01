"""The process of a step: an unprivileged user, a read-only root, an empty directory."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

USER = 10001
WORKING_DIRECTORY = '/home/mdctr'
_PROJECT = pathlib.Path(__file__).parents[3]
_SCRIPT = pathlib.Path(__file__).with_name('step_root.py')
_MOST_BYTES_OF_AN_ARGUMENT = 131_072  # MAX_ARG_STRLEN of Linux, its final zero included
# As in k8s/Dockerfile; a HOME that cannot be written, as under a read-only root.
_ENVIRONMENT = {
    'TF_USE_LEGACY_KERAS': '1',
    'TF_CPP_MIN_LOG_LEVEL': '2',
    'PYTHONUNBUFFERED': '1',
    'PYTHONDONTWRITEBYTECODE': '1',
    'HOME': WORKING_DIRECTORY,
}


class Sandbox:
    """Starts steps.

    As root, a step runs as the image's user, in a file system where only `/tmp`, the places of
    artifacts and the mounted claims can be written, and where nothing else of this machine is.
    Another user gets the same by a user namespace. Where the machine allows neither, a step is
    a plain process: it sees the machine's files, and artifacts are in a temporary directory.

    Attributes:
        kind: `root`, `user namespace` or `plain`.
    """

    def __init__(self, kind: str | None = None):
        self.kind = kind or _best_kind()

    def describe(self) -> str:
        """What separates a step from this machine, for the log of a test."""
        return {
            'root': f'as user {USER} with a read-only root',
            'user namespace': f'as user {os.getuid()} with a read-only root',
            'plain': 'as plain processes: this machine allows no namespaces',
        }[self.kind]

    def start(
        self,
        command: list[str],
        environment: dict[str, str],
        place: pathlib.Path,
        claims: dict[str, pathlib.Path],
        log: pathlib.Path,
    ) -> subprocess.Popen:
        """Starts a step's program, in a session of its own.

        Args:
            command: The program and its arguments.
            environment: Its variables besides those of the image.
            place: An empty directory of this step; `tmp` and `s3` in it become `/tmp` and
                `/s3`.
            claims: By mount path, the directory that stands for the volume.
            log: The file that its output goes to.

        Raises:
            OSError: An argument is longer than the system passes on.
        """
        for argument in command:
            if len(argument.encode()) >= _MOST_BYTES_OF_AN_ARGUMENT:
                raise OSError(7, 'Argument list too long')
        writable = {'/tmp': place / 'tmp', '/s3': place / 's3'}
        for directory in writable.values():
            directory.mkdir(parents=True, exist_ok=True)
            self._hand_over(directory)
        for claim in claims.values():
            self._hand_over(claim)
        (place / 'root').mkdir(exist_ok=True)
        directory = WORKING_DIRECTORY
        variables = {**self._environment(), **environment}
        if self.kind == 'plain':
            (place / 'directory').mkdir(exist_ok=True)
            directory = str(place / 'directory')
            variables |= {
                'TMPDIR': str(writable['/tmp']),
                'KFP_S3_MOUNT': f'{writable["/s3"]}/',
                'PYTHONPATH': f'{_SCRIPT.parent / "plain"}:{_PROJECT}',
            }
        settings = place / 'settings.json'
        settings.write_text(
            json.dumps(
                {
                    'kind': self.kind,
                    'root': str(place / 'root'),
                    'user': USER,
                    'umask': 0,
                    'read_only': self._read_only(),
                    'directory': directory,
                    'command': command,
                    'environment': variables,
                    'writable': {
                        path: str(source) for path, source in {**writable, **claims}.items()
                    },
                }
            ),
            encoding='utf-8',
        )
        with open(log, 'ab') as output:
            return subprocess.Popen(
                [sys.executable, '-I', '-S', str(_SCRIPT), str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        """Returns the environment variables of the image."""
        return {
            **_ENVIRONMENT,
            'PYTHONPATH': str(_PROJECT),
            'PATH': f'{pathlib.Path(sys.prefix) / "bin"}:/usr/local/bin:/usr/bin:/bin',
        }

    def _read_only(self) -> dict[str, str]:
        """Returns the image's files: by the path that a step sees, the path outside."""
        return {path: path for path in _own_files()}

    def outside(self, path: str, place: pathlib.Path) -> pathlib.Path:
        """Where a path that a step sees below `/tmp` or `/s3` is on this machine."""
        if self.kind == 'plain' and path.startswith('/tmp/'):
            return pathlib.Path(path)
        return place / path.removeprefix('/')

    def _hand_over(self, directory: pathlib.Path) -> None:
        if self.kind == 'root':
            os.chown(directory, USER, USER)


def _own_files() -> list[str]:
    """The system, the interpreter and the project; a path below another one is left out."""
    paths = [
        path
        for path in ('/bin', '/etc', '/lib', '/lib32', '/lib64', '/sbin', '/usr')
        if os.path.exists(path)
    ]
    for path in (os.path.realpath(sys.base_prefix), sys.prefix, str(_PROJECT)):
        if not any(path == taken or path.startswith(taken + '/') for taken in paths):
            paths.append(path)
    return sorted(paths, key=len)


def _best_kind() -> str:
    kinds = ['root'] if os.getuid() == 0 else []
    for kind in [*kinds, 'user namespace']:
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            os.chmod(place, 0o755)
            try:
                started = Sandbox(kind).start(['true'], {}, place, {}, place / 'log')
                if started.wait(60) == 0:
                    return kind
            except OSError:
                continue
    return 'plain'
