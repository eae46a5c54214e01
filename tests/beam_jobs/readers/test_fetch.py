"""Public data is fetched from its home or a package, verified, and kept."""

import hashlib
import io
import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from beam_jobs.readers.fetch import SOURCES, Source, fetch
from mdctr import storage
from mdctr.errors import UserError
from tests.beam_jobs.raw_data import public_data
from tests.stopped_writes import StoppedProcess

FILES = {'a.txt': b'alpha\n', 'deep/b.txt': b'beta\n'}
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """pip finds packages in a directory alone; gives a function that puts one there."""
    directory = tmp_path / 'packages'
    directory.mkdir()
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(directory))

    def put(files: dict[str, bytes]) -> None:
        info = 'tinydata-1.0.dist-info'
        (directory / 'tinydata-1.0-py3-none-any.whl').write_bytes(
            _zip(
                {
                    **{f'tinydata/files/{name}': content for name, content in files.items()},
                    f'{info}/METADATA': (
                        b'Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n'
                    ),
                    f'{info}/WHEEL': b'Wheel-Version: 1.0\nRoot-Is-Purelib: true\n'
                    b'Tag: py3-none-any\n',
                    f'{info}/RECORD': b'',
                }
            )
        )

    return put


@pytest.fixture
def home():
    """A server on this machine; gives its address and the bytes that it serves."""
    served = {'body': b''}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if served['body'] else 404)
            self.end_headers()
            self.wfile.write(served['body'])

        def log_message(self, *arguments):
            pass

    server = HTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}/x.zip', served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=['local', 's3'])
def cache(request, tmp_path):
    """A directory for raw data, on a disk and on an object store."""
    if request.param == 'local':
        return str(tmp_path / 'runs' / 'cache')
    return request.getfixturevalue('bucket') + '/runs/cache'


def _source(**changes) -> Source:
    return Source(
        **{
            'terms': 'Tiny data: for tests',
            'wheel': 'tinydata==1.0',
            'folder': 'tinydata/files',
            'sha256': SUMS,
            **changes,
        }
    )


def _from_home(home, files: dict[str, bytes], kept: tuple[str, ...] = ()) -> Source:
    """A source whose archive is served; all of its files are kept if none is named."""
    address, served = home
    served['body'] = _zip({f'tiny/{name}': content for name, content in files.items()})
    digest = hashlib.md5(served['body']).hexdigest()
    return _source(home=address, home_md5=digest, home_files=kept or tuple(files))


def test_from_a_package_then_from_the_cache(tmp_path, packages, monkeypatch, capsys):
    monkeypatch.setitem(SOURCES, 'tiny', _source())
    packages(FILES)
    directory = fetch('tiny', str(tmp_path / 'cache'))
    assert capsys.readouterr().err == 'Fetching Tiny data: for tests.\n'
    for name, content in FILES.items():
        assert (tmp_path / 'cache' / 'tiny' / name).read_bytes() == content
    (tmp_path / 'packages' / 'tinydata-1.0-py3-none-any.whl').unlink()
    assert fetch('tiny', str(tmp_path / 'cache')) == directory
    assert capsys.readouterr().err == ''
    assert storage.list_directory(str(tmp_path / 'cache')) == ['leases', 'tiny']


def test_a_damaged_copy_is_fetched_again(tmp_path, packages, monkeypatch):
    monkeypatch.setitem(SOURCES, 'tiny', _source())
    packages(FILES)
    damaged = tmp_path / 'tiny' / 'deep' / 'b.txt'
    fetch('tiny', str(tmp_path))
    damaged.write_bytes(b'gamma\n')
    fetch('tiny', str(tmp_path))
    assert damaged.read_bytes() == b'beta\n'


def test_a_cache_on_an_object_store(bucket, packages, monkeypatch, capsys):
    monkeypatch.setitem(SOURCES, 'tiny', _source())
    packages(FILES)
    directory = fetch('tiny', bucket + '/cache')
    assert directory == bucket + '/cache/tiny'
    assert storage.read_bytes(directory + '/deep/b.txt') == b'beta\n'
    capsys.readouterr()
    assert fetch('tiny', bucket + '/cache') == directory
    assert capsys.readouterr().err == ''  # nothing was fetched


def fetch_tiny(source: Source, cache: str, environment: dict[str, str]) -> None:
    """Fetches in a process of its own."""
    os.environ.update(environment)
    SOURCES['tiny'] = source
    fetch('tiny', cache)


