"""The same operations on a local directory and on an object store."""

import errno
import json
import math
import os
import pathlib
import time

import pytest

from mdctr import storage
from mdctr.errors import UserError
from mdctr.storage import atomic_file, write_bytes, write_json, write_text


def test_a_file_appears_when_the_context_is_left(tmp_path):
    path = tmp_path / 'new' / 'file'
    with atomic_file(str(path)) as file:
        file.write(b'first')
        assert not path.exists()
    assert path.read_bytes() == b'first'
    assert os.listdir(tmp_path / 'new') == ['file']


def test_an_error_keeps_the_previous_file(tmp_path):
    write_bytes(str(tmp_path / 'file'), b'previous')
    with pytest.raises(RuntimeError), atomic_file(str(tmp_path / 'file')) as file:
        file.write(b'half')
        raise RuntimeError
    assert (tmp_path / 'file').read_bytes() == b'previous'
    assert os.listdir(tmp_path) == ['file']


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    path = str(tmp_path / 'file')
    with atomic_file(path) as one, atomic_file(path) as other:
        one.write(b'one')
        other.write(b'other')
    assert (tmp_path / 'file').read_bytes() == b'one'  # the outer context is left last
    assert os.listdir(tmp_path) == ['file']


def test_a_file_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text('file', 'ü')
    assert (tmp_path / 'file').read_text('utf-8') == 'ü'


def test_json_is_readable_and_strict(tmp_path):
    path = tmp_path / 'values.json'
    write_json(str(path), {'name': 'ü', 'values': [1, None]})
    assert json.loads(path.read_text('utf-8')) == {'name': 'ü', 'values': [1, None]}
    assert 'ü' in path.read_text('utf-8')
    with pytest.raises(ValueError):
        write_json(str(path), math.nan)
    assert json.loads(path.read_text('utf-8'))['name'] == 'ü'


@pytest.fixture(params=['local', 's3'])
def workspace(request, tmp_path):
    """A workspace on the local disk, and one on an object store."""
    if request.param == 'local':
        return str(tmp_path / 'workspace')
    return storage.join(request.getfixturevalue('bucket'), 'prefix')


def test_what_is_written_can_be_read(workspace):
    path = storage.join(workspace, 'folder', 'file')
    with storage.atomic_file(path) as file:
        file.write(b'some ')
        file.write(b'bytes')
    assert storage.read_bytes(path) == b'some bytes'
    assert storage.size(path) == 10
    assert storage.is_file(path)
    assert storage.is_directory(storage.parent(path))


def test_a_file_opened_for_reading_can_seek(workspace):
    path = storage.join(workspace, 'file')
    storage.write_bytes(path, bytes(range(200)))
    with storage.open_file(path) as file:
        file.seek(100)
        assert file.read(2) == bytes([100, 101])


def test_an_error_leaves_no_file(workspace):
    path = storage.join(workspace, 'file')
    with pytest.raises(RuntimeError), storage.atomic_file(path) as file:
        file.write(b'half')
        raise RuntimeError
    assert not storage.exists(path)
    assert storage.list_files(workspace) == []


def test_lists_are_sorted_and_relative(workspace):
    for name in ('b/c', 'a', 'b/a'):
        storage.write_text(storage.join(workspace, name), name)
    assert storage.list_directory(workspace) == ['a', 'b']
    assert storage.list_files(workspace) == ['a', 'b/a', 'b/c']
    assert storage.list_directory(storage.join(workspace, 'b')) == ['a', 'c']


def test_files_of_a_directory_and_of_a_pattern_have_size_and_time(workspace):
    before = int(time.time())  # object stores give whole seconds
    for name in ('b', 'a', 'deep/a'):
        write_bytes(storage.join(workspace, name), b'four')
    a, b, deep = (storage.join(workspace, name) for name in ('a', 'b', 'deep/a'))
    found = storage.directory_files(workspace)
    assert list(found) == [a, b]
    assert list(storage.glob(storage.join(workspace, '**', 'a'))) == [a, deep]
    assert found[a] == storage.info(a) == storage.glob(storage.join(workspace, 'a*'))[a]
    assert found[a].size == 4 and before <= found[a].modified <= time.time()


def test_what_is_missing(workspace):
    missing = storage.join(workspace, 'missing')
    assert not storage.exists(missing)
    assert storage.list_directory(missing) == []
    assert storage.list_files(missing) == []
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(missing)
    with pytest.raises(FileNotFoundError):
        storage.size(missing)
    storage.remove(missing)
    storage.remove_directory(missing)


def test_a_file_is_created_once(workspace):
    path = storage.join(workspace, 'file')
    assert storage.create(path, b'first')
    assert not storage.create(path, b'second')
    assert storage.read_bytes(path) == b'first'


@pytest.mark.parametrize('write', [storage.write_bytes, storage.create])
def test_a_file_is_no_directory(tmp_path, write):
    (tmp_path / 'models').write_text('')
    with pytest.raises(NotADirectoryError, match='models'):
        write(str(tmp_path / 'models' / 'clicks.json'), b'')
    assert (tmp_path / 'models').read_text() == ''


def test_a_directory_is_removed_with_its_files(workspace):
    storage.write_text(storage.join(workspace, 'a/b/c'), '')
    storage.write_text(storage.join(workspace, 'ab'), '')
    storage.remove_directory(storage.join(workspace, 'a'))
    assert storage.list_files(workspace) == ['ab']


