"""Raw files by name: plain or gzipped, on this machine or behind any of Beam's file systems."""

import glob
import gzip
import hashlib
import os
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from beam_jobs.errors import UserError

BLOCK_BYTES = 4 << 20
_REMOTE = re.compile(r'^[a-zA-Z][a-zA-Z0-9+.-]*://')


def expand(patterns: Sequence[str]) -> list[str]:
    """The files that `patterns` name, each once, in the order of their names.

    Args:
        patterns: files, directories (all files directly in them) or glob patterns, local or
            remote (`s3://`, `gs://`, `hdfs://`: whatever the installed Beam reads).

    Raises:
        UserError: a pattern that no file matches, or a file without a byte.
    """
    found = set()
    for pattern in patterns:
        files = matches(pattern)
        if not files:
            raise UserError(f'No file matches {pattern}: name files, directories or patterns '
                            'that exist.')
        for name, size in files.items():
            if size == 0:
                raise UserError(f'{name} is empty: name files with rows.')
        found.update(files)
    return sorted(found)


def matches(pattern: str) -> dict[str, int]:
    """The files that a pattern of `expand` names, with their bytes; none if there are none."""
    pattern = pattern.removeprefix('file://')
    return _remote_matches(pattern) if _REMOTE.match(pattern) else _local_matches(pattern)


def open_file(path: str) -> BinaryIO:
    """Opens `path` for reading its content, unpacked if the name ends in `.gz`."""
    raw = _open_packed(path)
    return gzip.GzipFile(fileobj=raw, mode='rb') if path.endswith('.gz') else raw


def read_blocks(path: str, size: int = BLOCK_BYTES, begin: int = 0,
                end: int | None = None) -> Iterator[bytes]:
    """The content of `path` in blocks of whole lines, of about `size` bytes each.

    Every block ends with a line feed, except perhaps the last. Memory holds one block, or
    one line where a line is longer.

    Args:
        path: the file, plain or gzipped.
        size: of a block.
        begin, end: the bytes that are read, at line borders; all when absent.

    Raises:
        UserError: the file is not there, is empty, cannot be read, or its gzip stream is
            broken or cut short.
    """
    empty = True
    try:
        with open_file(path) as file:
            if begin:
                file.seek(begin)
            left = sys.maxsize if end is None else end - begin
            rest = []
            while data := file.read(min(size, left)):
                left -= len(data)
                empty = False
                cut = data.rfind(b'\n') + 1
                if cut:
                    yield b''.join([*rest, data[:cut]])
                    rest = [data[cut:]] if cut < len(data) else []
                else:
                    rest.append(data)
            if rest:
                yield b''.join(rest)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f'{path} is cut short or is no gzip file ({error}): get it '
                        'again.') from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if empty:
        raise UserError(f'{path} is empty: name a file with rows.')


def line_ranges(path: str, size: int) -> list[tuple[int, int | None, int]]:
    """A file in stretches of whole lines that can be read apart.

    Args:
        path: the file; one that is gzipped has but one stretch.
        size: the fewest bytes of a stretch, save the last.

    Returns:
        Of each stretch the first byte, the byte after the last (None: to the end of the
        file), and the number of its first line.
    """
    ranges = [(0, None, 1)]
    if path.endswith('.gz'):
        return ranges
    place, line = 0, 1
    for block in read_blocks(path):
        place += len(block)
        line += block.count(b'\n')
        begin, _, first = ranges[-1]
        if place - begin >= size and block.endswith(b'\n'):
            ranges[-1] = (begin, place, first)
            ranges.append((place, None, line))
    if len(ranges) > 1 and ranges[-1][0] == place:  # nothing is left for it
        ranges.pop()
    return ranges


def read_whole(path: str) -> bytes:
    """All of a small file; the errors of `read_blocks`."""
    return b''.join(read_blocks(path))


def checksum(path: str) -> tuple[int, str]:
    """The size in bytes and the SHA-256 (hexadecimal) of a file as it lies there."""
    digest, size = hashlib.sha256(), 0
    try:
        with _open_packed(path) as file:
            while data := file.read(BLOCK_BYTES):
                digest.update(data)
                size += len(data)
    except OSError as error:
        raise _unreadable(path, error) from None
    return size, digest.hexdigest()


def file_size(path: str) -> int:
    """The size of a file in bytes, as it lies there."""
    if not _REMOTE.match(path):
        return os.path.getsize(path)
    from apache_beam.io.filesystems import FileSystems
    return FileSystems.match([path])[0].metadata_list[0].size_in_bytes


def base_name(path: str) -> str:
    """The last part of a path."""
    return path.rstrip('/').rsplit('/', 1)[-1]


def _open_packed(path: str) -> BinaryIO:
    if not _REMOTE.match(path):
        return open(path, 'rb')
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f'{path} cannot be read: {error.strerror or error}.')


def _local_matches(pattern: str) -> dict[str, int]:
    if os.path.isdir(pattern):
        names = [os.path.join(pattern, name) for name in os.listdir(pattern)
                 if name[0] not in '._']  # hidden files; markers such as _SUCCESS
    elif os.path.exists(pattern):
        names = [pattern]
    else:
        names = glob.glob(pattern, recursive=True)
    return {name: os.path.getsize(name) for name in names if os.path.isfile(name)}


def _remote_matches(pattern: str) -> dict[str, int]:
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    if pattern.endswith('/'):
        pattern += '*'
    try:
        metadata = FileSystems.match([pattern])[0].metadata_list
    except (BeamIOError, ValueError, ImportError) as error:
        raise UserError(f'{pattern} cannot be looked up: {error}.') from None
    return {found.path: found.size_in_bytes for found in metadata}
