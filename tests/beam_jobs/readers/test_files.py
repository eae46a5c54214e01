"""Raw files are found, opened and read in whole lines, or refused in one sentence."""

import gzip
import hashlib

import pytest

from beam_jobs.readers.raw_files import (
    checksum,
    expand,
    file_size,
    line_ranges,
    read_blocks,
    read_whole,
)
from mdctr import storage
from mdctr.errors import UserError

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
    with pytest.raises(UserError, match='log.csv.gz is truncated or not a gzip file'):
        read_whole(str(path))


def test_what_is_no_gzip_is_one_sentence(tmp_path):
    path = tmp_path / 'log.csv.gz'
    path.write_bytes(TEXT)
    with pytest.raises(UserError, match='log.csv.gz is truncated or not a gzip file'):
        read_whole(str(path))


def test_empty_files_are_refused(tmp_path):
    (tmp_path / 'a.csv').touch()
    (tmp_path / 'b.csv.gz').write_bytes(gzip.compress(b''))
    with pytest.raises(UserError, match='a.csv is empty'):
        expand([str(tmp_path / 'a.csv')])
    with pytest.raises(UserError, match='b.csv.gz is empty'):
        read_whole(str(tmp_path / 'b.csv.gz'))
    assert list(read_blocks(str(tmp_path / 'b.csv.gz'), may_be_empty=True)) == []


def test_an_empty_part_among_others_is_left_out(tmp_path):
    (tmp_path / 'part-0.csv').write_bytes(TEXT)
    (tmp_path / 'part-1.csv').touch()
    assert expand([str(tmp_path)]) == [str(tmp_path / 'part-0.csv')]


def test_patterns(tmp_path):
    for name in ('b.csv', 'a.csv', 'c.txt', '_SUCCESS', '.hidden', 'deep/d.csv'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'x' if name != '_SUCCESS' else b'')
    names = {name: str(tmp_path / name) for name in ('a.csv', 'b.csv', 'c.txt', 'deep/d.csv')}
    assert expand([str(tmp_path)]) == [names['a.csv'], names['b.csv'], names['c.txt']]
    assert expand([str(tmp_path / '*.csv'), names['a.csv']]) == [names['a.csv'], names['b.csv']]
    assert expand([str(tmp_path / '**' / '*.csv')]) == [
        names['a.csv'],
        names['b.csv'],
        names['deep/d.csv'],
    ]
    with pytest.raises(UserError, match=r'No file matches .*nothing\*'):
        expand([str(tmp_path), str(tmp_path / 'nothing*')])


def test_an_unknown_scheme_is_one_sentence():
    with pytest.raises(UserError, match='nowhere://x/y has an unknown scheme'):
        expand(['nowhere://x/y'])


@pytest.fixture
def remote_log(bucket):
    """A directory as Spark writes it to an object store."""
    contents = {
        'part-0.csv': TEXT,
        'part-1.csv.gz': gzip.compress(TEXT),
        'part-2.csv': b'',
        '_SUCCESS': b'',
        '.hidden': b'x',
        'deep/part-3.csv': TEXT,
    }
    for name, content in contents.items():
        storage.write_bytes(f'{bucket}/log/{name}', content)
    return bucket + '/log'


@pytest.mark.parametrize('slash', ['', '/'])
def test_a_remote_directory_is_its_parts(remote_log, slash):
    parts = [remote_log + '/part-0.csv', remote_log + '/part-1.csv.gz']
    assert expand([remote_log + slash]) == parts
    assert [read_whole(path) for path in parts] == [TEXT, TEXT]


@pytest.mark.parametrize(
    ('pattern', 'names'),
    [
        ('part-0.csv', ['part-0.csv']),
        ('*.csv*', ['part-0.csv', 'part-1.csv.gz']),
        ('**/*.csv', ['deep/part-3.csv', 'part-0.csv']),
    ],
)
def test_remote_patterns(remote_log, pattern, names):
    assert expand([f'{remote_log}/{pattern}']) == [f'{remote_log}/{name}' for name in names]


def test_a_remote_pattern_without_a_file(remote_log):
    with pytest.raises(UserError, match=r'No file matches s3://.*/log/nothing\*'):
        expand([remote_log + '/nothing*'])


def test_a_remote_file_has_a_size_and_a_checksum(remote_log):
    path = remote_log + '/part-0.csv'
    assert file_size(path) == len(TEXT)
    assert checksum(path) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())


def test_a_remote_file_is_read_in_ranges(remote_log):
    path = remote_log + '/part-0.csv'
    middle = TEXT.index(b'\n', len(TEXT) // 2) + 1
    parts = [b''.join(read_blocks(path, 64, *part)) for part in ((0, middle), (middle, None))]
    assert parts == [TEXT[:middle], TEXT[middle:]]


def test_the_scheme_of_local_files_is_left_out(tmp_path):
    (tmp_path / 'a.csv').write_bytes(TEXT)
    assert expand([f'file://{tmp_path}/a.csv']) == [str(tmp_path / 'a.csv')]


@pytest.mark.parametrize('size', [1, 50, 1000, 1 << 20])
def test_ranges_are_the_whole_file(tmp_path, size):
    path = tmp_path / 'log.csv'
    path.write_bytes(TEXT + b'last line without an end')
    ranges = line_ranges(str(path), size)
    parts = [b''.join(read_blocks(str(path), 64, begin, end)) for begin, end, _ in ranges]
    assert b''.join(parts) == path.read_bytes()
    assert [line for *_, line in ranges] == [
        1 + b''.join(parts[:n]).count(b'\n') for n in range(len(parts))
    ]
    assert all(len(part) >= size for part in parts[:-1])


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(UserError, match='gone.csv cannot be read: No such file'):
        read_whole(str(tmp_path / 'gone.csv'))
    with pytest.raises(UserError, match='cannot be read: Is a directory'):
        checksum(str(tmp_path))


def test_checksum_is_of_the_packed_bytes(tmp_path):
    path = tmp_path / 'log.csv.gz'
    path.write_bytes(gzip.compress(TEXT))
    assert checksum(str(path)) == (
        path.stat().st_size,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )
