"""Builds the image of a Dockerfile without a registry and without a container engine.

Debian's packages (debootstrap) stand in for the base image, and a chroot for the build
container. The steps themselves come from the Dockerfile. It needs root and several GB of disk.
"""

import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.k8s.dockerfile import Dockerfile, Instruction, Stage, expand, is_ignored

SUITE = 'bookworm'
# What python:3.11-slim has beside Debian's essential packages.
PACKAGES = ('python3', 'ca-certificates')
# This machine's way to the registries, as proxies are passed to `docker build`.
_NETWORK = ('PIP_CERT', 'PIP_INDEX_URL', 'PIP_DEFAULT_TIMEOUT', 'http_proxy', 'https_proxy')
_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
# Becomes the build container: what a step mounts or leaves running ends with it.
_ENTER = """
mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" || exit
mount -t tmpfs tmp "$1/tmp" || exit
for path in /etc/resolv.conf /etc/ssl/certs; do
  if [ -e "$path" ] && [ -e "$1$path" ]; then mount --bind "$path" "$1$path" || exit; fi
done
exec chroot --userspec="$2" "$1" /bin/sh -c 'cd "$1" && exec /bin/sh -c "$2"' sh "$3" "$4"
"""


@dataclasses.dataclass
class Image:
    """A built stage.

    Attributes:
        root: Its file system.
        environment: Variables of its processes.
        user: `user:group` of its processes.
        directory: Their working directory.
        command: Default command.
    """

    root: Path
    environment: dict[str, str] = dataclasses.field(default_factory=lambda: {'PATH': _PATH})
    user: str = '0:0'
    directory: str = '/'
    command: list[str] = dataclasses.field(default_factory=list)

    def run(
        self, script: str, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a shell script in the root, with this machine's network.

        Args:
            script: The script, for /bin/sh.
            variables: More variables.
        """
        command = ['unshare', '--mount', '--pid', '--fork', '--propagation=private']
        command += ['--kill-child', 'sh', '-c', _ENTER, 'sh', str(self.root), self.user]
        return subprocess.run(
            [*command, self.directory, script],
            env=self.environment | (variables or {}),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )


class BuildError(Exception):
    """A step of the Dockerfile failed."""


def bootstrap(directory: Path) -> Path:
    """Returns a minimal root of Debian with Debian's own Python; made once.

    Raises:
        BuildError: debootstrap failed.
    """
    root = directory / f'base-{SUITE}'
    if root.exists():
        return root
    partial = directory / f'base-{SUITE}.partial'
    shutil.rmtree(partial, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            'debootstrap',
            '--variant=minbase',
            f'--include={",".join(PACKAGES)}',
            SUITE,
            str(partial),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f'debootstrap failed.\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    partial.rename(root)
    return root


def build(
    dockerfile: Dockerfile,
    context: Path,
    directory: Path,
    arguments: dict[str, str] | None = None,
) -> dict[str | None, Image]:
    """Builds the stages of a Dockerfile whose stages all start from the same base image.

    Args:
        dockerfile: The Dockerfile.
        context: Build context, with a .dockerignore.
        directory: Directory for the roots. A stage that was built from the same instructions
            and files before is not built again.
        arguments: Build arguments.

    Returns:
        The stages by name. The last one, which is the image, has the name None.

    Raises:
        BuildError: A step failed.
    """
    base = bootstrap(directory)
    images: dict[str | None, Image] = {}
    key = ''
    for stage in dockerfile.stages:
        assert stage.base == '${BASE}', stage.base
        name = stage.name or 'image'
        root, record = directory / name, directory / f'{name}.json'
        steps = _Stage(stage, Image(root), context, images, arguments or {})
        key = steps.key(key)
        images[stage.name] = steps.image
        if record.exists():
            known = json.loads(record.read_text(encoding='utf-8'))
            if known.pop('key') == key:
                images[stage.name] = Image(root, **known)
                print(f'{name}: as it was built before', flush=True)
                continue
            record.unlink()
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(['cp', '-a', '--reflink=auto', str(base), str(root)], check=True)
        steps.build()
        described = dataclasses.asdict(steps.image)
        del described['root']
        record.write_text(json.dumps({'key': key, **described}), encoding='utf-8')
    return images


class _Stage:
    def __init__(
        self,
        stage: Stage,
        image: Image,
        context: Path,
        others: dict[str | None, Image],
        given: dict[str, str],
    ) -> None:
        self.image = image
        self._stage, self._context = stage, context
        self._others, self._given = others, given
        self._arguments: dict[str, str] = {}

    def key(self, earlier: str) -> str:
        """Returns a digest of all that the stage is made of.

        Args:
            earlier: Digest of the stages before it.
        """
        parts = hashlib.sha256(
            repr((earlier, self._stage, sorted(self._given.items()))).encode()
        )
        for arguments in self._stage.arguments('COPY'):
            *sources, _ = shlex.split(arguments)
            for source in sources if not sources[0].startswith('--from=') else []:
                for path in self._files(source):
                    parts.update(str(path.relative_to(self._context)).encode())
                    parts.update(path.read_bytes())
        return parts.hexdigest()

    def build(self) -> None:
        for instruction in self._stage.instructions:
            began = time.monotonic()
            getattr(self, f'_{instruction.name.lower()}')(instruction)
            first = ' '.join(instruction.arguments.split())
            print(
                f'{self._stage.name or "image"}: {instruction.name} {first[:60]} '
                f'({time.monotonic() - began:.0f} s)',
                flush=True,
            )

    def _expanded(self, instruction: Instruction) -> str:
        return expand(instruction.arguments, self._arguments | self.image.environment)

    def _arg(self, instruction: Instruction) -> None:
        key, _, default = instruction.arguments.partition('=')
        self._arguments[key] = self._given.get(key, default)

    def _env(self, instruction: Instruction) -> None:
        pairs = [pair.split('=', 1) for pair in shlex.split(self._expanded(instruction))]
        self.image.environment |= dict(pairs)

    def _user(self, instruction: Instruction) -> None:
        self.image.user = self._expanded(instruction)

    def _workdir(self, instruction: Instruction) -> None:
        path = Path(self.image.directory) / self._expanded(instruction)
        self.image.directory = str(path)
        self._inside(path).mkdir(parents=True, exist_ok=True)

    def _cmd(self, instruction: Instruction) -> None:
        self.image.command = json.loads(instruction.arguments)

    def _run(self, instruction: Instruction) -> None:
        network = {name: os.environ[name] for name in _NETWORK if name in os.environ}
        done = self.image.run(
            instruction.arguments,
            {'DEBIAN_FRONTEND': 'noninteractive', **network, **self._arguments},
        )
        if done.returncode:
            raise BuildError(
                f'RUN {instruction.arguments}\nended with {done.returncode}.\n'
                f'{done.stdout[-3000:]}{done.stderr[-3000:]}'
            )

    def _copy(self, instruction: Instruction) -> None:
        *sources, target = shlex.split(self._expanded(instruction))
        if sources[0].startswith('--from='):
            other = self._others[sources.pop(0).removeprefix('--from=')]
            for source in sources:
                destination = self._inside(target)
                destination.parent.mkdir(parents=True, exist_ok=True)
                origin = other.root / source.removeprefix('/')
                subprocess.run(
                    ['cp', '-a', '--reflink=auto', str(origin), str(destination)], check=True
                )
            return
        for source in sources:
            for path in self._files(source):
                below = path.relative_to(self._context / source)
                destination = self._inside(target) / below
                if target.endswith('/'):
                    destination = self._inside(target) / Path(source).name / below
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, destination)
                destination.chmod(path.stat().st_mode & 0o777)

    def _files(self, source: str) -> Iterator[Path]:
        path = self._context / source
        found = sorted(path.rglob('*')) if path.is_dir() else [path]
        for file in found:
            relative = str(file.relative_to(self._context))
            if file.is_file() and not is_ignored(relative, self._context / '.dockerignore'):
                yield file

    def _inside(self, path: str | Path) -> Path:
        return self.image.root / str(Path(self.image.directory) / path).removeprefix('/')
