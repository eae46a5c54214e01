"""Raw files are found, opened and read in whole lines, or refused in one sentence."""

import gzip
import hashlib

import pytest

from beam_jobs.errors import UserError
from beam_jobs.files import checksum, expand, file_size, line_ranges, read_blocks, read_whole

TEXT = b''.join(b'%d,%s\n' % (n, b'x' * (n % 50)) for n in range(500))


@pytest.mark.parametrize('name', ['log.csv', 'log.csv.gz'])
@pytest.mark.parametrize('size', [1, 7, 64, 1 << 20])
@pytest.mark.parametrize('end', [b'', b'last line without an end'])
def test_blocks_are_whole_lines(tmp_path, name, size, end):
    path = tmp_path / name
    opener = gzip.open if name.endswith('.gz') else open
    with opener(path, 'wb') as file:
        file.write(TEXT + end)
    blocks = list(read_blocks(str(path), size))
    assert b''.join(blocks) == TEXT + end == read_whole(str(path))
    assert all(block.endswith(b'\n') for block in blocks[:-1])
    assert all(block for block in blocks)
    assert max(map(len, blocks)) <= max(2 * size, 60) or len(blocks) == 1


def test_truncated_gzip_is_one_sentence(tmp_path):
    path = tmp_path / 'log.csv.gz'
    path.write_bytes(gzip.compress(TEXT)[:-20])
    with pytest.raises(UserError, match='log.csv.gz is cut short or is no gzip file'):
        read_whole(str(path))


def test_what_is_no_gzip_is_one_sentence(tmp_path):
    path = tmp_path / 'log.csv.gz'
    path.write_bytes(TEXT)
    with pytest.raises(UserError, match='log.csv.gz is cut short or is no gzip file'):
        read_whole(str(path))


def test_empty_files_are_refused(tmp_path):
    (tmp_path / 'a.csv').touch()
    (tmp_path / 'b.csv.gz').write_bytes(gzip.compress(b''))
    with pytest.raises(UserError, match='a.csv is empty'):
        expand([str(tmp_path / 'a.csv')])
    with pytest.raises(UserError, match='b.csv.gz is empty'):
        read_whole(str(tmp_path / 'b.csv.gz'))


def test_patterns(tmp_path):
    for name in ('b.csv', 'a.csv', 'c.txt', '_SUCCESS', '.hidden', 'deep/d.csv'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'x' if name != '_SUCCESS' else b'')
    names = {name: str(tmp_path / name) for name in ('a.csv', 'b.csv', 'c.txt', 'deep/d.csv')}
    assert expand([str(tmp_path)]) == [names['a.csv'], names['b.csv'], names['c.txt']]
    assert expand([str(tmp_path / '*.csv'), names['a.csv']]) == [names['a.csv'],
                                                                 names['b.csv']]
    assert expand([str(tmp_path / '**' / '*.csv')]) == [names['a.csv'], names['b.csv'],
                                                        names['deep/d.csv']]
    with pytest.raises(UserError, match=r'No file matches .*nothing\*'):
        expand([str(tmp_path), str(tmp_path / 'nothing*')])


def test_unknown_remote_file_system():
    with pytest.raises(UserError, match='nowhere://x/y cannot be looked up'):
        expand(['nowhere://x/y'])


def test_remote_files(tmp_path):
    """Through a file system that Beam finds by the scheme, as it does for s3:// or gs://."""
    from apache_beam.io.filesystem import FileMetadata, MatchResult
    from apache_beam.io.localfilesystem import LocalFileSystem

    class Elsewhere(LocalFileSystem):
        @classmethod
        def scheme(cls):
            return 'elsewhere'

        def match(self, patterns, limits=None):
            found = super().match([pattern.removeprefix('elsewhere:/') for pattern in patterns])
            return [MatchResult(result.pattern, [
                FileMetadata('elsewhere:/' + meta.path, meta.size_in_bytes)
                for meta in result.metadata_list]) for result in found]

        def open(self, path, *arguments, **named):
            return super().open(path.removeprefix('elsewhere:/'), *arguments, **named)

    (tmp_path / 'a.csv').write_bytes(TEXT)
    (tmp_path / 'b.csv.gz').write_bytes(gzip.compress(TEXT))
    root = f'elsewhere:/{tmp_path}'
    assert expand([root + '/']) == [root + '/a.csv', root + '/b.csv.gz']
    for path in expand([root + '/*.csv*']):
        assert read_whole(path) == TEXT
    assert checksum(root + '/a.csv') == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
    assert file_size(root + '/a.csv') == len(TEXT)
    with pytest.raises(UserError, match='No file matches elsewhere:/.*nothing'):
        expand([root + '/nothing*'])
    assert expand([f'file://{tmp_path}/a.csv']) == [str(tmp_path / 'a.csv')]


@pytest.mark.parametrize('size', [1, 50, 1000, 1 << 20])
def test_ranges_are_the_whole_file(tmp_path, size):
    path = tmp_path / 'log.csv'
    path.write_bytes(TEXT + b'last line without an end')
    ranges = line_ranges(str(path), size)
    parts = [b''.join(read_blocks(str(path), 64, begin, end)) for begin, end, _ in ranges]
    assert b''.join(parts) == path.read_bytes()
    assert [line for *_, line in ranges] == [
        1 + b''.join(parts[:n]).count(b'\n') for n in range(len(parts))]
    assert all(len(part) >= size for part in parts[:-1])


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(UserError, match='gone.csv cannot be read: No such file'):
        read_whole(str(tmp_path / 'gone.csv'))
    with pytest.raises(UserError, match='cannot be read: Is a directory'):
        checksum(str(tmp_path))


def test_checksum_is_of_the_packed_bytes(tmp_path):
    path = tmp_path / 'log.csv.gz'
    path.write_bytes(gzip.compress(TEXT))
    assert checksum(str(path)) == (path.stat().st_size,
                                   hashlib.sha256(path.read_bytes()).hexdigest())
