"""Raw files: plain or gzipped, local or on any file system of fsspec."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

from mdctr import storage
from mdctr.errors import UserError
from mdctr.storage import FileInfo

BLOCK_BYTES = 4 << 20


def expand(patterns: Sequence[str]) -> list[str]:
    """The files that match `patterns`, each once, sorted by name.

    Args:
        patterns: Files, directories (all files directly in them) or glob patterns, local or
            URLs (`s3://`, `gs://`, ...).

    Raises:
        UserError: A pattern that no file matches, or only empty files, or whose file system
            cannot be reached. An empty file among others, as Spark and Beam write them, is
            left out.
    """
    found: dict[str, FileInfo] = {}
    for pattern in patterns:
        files = matches(pattern)
        if not files:
            raise UserError(
                f'No file matches {pattern}: name files, directories or patterns that exist.'
            )
        found.update(files)
    with_rows = sorted(path for path, file in found.items() if file.size)
    if not with_rows:
        raise UserError(f'{min(found)} is empty: name files with rows.')
    return with_rows


def matches(pattern: str) -> dict[str, FileInfo]:
    """The files that match a pattern of `expand`, by path."""
    if not storage.is_url(pattern):
        return _matches(pattern)
    with storage.reporting_errors(pattern):
        return _matches(storage.resolve(pattern))


def open_file(path: str) -> IO[bytes]:
    """Opens `path` for reading, decompressed if the name ends in `.gz`."""
    raw = storage.open_file(path)
    if path.endswith('.gz'):
        return io.BufferedReader(gzip.GzipFile(fileobj=raw, mode='rb'))
    return raw


def read_blocks(
    path: str,
    size: int = BLOCK_BYTES,
    begin: int = 0,
    end: int | None = None,
    may_be_empty: bool = False,
) -> Iterator[bytes]:
    """The content of `path` in blocks of whole lines, of about `size` bytes each.

    Every block ends with a line feed, except perhaps the last. One block is held in memory,
    or one line if it is longer.

    Args:
        path: Path of the file, plain or gzipped.
        size: Size of a block in bytes.
        begin: First byte to read, at the start of a line.
        end: Byte after the last one, at the end of a line; None for the end of the file.
        may_be_empty: Whether a file without content is one without blocks.

    Raises:
        UserError: The file does not exist, is empty, cannot be read, or its gzip stream is
            damaged or truncated.
    """
    empty = True
    try:
        with open_file(path) as file:
            if begin:
                file.seek(begin)
            left = sys.maxsize if end is None else end - begin
            rest: list[bytes] = []
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
        raise UserError(
            f'{path} is truncated or not a gzip file ({error}): get it again.'
        ) from None
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}.') from None
    if empty and not may_be_empty:
        raise UserError(f'{path} is empty: name a file with rows.')


def line_ranges(path: str, size: int) -> list[tuple[int, int | None, int]]:
    """A file in ranges of whole lines that can be read independently.

    Args:
        path: Path of the file; a gzipped file has only one range.
        size: Minimum size of a range in bytes, except for the last one.

    Returns:
        For each range, its first byte, the byte after its last one (None for the end of the
        file), and the number of its first line.
    """
    ranges: list[tuple[int, int | None, int]] = [(0, None, 1)]
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
    """The content of a small file; raises the errors of `read_blocks`."""
    return b''.join(read_blocks(path))


def checksum(path: str) -> tuple[int, str]:
    """The size in bytes and the SHA-256 (hexadecimal) of a file as stored."""
    try:
        return storage.size(path), storage.file_digest(path)
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}.') from None


def file_size(path: str) -> int:
    """The size of a file in bytes, as stored."""
    return storage.size(path)


def base_name(path: str) -> str:
    """The last part of a path."""
    return storage.name(path)


def _matches(pattern: str) -> dict[str, FileInfo]:
    if storage.is_directory(pattern):
        return {
            path: file
            for path, file in storage.directory_files(pattern).items()
            if storage.name(path)[0] not in '._'  # hidden files; markers such as _SUCCESS
        }
    if storage.is_file(pattern):
        return {pattern: storage.info(pattern)}
    return storage.glob(pattern)
