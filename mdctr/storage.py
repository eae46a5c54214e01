"""Files of a workspace, which is a local directory or a prefix of an object store.

All code that reads or writes a workspace does it through this module. A path is a local path or
a URL that fsspec knows, such as `s3://bucket/prefix/file`; credentials and endpoints come from
the environment, in the way of each file system's library. A file that is being written appears
under its name only once it is complete, so that a reader never sees a part and a retry is safe.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import glob as local_patterns
import hashlib
import json
import os
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from mdctr.errors import UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_EXTRAS = {'s3': 's3', 's3a': 's3', 'gs': 'gcs', 'gcs': 'gcs'}
# The libraries of object stores raise exceptions of their own, not all of which are `OSError`.
_LIBRARIES = {'aiobotocore', 'aiohttp', 'botocore', 'gcsfs', 'google', 'requests', 's3fs'}
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
_BLOCK = 1 << 20

# Where the file systems of fsspec have the time: s3fs, gcsfs, adlfs.
_TIMES = ('LastModified', 'mtime', 'last_modified')

_guards: list[tuple[str, Callable[[], None]]] = []


class FileInfo(NamedTuple):
    """What a file system knows about a file.

    Attributes:
        size: Size in bytes.
        modified: Time of the last modification, in seconds since 1970; on object stores often
            a whole number. None if the file system does not tell.
    """

    size: int
    modified: float | None


def is_url(path: str) -> bool:
    """Whether `path` is a URL, and not a local path."""
    return '://' in path


def resolve(path: str) -> str:
    """The absolute local path, or the URL without a trailing slash.

    Raises:
        UserError: No library can be found for the URL.
    """
    if not is_url(path):
        return os.path.abspath(path)
    scheme, _, rest = path.partition('://')
    if scheme in ('file', 'local'):
        return os.path.abspath(rest)
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        install = f'pip install "mdctr[{extra}]"' if extra else str(error)
        raise UserError(f'{path} needs a library that is not installed: {install}.') from None
    except ValueError:
        raise UserError(
            f'{path} has an unknown scheme: use a directory, s3:// or gs://.'
        ) from None
    if not rest.strip('/'):
        raise UserError(f'{path} names no bucket: use {scheme}://BUCKET/PREFIX.')
    return path.rstrip('/')


def join(path: str, *names: str) -> str:
    """Joins names to a path."""
    if is_url(path):
        return posixpath.join(path, *names)
    return os.path.join(path, *names)


def parent(path: str) -> str:
    """The directory that contains `path`."""
    path = path.rstrip('/')
    return posixpath.dirname(path) if is_url(path) else os.path.dirname(path)


def name(path: str) -> str:
    """The last part of `path`."""
    return posixpath.basename(path.rstrip('/'))


def exists(path: str) -> bool:
    """Whether there is a file or a directory; on an object store, any file below the path."""
    if not is_url(path):
        return os.path.exists(path)
    return bool(_system(path).exists(path))


def is_file(path: str) -> bool:
    """Whether there is a file at `path`."""
    if not is_url(path):
        return os.path.isfile(path)
    return bool(_system(path).isfile(path))


def is_directory(path: str) -> bool:
    """Whether there is a directory; on an object store, any file below the path."""
    if not is_url(path):
        return os.path.isdir(path)
    return bool(_system(path).isdir(path))


def size(path: str) -> int:
    """The size of a file in bytes.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    return info(path).size