@pytest.mark.parametrize('write', range(1, 7))  # the lease, a file, terms, sums, ...
def test_fetching_is_killed_and_repeated(cache, home, write, monkeypatch):
    source = _from_home(home, {'u.data': b'1\n', 'u.item': b'2\n'})
    monkeypatch.setitem(SOURCES, 'tiny', source)
    environment = {name: value for name, value in os.environ.items() if name[:4] == 'AWS_'}
    process = StoppedProcess(fetch_tiny, (source, cache, environment), at=write)
    assert process.was_killed()
    directory = fetch('tiny', cache)
    home[1]['body'] = b''
    assert fetch('tiny', cache) == directory  # from the cache
    assert storage.list_directory(directory) == ['SHA256SUMS', 'TERMS', 'u.data', 'u.item']
    assert storage.read_bytes(directory + '/u.item') == b'2\n'


def test_a_package_replaces_a_part_of_the_archive_of_the_home(tmp_path, packages, monkeypatch):
    monkeypatch.setitem(SOURCES, 'tiny', _source(home_files=('u.data',)))
    packages(FILES)
    storage.write_bytes(str(tmp_path / 'tiny' / 'u.data'), b'1\n')  # and then it was killed
    fetch('tiny', str(tmp_path))
    (tmp_path / 'packages' / 'tinydata-1.0-py3-none-any.whl').unlink()
    fetch('tiny', str(tmp_path))  # from the cache
    assert not (tmp_path / 'tiny' / 'u.data').exists()


def test_another_content_is_refused(tmp_path, packages, monkeypatch):
    monkeypatch.setitem(SOURCES, 'tiny', _source())
    packages({**FILES, 'a.txt': b'other\n'})
    with pytest.raises(UserError) as error:
        fetch('tiny', str(tmp_path / 'cache'))
    assert 'tinydata==1.0: the checksum of a.txt is not the expected one' in str(error.value)
    assert not (tmp_path / 'cache' / 'tiny').exists()


def test_home_goes_first(tmp_path, packages, home, monkeypatch):
    source = _from_home(home, {'u.data': b'1\n', 'other': b'2\n'}, kept=('u.data',))
    monkeypatch.setitem(SOURCES, 'tiny', source)
    fetch('tiny', str(tmp_path))
    kept = tmp_path / 'tiny' / 'u.data'
    assert kept.read_bytes() == b'1\n'
    assert not (tmp_path / 'tiny' / 'other').exists()
    home[1]['body'] = b''
    fetch('tiny', str(tmp_path))  # from the cache
    kept.write_bytes(b'3\n')
    with pytest.raises(UserError, match='404'):
        fetch('tiny', str(tmp_path))


def test_an_unexpected_archive_of_the_home_is_left(tmp_path, packages, home, monkeypatch):
    address, served = home
    served['body'] = _zip({'tiny/u.data': b'1\n'})
    monkeypatch.setitem(
        SOURCES, 'tiny', _source(home=address, home_md5='0' * 32, home_files=('u.data',))
    )
    packages(FILES)
    fetch('tiny', str(tmp_path))
    assert (tmp_path / 'tiny' / 'a.txt').exists()


def test_no_way_to_fetch_names_what_was_tried(tmp_path, packages, home, monkeypatch):
    address, _ = home
    monkeypatch.setitem(
        SOURCES, 'tiny', _source(home=address, home_md5='0' * 32, home_files=('u.data',))
    )
    with pytest.raises(UserError) as error:
        fetch('tiny', str(tmp_path))
    message = str(error.value)
    assert address in message and '404' in message
    assert 'pip download tinydata==1.0' in message
    assert '\n' not in message and message.endswith('--set dataset.inputs=[DIRECTORY].')


def test_unknown_name():
    with pytest.raises(UserError, match='movielens-100k, open-bandit'):
        fetch('netflix', '/nowhere')


@pytest.mark.parametrize('name', ['movielens-100k', 'open-bandit'])
def test_the_real_ones(name):
    directory = public_data(name)
    for path, checksum in SOURCES[name].sha256.items():
        file = Path(directory, path)
        if SOURCES[name].home_files and not file.exists():
            return  # it came from its home, in the other layout
        assert hashlib.sha256(file.read_bytes()).hexdigest() == checksum
