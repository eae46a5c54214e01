"""Leases: each is held by one process at a time among all that share a workspace.

A lease is a series of small JSON files `<path>.<number>` with an owner and an expiry. To take
it, a process creates the next number exclusively, which object stores can do, too; the highest
number counts. Its holder renews the expiry from a thread. If it is killed, the lease ends at
the expiry, or at once for another process on the same machine, which can tell that the holder
has died. A holder that was suspended beyond the expiry takes the next number, and goes on if
nobody else has taken it. The clocks of the machines are assumed to agree within a few seconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mdctr import storage
from mdctr.errors import UserError

logger = logging.getLogger(__name__)

DURATION = 60.0  # seconds until a lease that is not renewed expires
_RENEWALS = 4  # within that time
_POLL = 1.0


class Lease:
    """A lease that this process holds.

    Attributes:
        path: Path of the lease, without a number.
    """

    def __init__(self, path: str, activity: str, duration: float):
        self.path = path
        self._activity, self._duration = activity, duration
        self._token = uuid.uuid4().hex
        self._number, self._expires = 0, 0.0  # not taken yet
        self._renewing = threading.RLock()
        self._released = threading.Event()

    def check(self) -> None:
        """Makes sure that the lease is still held.

        Raises:
            UserError: It expired, for example because this process was suspended, and another
                process has held it since then.
        """
        if time.time() < self._expires:
            return
        with self._renewing:
            if time.time() < self._expires or self._take_again():
                return
        raise UserError(
            f'This process lost the lease of {self.path}, which it did not renew in time: run '
            'the command again.'
        )

    def take(self, number: int) -> bool:
        """Takes the lease by its next number; False if another process has taken it."""
        expires = time.time() + self._duration
        created = storage.create(_file(self.path, number), self._described(expires))
        # Whoever took and released numbers since then may have removed this one.
        if not created or _highest(self.path) != number:
            return False
        self._number, self._expires = number, expires
        return True

    def _take_again(self) -> bool:
        """Takes the next number after the expiry, if this process was the last to hold it."""
        last = self._number
        if self._released.is_set() or not self._is_mine() or not self.take(last + 1):
            return False
        storage.remove(_file(self.path, last))
        return True

    def _described(self, expires: float) -> bytes:
        return json.dumps(
            {
                'owner': f'process {os.getpid()} on {socket.gethostname()}',
                'activity': self._activity,
                'process': _process(os.getpid()),
                'expires': expires,
                'token': self._token,
            }
        ).encode()

    def _renew_until_released(self) -> None:
        while not self._released.wait(self._duration / _RENEWALS):
            try:
                with self._renewing:
                    if not self._is_mine():
                        self._expires = 0.0
                        return
                    self._renew()
            except Exception as error:
                if not storage.is_storage_error(error):
                    raise
                logger.warning('The lease of %s was not renewed: %s', self.path, error)

    def _renew(self) -> None:
        left = self._expires - time.time()
        if left <= 0:
            self._take_again()
        elif left >= self._duration / _RENEWALS:  # later, another process may be taking it now
            expires = time.time() + self._duration
            storage.write_bytes(_file(self.path, self._number), self._described(expires))
            self._expires = expires

    def _is_mine(self) -> bool:
        return _highest(self.path) == self._number

    def _release(self) -> None:
        """Lets the lease expire now; the file stays, so that numbers never repeat."""
        if time.time() >= self._expires or not self._is_mine():
            return
        self._expires = 0.0
        storage.write_bytes(_file(self.path, self._number), self._described(0.0))


@contextlib.contextmanager
def lease(
    path: str,
    activity: str,
    wait: bool = False,
    protects: str | None = None,
    duration: float = DURATION,
) -> Iterator[Lease]:
    """Context in which this process holds a lease.

    Args:
        path: Path of the lease in the workspace, outside of `protects`.
        activity: What the holder does, for messages of others: `builds the dataset shop`.
        wait: Wait for a lease that another process holds, and say so; otherwise refuse.
        protects: A file or directory: before this process writes or removes it, or anything
            below it, the lease is checked, so that a process that lost it stops.
        duration: Seconds until the lease expires if it is not renewed.

    Raises:
        UserError: Another process holds the lease and `wait` is false, or the workspace cannot
            be written.
    """
    with storage.reporting_errors(path):
        held = _acquire(path, activity, wait, duration)
    renewal = threading.Thread(target=held._renew_until_released, daemon=True)
    renewal.start()
    try:
        with storage.guard(protects, held.check) if protects else contextlib.nullcontext():
            yield held
    finally:
        held._released.set()
        renewal.join()
        with contextlib.suppress(OSError):
            held._release()


def _acquire(path: str, activity: str, wait: bool, duration: float) -> Lease:
    announced = None
    while True:
        numbers = _numbers(path)
        last = max(numbers, default=0)
        holder = _holder(path, last) if last else None
        if holder is None:
            held = Lease(path, activity, duration)
            if held.take(last + 1):
                for number in numbers:
                    storage.remove(_file(path, number))
                return held
            continue
        until = datetime.fromtimestamp(holder['expires'], UTC)
        message = (
            f'{holder["owner"]} {holder["activity"]}; its lease ends at '
            f'{until:%H:%M:%S} UTC unless it is renewed'
        )
        if not wait:
            raise UserError(f'{message[0].upper()}{message[1:]}: nothing was changed.')
        if holder['token'] != announced:
            logger.info('Waiting: %s', message)
            announced = holder['token']
        time.sleep(_POLL)


def _holder(path: str, number: int) -> dict[str, Any] | None:
    """Who holds the lease; None if it has expired or its holder has died."""
    try:
        holder: dict[str, Any] = storage.read_json(_file(path, number))
    except FileNotFoundError:
        return None
    if time.time() >= holder['expires'] or _has_died(holder['process']):
        return None
    return holder


def _numbers(path: str) -> list[int]:
    prefix = storage.name(path) + '.'
    suffixes = [
        entry.removeprefix(prefix)
        for entry in storage.list_directory(storage.parent(path))
        if entry.startswith(prefix)
    ]
    return [int(suffix) for suffix in suffixes if suffix.isdigit()]


def _highest(path: str) -> int:
    return max(_numbers(path), default=0)


def _file(path: str, number: int) -> str:
    return f'{path}.{number}'


def _process(pid: int) -> dict[str, Any] | None:
    """What identifies a running process of this machine, as far as Linux tells."""
    try:
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
            boot = file.read().strip()
        with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
            state = file.read().rpartition(')')[2].split()
        namespace = os.readlink('/proc/self/ns/pid')
    except OSError:
        return None
    if state[0] in 'ZX':
        return None
    return {'boot': boot, 'namespace': namespace, 'pid': pid, 'start': state[19]}


def _has_died(process: dict[str, Any] | None) -> bool:
    own = _process(os.getpid())
    if process is None or own is None:
        return False
    if (process['boot'], process['namespace']) != (own['boot'], own['namespace']):
        return False
    return _process(process['pid']) != process


def holder(path: str) -> str | None:
    """Who holds a lease and what for, in words; None if it is free."""
    numbers = _numbers(path)
    found = _holder(path, max(numbers)) if numbers else None
    return f'{found["owner"]} {found["activity"]}' if found else None