def info(path: str) -> FileInfo:
    """The size of a file and the time of its last modification.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    if is_url(path):
        return _info(_system(path).info(path))
    status = os.stat(path)
    return FileInfo(status.st_size, status.st_mtime)


def list_directory(path: str) -> list[str]:
    """The sorted names in a directory, without files that are being written; [] if there is
    no such directory."""
    if is_url(path):
        system = _system(path)
        try:
            found = system.ls(path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        own = system._strip_protocol(path)
        names = [name(entry) for entry in found if entry.rstrip('/') != own]
    else:
        try:
            names = os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
    return sorted(entry for entry in names if not _is_temporary(entry))


def list_files(directory: str) -> list[str]:
    """The sorted relative paths of all files below a directory, without files that are being
    written; [] if the directory does not exist."""
    if is_url(directory):
        system = _system(directory)
        own = system._strip_protocol(directory).rstrip('/') + '/'
        found = [path.removeprefix(own) for path in system.find(directory)]
    else:
        found = [
            os.path.relpath(os.path.join(folder, entry), directory)
            for folder, _, entries in os.walk(directory)
            for entry in entries
        ]
    return sorted(path for path in found if not _is_temporary(path))


def directory_files(directory: str) -> dict[str, FileInfo]:
    """The files directly in a directory, by path, without files that are being written."""
    if is_url(directory):
        found = _files(
            directory, {e['name']: e for e in _system(directory).ls(directory, detail=True)}
        )
    else:
        paths = (os.path.join(directory, entry) for entry in sorted(os.listdir(directory)))
        found = {path: info(path) for path in paths if os.path.isfile(path)}
    return {path: file for path, file in found.items() if not _is_temporary(path)}


def glob(pattern: str) -> dict[str, FileInfo]:
    """The files that match a pattern with `*`, `?`, `[...]` or `**`, by path."""
    if is_url(pattern):
        return _files(pattern, _system(pattern).glob(pattern, detail=True))
    paths = sorted(local_patterns.glob(pattern, recursive=True))
    return {path: info(path) for path in paths if os.path.isfile(path)}


def open_file(path: str) -> IO[bytes]:
    """Opens a file for reading; the file can seek.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    if not is_url(path):
        return open(path, 'rb')
    return _system(path).open(path, 'rb', block_size=4 * _BLOCK)


def read_bytes(path: str) -> bytes:
    """The contents of a file."""
    if is_url(path):
        return bytes(_system(path).cat_file(path))
    with open(path, 'rb') as file:
        return file.read()


def read_text(path: str) -> str:
    """The contents of a UTF-8 file, with its line ends as they are."""
    return read_bytes(path).decode()


def read_json(path: str) -> Any:
    """The values of a JSON file.

    Raises:
        ValueError: The file is not JSON.
    """
    return json.loads(read_bytes(path))