def test_a_directory_goes_there_and_back(workspace, tmp_path):
    source, target = tmp_path / 'source', tmp_path / 'target'
    storage.write_text(str(source / 'a' / 'b'), 'ü')
    storage.write_text(str(source / 'c'), '')
    storage.upload(str(source), workspace)
    storage.download(workspace, str(target))
    assert (target / 'a' / 'b').read_text('utf-8') == 'ü'
    assert storage.list_files(str(target)) == ['a/b', 'c']


def test_the_file_that_completes_a_directory_is_uploaded_last(workspace, tmp_path, monkeypatch):
    for name in ('manifest', 'a', 'z'):
        storage.write_text(str(tmp_path / 'source' / name), '')
    written = []
    monkeypatch.setattr(storage, '_before_write', written.append)
    storage.upload(str(tmp_path / 'source'), workspace, last=['manifest', 'absent'])
    assert [storage.name(path) for path in written] == ['a', 'z', 'manifest']


def test_a_local_directory_of_either(workspace):
    storage.write_text(storage.join(workspace, 'folder', 'file'), 'text')
    with storage.local_directory(workspace) as local:
        assert (pathlib.Path(local) / 'folder' / 'file').read_text() == 'text'
    assert storage.is_file(storage.join(workspace, 'folder', 'file'))


def test_a_guard_stops_writing_below_its_directory(workspace):
    def refuse():
        raise UserError('lost')

    with storage.guard(storage.join(workspace, 'a'), refuse):
        storage.write_text(storage.join(workspace, 'ab'), '')
        for write in (
            lambda path: storage.write_text(path, ''),
            lambda path: storage.create(path, b''),
            storage.remove,
        ):
            with pytest.raises(UserError, match='lost'):
                write(storage.join(workspace, 'a', 'file'))
    assert storage.list_files(workspace) == ['ab']


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('what://bucket/file', 'what://bucket/file has an unknown scheme'),
        ('s3://', 's3:// names no bucket'),
        ('abfs://container/path', 'needs a library that is not installed'),
    ],
)
def test_urls_that_cannot_be_used(path, message):
    with pytest.raises(UserError, match=message):
        storage.resolve(path)


def test_a_missing_extra_is_named(monkeypatch):
    import fsspec

    def missing(scheme):
        raise ImportError('Install s3fs to access S3')

    monkeypatch.setattr(fsspec, 'get_filesystem_class', missing)
    with pytest.raises(UserError, match=r'pip install "mdctr\[s3\]"'):
        storage.resolve('s3://bucket/prefix')


def test_local_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.resolve('runs') == str(tmp_path / 'runs')
    assert storage.resolve(f'file://{tmp_path}/runs/') == str(tmp_path / 'runs')
    assert storage.resolve('s3://bucket/prefix/') == 's3://bucket/prefix'


def test_a_missing_bucket_is_one_sentence(bucket):
    path = 's3://not-a-bucket-of-ours/file'
    with (
        pytest.raises(UserError, match='not-a-bucket-of-ours.*does not exist'),
        storage.reporting_errors(path),
    ):
        storage.write_bytes(path, b'')


def test_missing_credentials_are_one_sentence(bucket, monkeypatch):
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
        monkeypatch.delenv(name)
    monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
    monkeypatch.setenv('AWS_CONFIG_FILE', os.devnull)
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', os.devnull)
    storage.forget_connections()
    with (
        pytest.raises(UserError, match='needs credentials, and the environment has none'),
        storage.reporting_errors(bucket),
    ):
        storage.write_bytes(bucket + '/file', b'')


def test_a_full_disk_is_one_sentence(tmp_path):
    with (
        pytest.raises(UserError, match=f'The disk of {tmp_path} is full'),
        storage.reporting_errors(str(tmp_path)),
    ):
        raise OSError(errno.ENOSPC, 'No space left on device')


def test_errors_of_our_own_code_pass(tmp_path):
    with pytest.raises(ValueError), storage.reporting_errors(str(tmp_path)):
        raise ValueError


def test_what_can_be_written_is_left_as_it_was(workspace):
    storage.write_text(storage.join(workspace, 'file'), '')
    storage.check_writable(workspace)
    storage.check_writable(storage.join(workspace, 'new', 'directory'))
    assert storage.list_files(workspace) == ['file']
    assert storage.list_directory(workspace) == ['file']


def test_a_directory_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / 'runs').write_text('')
    with pytest.raises(UserError, match='runs cannot be read or written: Not a directory'):
        storage.check_writable(str(tmp_path / 'runs' / 'datasets'))


def test_a_bucket_that_does_not_exist_cannot_be_written(bucket):
    with pytest.raises(UserError, match='not-a-bucket-of-ours.*does not exist'):
        storage.check_writable('s3://not-a-bucket-of-ours/runs')


def test_what_tensorflow_says_about_a_disk_is_one_sentence(tmp_path):
    import tensorflow as tf

    full = tf.errors.ResourceExhaustedError(None, None, 'a.index; No space left on device')
    with (
        pytest.raises(UserError, match=f'The disk of {tmp_path} is full'),
        storage.reporting_errors(str(tmp_path)),
    ):
        raise full
    with pytest.raises(tf.errors.OpError), storage.reporting_errors(str(tmp_path)):
        raise tf.errors.ResourceExhaustedError(None, None, 'out of memory')
