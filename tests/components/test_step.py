"""What every step does around its own work."""

import http.server
import os
import pathlib
import subprocess
import sys
import threading

import pytest
from kfp import dsl

from components.step import step
from mdctr import storage
from mdctr.errors import UserError
from tests.processes import with_tests


@pytest.fixture(autouse=True)
def in_a_pod(monkeypatch, tmp_path):
    monkeypatch.setenv('KFP_POD_NAME', 'mdctr-train-1')
    monkeypatch.delenv('KFP_RETRY_INDEX', raising=False)
    before = os.umask(0)
    yield
    os.umask(before)


def attempt(workspace: pathlib.Path | str, work, uri: str = 's3://store/run/task/model') -> str:
    """Runs `work` as a step; returns how the step ended."""
    try:
        with step(str(workspace), dsl.Artifact(uri=uri)):
            work()
    except SystemExit as error:
        return str(error)
    return 'succeeded'


def fail() -> None:
    raise UserError('There is no model nothing.')


def never() -> None:
    raise AssertionError('the work was done again')


def test_a_users_error_is_one_sentence_and_no_later_attempt_works(tmp_path, monkeypatch):
    monkeypatch.setenv('KFP_RETRY_INDEX', '0')
    assert attempt(tmp_path, fail) == 'mdctr: There is no model nothing.'
    for number in ('1', '2', '3'):
        monkeypatch.setenv('KFP_RETRY_INDEX', number)
        assert attempt(tmp_path, never) == (
            'mdctr: There is no model nothing. '
            '(Error of the first attempt; a retry cannot help.)'
        )


def test_an_error_of_a_store_is_one_sentence_and_the_next_attempt_works(tmp_path, monkeypatch):
    def unreachable() -> None:
        with storage.reporting_errors('s3://bucket/models'):
            raise ConnectionResetError('the store closed the connection')

    monkeypatch.setenv('KFP_RETRY_INDEX', '0')
    assert 'the store closed the connection.' in attempt(tmp_path, unreachable)
    monkeypatch.setenv('KFP_RETRY_INDEX', '1')
    assert attempt(tmp_path, lambda: None) == 'succeeded'


class _Refusing(http.server.BaseHTTPRequestHandler):
    """Answers as S3 does to unknown credentials."""

    def do_PUT(self) -> None:
        body = (
            b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidAccessKeyId</Code>'
            b'<Message>The AWS Access Key Id you provided does not exist</Message></Error>'
        )
        self.send_response(403)
        self.send_header('Content-Type', 'application/xml')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_DELETE = do_POST = do_PUT

    def log_message(self, *arguments: object) -> None:
        pass


def test_wrong_credentials_are_one_sentence_without_the_secret(bucket, monkeypatch):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv('AWS_ENDPOINT_URL', f'http://127.0.0.1:{server.server_port}')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'a secret that nobody may see')
    storage.forget_connections()
    sentence = attempt(
        bucket, lambda: storage.write_text(storage.join(bucket, 'shops', 'file'), 'text')
    )
    server.shutdown()
    assert sentence.startswith('mdctr: ') and 'cannot be accessed' in sentence
    assert 'a secret' not in sentence


def test_a_first_attempt_works_such_as_after_a_person_has_retried_the_run(
    tmp_path, monkeypatch
):
    monkeypatch.setenv('KFP_RETRY_INDEX', '0')
    attempt(tmp_path, fail)
    assert attempt(tmp_path, lambda: None) == 'succeeded'
    monkeypatch.setenv('KFP_RETRY_INDEX', '1')
    assert attempt(tmp_path, lambda: None) == 'succeeded'  # the error is forgotten


def test_an_evicted_attempt_and_another_task_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setenv('KFP_RETRY_INDEX', '0')
    with pytest.raises(RuntimeError):
        attempt(tmp_path, lambda: exec('raise RuntimeError'))
    attempt(tmp_path, fail, uri='s3://store/run/other-task/model')
    monkeypatch.setenv('KFP_RETRY_INDEX', '1')
    assert attempt(tmp_path, lambda: None) == 'succeeded'


def test_without_a_number_of_the_attempt_the_work_is_done(tmp_path):
    attempt(tmp_path, fail)
    assert attempt(tmp_path, lambda: None) == 'succeeded'  # Kubeflow before 2.17


@pytest.mark.parametrize(('given', 'mode'), [(0, 0o640), (0o077, 0o600)])
def test_files_are_not_writable_by_others_whatever_umask_a_pod_has(tmp_path, given, mode):
    os.umask(given)
    attempt(tmp_path, (tmp_path / 'file').touch)
    assert (tmp_path / 'file').stat().st_mode & 0o777 == mode


def test_on_ones_own_machine_the_umask_stays(tmp_path, monkeypatch):
    monkeypatch.delenv('KFP_POD_NAME')
    os.umask(0o002)
    attempt(tmp_path, (tmp_path / 'file').touch)
    assert (tmp_path / 'file').stat().st_mode & 0o777 == 0o664


def test_the_error_of_an_earlier_attempt_needs_no_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setenv('KFP_RETRY_INDEX', '0')
    attempt(tmp_path, fail)
    program = (
        'import sys\nfrom kfp import dsl\nfrom components.steps import train_step\n'
        'model = dsl.Model(uri="s3://store/run/task/model")\n'
        'try:\n'
        f'    train_step("shops", "{{}}", {str(tmp_path)!r}, False, None, model, None)\n'
        'finally:\n'
        '    print("tensorflow" in sys.modules)'
    )
    ended = subprocess.run(
        [sys.executable, '-c', program],
        env={**with_tests(), 'KFP_RETRY_INDEX': '1'},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert 'There is no model nothing. (Error of the first attempt' in ended.stderr
    assert ended.stdout.strip().splitlines()[-1] == 'False'