def file_digest(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_file(path: str) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` when the context is left without an error.

        with atomic_file(path) as file:
            file.write(b'...')

    Locally it is written under a unique temporary name in the same directory, which is created
    if it does not exist, and renamed; for an object store it is written to a temporary local
    file and uploaded. An error in the context removes it.
    """
    if is_url(path):
        with tempfile.NamedTemporaryFile() as file:
            yield file
            file.flush()
            _before_write(path)
            _system(path).put_file(file.name, path)
        return

    def replace(temporary: str, path: str) -> None:
        _before_write(path)
        os.replace(temporary, path)

    with _complete_file(path, replace) as local:
        yield local


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file atomically."""
    if is_url(path):
        _before_write(path)
        _system(path).pipe_file(path, data)
        return
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: str, text: str) -> None:
    """Writes a UTF-8 file atomically."""
    write_bytes(path, text.encode())


def write_json(path: str, values: Any) -> None:
    """Writes an indented JSON file atomically.

    Raises:
        ValueError: `values` contain NaN or an infinity, which JSON does not have.
    """
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + '\n')


def create(path: str, data: bytes) -> bool:
    """Creates a file with its contents unless it exists; one of several callers succeeds.

    Returns:
        Whether this call created the file.
    """
    _before_write(path)
    if is_url(path):
        return _create_object(path, data)
    try:
        with _complete_file(path, os.link) as file:  # unlike a rename, fails if there is a file
            file.write(data)
    except FileExistsError:
        return False
    return True


def remove(path: str) -> None:
    """Removes a file, if there is one."""
    _before_write(path)
    with contextlib.suppress(FileNotFoundError):
        if is_url(path):
            _system(path).rm_file(path)
        else:
            os.remove(path)


def remove_directory(path: str) -> None:
    """Removes a directory with all its files, if there is one."""
    _before_write(path)
    if not is_url(path):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
        return
    with contextlib.suppress(FileNotFoundError):
        _system(path).rm(path, recursive=True)


def download(directory: str, local: str, names: Iterable[str] | None = None) -> None:
    """Copies files of a directory to a local directory.

    Args:
        directory: Directory to read.
        local: Local directory, which is created.
        names: Relative paths of the files; all if None.
    """
    for path in list_files(directory) if names is None else names:
        target = os.path.join(local, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if is_url(directory):
            _system(directory).get_file(join(directory, path), target)
        else:
            shutil.copyfile(os.path.join(directory, path), target)


def upload(local: str, directory: str, last: Iterable[str] = ()) -> None:
    """Copies all files of a local directory, each atomically.

    Args:
        local: Local directory.
        directory: Directory to write; its other files stay as they are.
        last: Relative paths of the files that are written last, in this order: those by which
            readers know that the others are there.
    """
    last = list(last)
    paths = list_files(local)
    for path in [path for path in paths if path not in last] + [p for p in last if p in paths]:
        upload_file(os.path.join(local, path), join(directory, path))


def upload_file(local: str, path: str) -> None:
    """Copies a local file atomically."""
    if is_url(path):
        _before_write(path)
        _system(path).put_file(local, path)
        return
    with open(local, 'rb') as source, atomic_file(path) as file:
        shutil.copyfileobj(source, file, _BLOCK)


def rename_directory(source: str, target: str) -> None:
    """Renames a local directory, which thereby appears at once with all its files.

    Raises:
        OSError: `target` exists and is not empty.
    """
    _before_write(target)
    os.rename(source, target)


@contextlib.contextmanager
def local_directory(directory: str) -> Iterator[str]:
    """The directory itself if it is local, else a copy that is removed afterwards."""
    if not is_url(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory() as local:
        download(directory, local)
        yield local


@contextlib.contextmanager
def guard(path: str, check: Callable[[], None]) -> Iterator[None]:
    """Calls `check` before this process writes or removes a path, or anything below it."""
    guarded = (path.rstrip('/') + '/', check)
    _guards.append(guarded)
    try:
        yield
    finally:
        _guards.remove(guarded)


def check_write(path: str) -> None:
    """Makes the checks that precede a write, for files that a library writes itself."""
    _before_write(path)


def check_writable(directory: str) -> None:
    """Makes sure that files can be written to a directory, before any work is done for them.

    A small file is written and removed: locally in the directory, or in the closest one above
    it that exists, so that no directory is created.

    Args:
        directory: Directory or URL, which need not exist.

    Raises:
        UserError: The directory cannot be written.
    """
    with reporting_errors(directory):
        place = directory if is_url(directory) else _closest_existing(directory)
        path = join(place, f'.{uuid.uuid4().hex}.tmp')
        write_bytes(path, b'mdctr')
        remove(path)


@contextlib.contextmanager
def reporting_errors(path: str) -> Iterator[None]:
    """Turns errors of the file system into one sentence about `path`.

    Raises:
        UserError: The context raised an `OSError`, an error of an object store's library, or
            an error of TensorFlow about a disk.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_storage_error(error):
            raise
        raise UserError(describe_error(path, error)) from error


def is_storage_error(error: BaseException) -> bool:
    """Whether an error comes from a file system rather than from our code."""
    return (
        isinstance(error, OSError)
        or type(error).__module__.split('.')[0] in _LIBRARIES
        or _tensorflow_disk_error(error) is not None
    )


def describe_error(path: str, error: BaseException) -> str:
    """The sentence that tells the user why `path` could not be read or written."""
    number = _tensorflow_disk_error(error)
    if number is not None:  # TensorFlow writes local files only
        path = tempfile.gettempdir() if is_url(path) else path
        error = OSError(number, os.strerror(number))
    number = getattr(error, 'errno', None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f'The disk of {path} is full: free some space, then run the command again.'
    if number == errno.EROFS:
        return f'{path} is read-only: use a workspace that can be written.'
    where = getattr(error, 'filename', None) or path
    if type(error).__name__ == 'NoCredentialsError':
        return f'{path} needs credentials, and the environment has none.'
    if isinstance(error, PermissionError):
        return f'{where} cannot be accessed ({_reason(error)}): check its permissions.'
    if isinstance(error, FileNotFoundError) and is_url(path):
        return f'{where} does not exist ({_reason(error)}): check its bucket and name.'
    return f'{where} cannot be read or written: {_reason(error)}.'


def _tensorflow_disk_error(error: BaseException) -> int | None:
    """The number of the disk's error that an exception of TensorFlow names in its text."""
    if type(error).__module__.split('.')[0] == 'tensorflow':
        for number in _DISK_ERRORS:
            if os.strerror(number) in str(error):
                return number
    return None


def _reason(error: BaseException) -> str:
    text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return ' '.join(text.split()).rstrip('.')


@contextlib.contextmanager
def _complete_file(path: str, publish: Callable[[str, str], None]) -> Iterator[IO[bytes]]:
    """A local file with a temporary name, which `publish` replaces once it is complete."""
    temporary = f'{path}.{uuid.uuid4().hex}.tmp'
    directory = os.path.dirname(path) or '.'
    try:
        os.makedirs(directory, exist_ok=True)
    except FileExistsError as error:  # must not be taken for an existing `path`
        reason = os.strerror(errno.ENOTDIR)
        raise NotADirectoryError(errno.ENOTDIR, reason, directory) from error
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()  # a full disk can show itself here
            os.fsync(file.fileno())
        publish(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def _closest_existing(path: str) -> str:
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _is_temporary(path: str) -> bool:
    return path.endswith('.tmp')


def _before_write(path: str) -> None:
    """Called before every write or removal, with the path."""
    for prefix, check in list(_guards):
        if (path + '/').startswith(prefix):
            check()


def forget_connections() -> None:
    """Drops all connections, so that the next access uses the current environment."""
    _system_of.cache_clear()


def _system(path: str) -> AbstractFileSystem:
    return _system_of(path.partition('://')[0], os.getpid())


@functools.cache
def _system_of(scheme: str, process: int) -> AbstractFileSystem:
    """The file system of a scheme; another one in each process, which a fork would break."""
    import fsspec

    # Listings change while a process runs, through others: none may be cached.
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)


def _files(url: str, entries: Mapping[str, Any]) -> dict[str, FileInfo]:
    """The files among the entries of a file system, by URL."""
    scheme = url.partition('://')[0]
    return {
        f'{scheme}://{path}': _info(entry)
        for path, entry in sorted(entries.items())
        if entry['type'] == 'file' and not path.endswith('/')
    }


def _info(entry: Mapping[str, Any]) -> FileInfo:
    times = [entry[key] for key in _TIMES if isinstance(entry.get(key), datetime)]
    return FileInfo(int(entry['size']), times[0].timestamp() if times else None)


def _create_object(path: str, data: bytes) -> bool:
    system = _system(path)
    try:
        system.pipe_file(path, data, mode='create')
    except FileExistsError:
        return False
    except Exception as error:
        if _is_precondition_failure(error):
            return False
        raise
    return True


def _is_precondition_failure(error: BaseException) -> bool:
    """Whether an object store refused to create an object that exists."""
    text = f'{getattr(error, "code", "")} {error}'
    return '412' in text or 'PreconditionFailed' in text or 'pre-condition' in text.lower()
