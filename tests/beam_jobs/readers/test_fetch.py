"""Public data is fetched from its home or a package, verified, and kept."""

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from beam_jobs.readers.fetch import SOURCES, Source, fetch
from mdctr.errors import UserError
from tests.beam_jobs.raw_data import public_data

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
    assert [path.name for path in (tmp_path / 'cache').iterdir()] == ['tiny']


def test_a_damaged_copy_is_fetched_again(tmp_path, packages, monkeypatch):
    monkeypatch.setitem(SOURCES, 'tiny', _source())
    packages(FILES)
    damaged = tmp_path / 'tiny' / 'deep' / 'b.txt'
    fetch('tiny', str(tmp_path))
    damaged.write_bytes(b'gamma\n')
    fetch('tiny', str(tmp_path))
    assert damaged.read_bytes() == b'beta\n'


def test_another_content_is_refused(tmp_path, packages, monkeypatch):
    monkeypatch.setitem(SOURCES, 'tiny', _source())
    packages({**FILES, 'a.txt': b'other\n'})
    with pytest.raises(UserError) as error:
        fetch('tiny', str(tmp_path / 'cache'))
    assert 'tinydata==1.0: the checksum of a.txt is not the expected one' in str(error.value)
    assert not (tmp_path / 'cache' / 'tiny').exists()


def test_home_goes_first(tmp_path, packages, home, monkeypatch):
    address, served = home
    served['body'] = _zip({'tiny/u.data': b'1\n', 'tiny/other': b'2\n'})
    monkeypatch.setitem(
        SOURCES,
        'tiny',
        _source(
            home=address,
            home_md5=hashlib.md5(served['body']).hexdigest(),
            home_files=('u.data',),
        ),
    )
    fetch('tiny', str(tmp_path))
    kept = tmp_path / 'tiny' / 'u.data'
    assert kept.read_bytes() == b'1\n'
    assert not (tmp_path / 'tiny' / 'other').exists()
    served['body'] = b''
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
