"""The port of this process: reserved before TensorFlow listens on it, and restricted after.

TensorFlow's server listens on every interface of the machine, whatever TF_CONFIG says: the
address `0.0.0.0` is a constant in its source (`grpc_server_lib.cc`), and it trusts every peer.
On Linux, a socket that listens can be bound to one interface afterwards. The kernel then
refuses connections to addresses of the others.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import ipaddress
import logging
import math
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping

from mdctr.errors import UserError
from trainer.distributed.tf_config import Task, split_address

_RESOLVE_SECONDS = 10.0  # a pod's own name may be registered only after the pod has started
_CONNECT_SECONDS = 5.0
_POLL_SECONDS = 0.5
_REMINDER_SECONDS = 60.0
_LOOPBACK = ipaddress.ip_address('127.0.0.1')
_SIOCGIFCONF = 0x8912  # ioctl of Linux: all IPv4 addresses, with their interfaces
_IFREQ_BYTES = 40  # size of a record of its answer on 64-bit machines: name[16], address

logger = logging.getLogger(__name__)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@contextlib.contextmanager
def reserved_port(task: Task) -> Iterator[None]:
    """Context in which no other process can listen on the port of a task.

    TensorFlow itself ends with a segmentation fault where the port of a chief is taken.

    Args:
        task: Task of this process.

    Raises:
        UserError: The port is taken, or this process must not listen on it.
    """
    _, port = split_address(task.address)
    own = listening_socket(port)
    if own is not None:  # of an earlier training in this process
        own.close()
        yield
        return
    dual = socket.has_dualstack_ipv6()
    try:
        reservation = socket.create_server(
            ('', port),
            family=socket.AF_INET6 if dual else socket.AF_INET,
            dualstack_ipv6=dual,
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f'Port {port} of {task} (TF_CONFIG: {task.address}) is in use on this machine, '
                f'perhaps by another {task.type}: stop that process, or give this one another '
                'port.'
            ) from None
        raise UserError(
            f'This process cannot listen on port {port} of {task} (TF_CONFIG: {task.address}): '
            f'{error.strerror}.'
        ) from None
    with reservation:
        yield


def restrict_to_address(task: Task) -> str | None:
    """Restricts the server of this process to the interface of its address in TF_CONFIG.

    Where that is not possible, a warning is logged: the operating system is not Linux, or the
    address belongs to no interface of this machine, as behind a load balancer.

    Args:
        task: Task of this process, whose server listens.

    Returns:
        Name of the interface; None if the server still listens on all of them.
    """
    host, port = split_address(task.address)
    interface = interface_of(host)
    listening = listening_socket(port)
    if listening is not None and interface is not None:
        with contextlib.suppress(OSError), listening:
            _bind_to(listening, interface)
            logger.info('%s listens on port %d of interface %s.', task, port, interface)
            return interface
    logger.warning(
        '%s listens on port %d of all interfaces and runs whatever it is sent: make sure that '
        'only the processes of this cluster can reach the port.',
        task,
        port,
    )
    return None


def is_listening(address: str) -> bool:
    """Tells whether a process accepts connections at an address, `HOST:PORT`."""
    try:
        socket.create_connection(split_address(address), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def wait_until_listening(addresses: Mapping[str, str]) -> None:
    """Waits until a process accepts connections at every address; logs who is missing.

    Args:
        addresses: Addresses, `HOST:PORT`, by the names to log.
    """
    missing, logged = dict(addresses), -math.inf
    while True:
        missing = {
            name: address for name, address in missing.items() if not is_listening(address)
        }
        if not missing:
            return
        if time.monotonic() - logged > _REMINDER_SECONDS:
            logger.info('Waiting for %s.', ', '.join(missing))
            logged = time.monotonic()
        time.sleep(_POLL_SECONDS)


def fail_fast() -> None:
    """Makes calls to a process that has ended fail at once, before TensorFlow is used."""
    os.environ.setdefault('GRPC_FAIL_FAST', 'use_caller')


def listening_socket(port: int) -> socket.socket | None:
    """Finds the socket with which this process listens on a port; a duplicate to be closed.

    Args:
        port: TCP port.

    Returns:
        The socket; None if there is none, or if the operating system is not Linux.
    """
    if sys.platform != 'linux':
        return None
    for descriptor in os.listdir('/proc/self/fd'):
        try:
            if not os.readlink(f'/proc/self/fd/{descriptor}').startswith('socket:'):
                continue
            found = socket.socket(fileno=os.dup(int(descriptor)))
        except OSError:  # closed meanwhile
            continue
        if (
            found.family in (socket.AF_INET, socket.AF_INET6)
            and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            and found.getsockname()[1] == port
        ):
            return found
        found.close()
    return None


def interface_of(host: str) -> str | None:
    """Finds the network interface that has the address of a host.

    Args:
        host: Host name or IP address.

    Returns:
        Name of the interface; None if no interface of this machine has the address, if
        several have one, or if a name other than `localhost` stands for the loopback address:
        other machines may know it by another one.
    """
    by_address = dict(_interface_addresses())
    found = set()
    for address in _addresses(host):
        if address.is_loopback:
            if host != 'localhost' and not _is_literal(host):
                return None
            address = _LOOPBACK
        found.add(by_address.get(address))
    return found.pop() if len(found) == 1 else None


def _bind_to(listening: socket.socket, interface: str) -> None:
    """Binds a socket to an interface, for which Linux 5.7 and later need no privilege."""
    option = socket.SOL_SOCKET, socket.SO_BINDTODEVICE
    bound = listening.getsockopt(*option, 16).partition(b'\0')[0].decode()
    if bound != interface:
        listening.setsockopt(*option, interface.encode() + b'\0')


def _addresses(host: str) -> set[Address]:
    deadline = time.monotonic() + _RESOLVE_SECONDS
    while True:
        try:
            infos = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
        except OSError:
            if time.monotonic() > deadline:
                return set()
            time.sleep(0.5)
            continue
        return {ipaddress.ip_address(info[4][0]) for info in infos}


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _interface_addresses() -> Iterator[tuple[Address, str]]:
    """Addresses of this machine with the names of their interfaces."""
    if sys.platform != 'linux':
        return
    records = array.array('B', bytes(_IFREQ_BYTES * 256))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack('iL', len(records), records.buffer_info()[0])
        (used, _) = struct.unpack('iL', fcntl.ioctl(any_socket, _SIOCGIFCONF, request))
    for first in range(0, used, _IFREQ_BYTES):
        record = records[first : first + _IFREQ_BYTES].tobytes()
        label = record[:16].partition(b'\0')[0].decode()
        yield ipaddress.IPv4Address(record[20:24]), label.partition(':')[0]
    with contextlib.suppress(FileNotFoundError), open('/proc/net/if_inet6') as file:
        for line in file:
            digits, *_, name = line.split()
            yield ipaddress.IPv6Address(bytes.fromhex(digits)), name
