"""Where the processes of a cluster listen, and ports that are taken."""

import contextlib
import socket
import subprocess
import sys
import threading

import pytest

from mdctr.errors import UserError
from tests.trainer.distributed.server_processes import Processes
from trainer.config import ModelConfig, TrainConfig
from trainer.distributed import listening
from trainer.distributed.listening import (
    interface_of,
    is_listening,
    listening_socket,
    reserved_port,
    restrict_to_address,
    wait_until_listening,
)
from trainer.distributed.tf_config import Task, split_address

linux = pytest.mark.skipif(sys.platform != 'linux', reason='sockets are bound as Linux does it')


def task_at(address):
    return Task('ps', 0, {'chief': ['localhost:1'], 'worker': ['localhost:2'], 'ps': [address]})


def addresses_of_other_interfaces():
    return [
        str(address)
        for address, name in listening._interface_addresses()
        if name != interface_of('localhost') and address.version == 4
    ]


@pytest.fixture
def server():
    """A socket that listens on all interfaces, as TensorFlow's server does."""
    with socket.create_server(
        ('', 0), family=socket.AF_INET6, dualstack_ipv6=True
    ) as listening_here:
        yield listening_here


def reaches(host, server):
    try:
        socket.create_connection((host, server.getsockname()[1]), timeout=2).close()
    except OSError:
        return False
    return True


@linux
@pytest.mark.parametrize('host', ['localhost', '127.0.0.1', '127.0.0.9', '[::1]'])
def test_a_loopback_address_is_not_reached_through_other_interfaces(server, host, caplog):
    others = addresses_of_other_interfaces()
    assert all(reaches(other, server) for other in others)
    name = restrict_to_address(task_at(f'{host}:{server.getsockname()[1]}'))
    assert name == interface_of('127.0.0.1')
    assert reaches('127.0.0.1', server)
    assert not any(reaches(other, server) for other in others)
    assert not [record for record in caplog.records if record.levelname == 'WARNING']
    # A second training in the same process finds the socket as it is to be.
    assert restrict_to_address(task_at(f'{host}:{server.getsockname()[1]}')) == name


@linux
def test_another_address_is_not_reached_through_loopback(server):
    others = addresses_of_other_interfaces()
    if not others:
        pytest.skip('this machine has no other interface')
    assert restrict_to_address(task_at(f'{others[0]}:{server.getsockname()[1]}'))
    assert reaches(others[0], server)  # by processes of this machine too
    assert not reaches('127.0.0.1', server)


@pytest.mark.parametrize('host', ['192.0.2.77', 'no.such.host.invalid'])
def test_an_address_of_no_interface_is_warned_of(server, host, monkeypatch, caplog):
    monkeypatch.setattr(listening, '_RESOLVE_SECONDS', 0.0)
    assert restrict_to_address(task_at(f'{host}:{server.getsockname()[1]}')) is None
    (record,) = [each for each in caplog.records if each.levelname == 'WARNING']
    assert 'of all interfaces and runs whatever it is sent' in record.getMessage()
    assert reaches('127.0.0.1', server)


@linux
def test_a_name_that_is_loopback_only_here_is_not_restricted(server, monkeypatch):
    monkeypatch.setattr(
        socket, 'getaddrinfo', lambda *_, **__: [(socket.AF_INET, 1, 6, '', ('127.0.1.1', 0))]
    )
    assert interface_of('this-machine') is None
    assert interface_of('localhost') is not None


@linux
def test_the_socket_that_listens_is_found_among_others(server):
    port = server.getsockname()[1]
    with socket.socket() as bound, contextlib.closing(listening_socket(port)) as found:
        bound.bind(('127.0.0.1', 0))
        assert found.fileno() != server.fileno()
        assert found.getsockname() == server.getsockname()
        assert listening_socket(bound.getsockname()[1]) is None


def test_a_taken_port_is_refused_in_one_sentence():
    program = (
        'import socket, sys; server = socket.create_server(("", 0)); '
        'print(server.getsockname()[1], flush=True); sys.stdin.read()'
    )
    with subprocess.Popen(
        [sys.executable, '-c', program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        task = task_at(f'localhost:{int(other.stdout.readline())}')
        with (
            pytest.raises(
                UserError, match=r'Port \d+ of ps 0 .* is in use .* another ps: stop'
            ),
            reserved_port(task),
        ):
            raise AssertionError('the port was reserved')
        other.stdin.close()
    with reserved_port(task):  # at once: a closed connection does not hold it
        pass


def test_a_port_that_may_not_be_used_is_refused_in_one_sentence(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(socket, 'create_server', refuse)
    with (
        pytest.raises(
            UserError, match='cannot listen on port 80 of ps 0 .*: Permission denied'
        ),
        reserved_port(task_at('localhost:80')),
    ):
        raise AssertionError('the port was reserved')


def test_waiting_ends_when_all_listen_and_names_who_is_missing(server, caplog):
    caplog.set_level('INFO')
    with socket.socket() as late:
        late.bind(('127.0.0.1', 0))
        here = f'127.0.0.1:{late.getsockname()[1]}'
        assert not is_listening(here)
        timer = threading.Timer(0.3, late.listen)
        timer.start()
        wait_until_listening({'worker 0': f'127.0.0.1:{server.getsockname()[1]}', 'ps 1': here})
        timer.join()
    assert [record.getMessage() for record in caplog.records] == ['Waiting for ps 1.']


@pytest.mark.slow
def test_tensorflow_servers_listen_only_where_tf_config_says(dataset, tmp_path):
    """A cluster, and a second process of each of its tasks, whose port is taken."""
    config = TrainConfig(model=ModelConfig(name='mlp'), epochs=10_000, patience=10_000)
    made = Processes(tmp_path, dataset, config, workers=1, servers=1)
    try:
        made.start('chief', run=tmp_path / 'run')
        made.wait_until(lambda output: 'epoch 1: validation' in output)
        for name in ('chief', 'worker', 'ps'):
            host, port = split_address(made.address(name))
            assert host == 'localhost'
            assert is_listening(f'127.0.0.1:{port}')
            assert not any(
                is_listening(f'{other}:{port}') for other in addresses_of_other_interfaces()
            )
            second = made.start(name)
            assert second.wait(120) == 1
            assert f'UserError: Port {port} of {name} 0' in second.output.read_text()
    finally:
        made.close()
