"""Parses the Dockerfile, for the tests that check it and for the one that builds it."""

import dataclasses
import fnmatch
import re
from pathlib import Path, PurePosixPath

_KNOWN = {'ARG', 'FROM', 'RUN', 'COPY', 'ENV', 'USER', 'WORKDIR', 'CMD'}
_VARIABLE = re.compile(r'\$(?:\{(\w+)\}|(\w+))')


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction of a Dockerfile.

    Attributes:
        name: Its name in capitals.
        arguments: What follows the name, continued lines joined.
    """

    name: str
    arguments: str


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of a Dockerfile.

    Attributes:
        name: Its name after `AS`, or None.
        base: The image that it starts from, with variables.
        instructions: The instructions after `FROM`.
    """

    name: str | None
    base: str
    instructions: tuple[Instruction, ...]

    def arguments(self, name: str) -> list[str]:
        """Returns the arguments of all instructions with this name."""
        return [found.arguments for found in self.instructions if found.name == name]


@dataclasses.dataclass(frozen=True)
class Dockerfile:
    """A parsed Dockerfile.

    Attributes:
        defaults: Defaults of the build arguments before the first `FROM`.
        stages: Its stages; the last is the image.
    """

    defaults: dict[str, str]
    stages: tuple[Stage, ...]


def parse(path: Path) -> Dockerfile:
    """Parses a Dockerfile without parser directives and here-documents.

    Raises:
        ValueError: An instruction is not supported.
    """
    defaults: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in _instructions(path.read_text(encoding='utf-8')):
        if instruction.name not in _KNOWN:
            raise ValueError(f'{path}: the instruction {instruction.name} is not supported.')
        if instruction.name == 'FROM':
            base, _, name = instruction.arguments.partition(' AS ')
            stages.append(Stage(name or None, base, ()))
        elif not stages:
            key, _, value = instruction.arguments.partition('=')
            defaults[key] = value
        else:
            stages[-1] = dataclasses.replace(
                stages[-1], instructions=(*stages[-1].instructions, instruction)
            )
    return Dockerfile(defaults, tuple(stages))


def expand(text: str, variables: dict[str, str]) -> str:
    """Replaces the variables in an instruction's arguments; unset ones become empty."""
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], ''), text)


def is_ignored(path: str, ignore_file: Path) -> bool:
    """Tells whether a .dockerignore excludes a path: the last pattern that matches decides.

    Args:
        path: Path relative to the build context.
        ignore_file: The .dockerignore. A pattern matches a path, or a directory above it.
    """
    result = False
    for line in ignore_file.read_text(encoding='utf-8').splitlines():
        line = line.strip()
        if not line or line.startswith('#'):
            continue
        keeps, pattern = line.startswith('!'), line.lstrip('!').rstrip('/')
        parts = PurePosixPath(path)
        if any(_matches(str(part), pattern) for part in (parts, *parts.parents)):
            result = not keeps
    return result


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith('#')]
    found, continued = [], False
    for line in lines:
        if continued:
            found[-1] += line.removesuffix('\\')
        elif line.strip():
            found.append(line.removesuffix('\\'))
        continued = line.endswith('\\')
    return [Instruction(*(part.strip() for part in text.split(None, 1))) for text in found]


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith('**/'):
        return any(
            _matches('/'.join(path.split('/')[start:]), pattern[3:])
            for start in range(path.count('/') + 1)
        )
    return path.count('/') == pattern.count('/') and fnmatch.fnmatch(path, pattern)
