"""Becomes a step's container: run as a script, it ends in the step's own program.

    python step_root.py SETTINGS.json

It makes a file system of its own in which the system and the project are read-only, the given
directories are mounted, and nothing else of the machine is; then it gives up its privileges
and replaces itself by the program. It imports nothing of the project: it stands in for what a
container runtime does.
"""

import ctypes
import json
import os
import sys
import warnings  # noqa: F401 -- os.execvpe imports it, in a root without this Python

_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_NO_NEW_PRIVILEGES = 38
# Flags of a mount that a user namespace may not drop, by their names in `os`.
_LOCKED = (
    os.ST_NOSUID,
    os.ST_NODEV,
    os.ST_NOEXEC,
    os.ST_NOATIME,
    os.ST_NODIRATIME,
    os.ST_RELATIME,
)
_LOCKED_AS_MOUNTED = (2, 4, 8, 1024, 2048, 1 << 21)

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Makes the file system and becomes the program."""
    with open(sys.argv[1], encoding='utf-8') as file:
        settings = json.load(file)
    if settings['kind'] != 'plain':
        _own_file_system(settings)
    os.umask(settings['umask'])
    os.chdir(settings['directory'])
    if settings['kind'] == 'root':
        os.setgroups([])
        os.setresgid(*[settings['user']] * 3)
        os.setresuid(*[settings['user']] * 3)
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), 'prctl')
    command, environment = settings['command'], settings['environment']
    os.execvpe(command[0], command, environment)


def _own_file_system(settings: dict) -> None:
    outside = os.getuid(), os.getgid()
    if settings['kind'] == 'user namespace':
        _check(_libc.unshare(_NEW_USER | _NEW_MOUNTS), 'unshare')
        # Inside, this process has the step's user id; outside, it stays who it is.
        _write('/proc/self/setgroups', 'deny')
        _write('/proc/self/uid_map', f'{settings["user"]} {outside[0]} 1')
        _write('/proc/self/gid_map', f'{settings["user"]} {outside[1]} 1')
    else:
        _check(_libc.unshare(_NEW_MOUNTS), 'unshare')
    _mount('none', '/', None, _RECURSIVE | _PRIVATE)
    root = settings['root']
    _mount('tmpfs', root, 'tmpfs', 0, 'mode=755')
    for path, source in settings['read_only'].items():
        if os.path.islink(source):
            os.symlink(os.readlink(source), root + path)
            continue
        os.makedirs(root + path, exist_ok=True)
        _bind(source, root + path)
        _make_read_only(root + path)
    for path in ('/proc', '/dev'):
        os.makedirs(root + path, exist_ok=True)
        _bind(path, root + path)
    for path, source in settings['writable'].items():
        os.makedirs(root + path, exist_ok=True)
        _bind(source, root + path)
    os.makedirs(root + settings['directory'], exist_ok=True)
    _make_read_only(root)
    os.chroot(root)


def _bind(source: str, target: str) -> None:
    _mount(source, target, None, _BIND | _RECURSIVE)


def _make_read_only(path: str) -> None:
    flags = os.statvfs(path).f_flag
    kept = sum(
        mounted
        for known, mounted in zip(_LOCKED, _LOCKED_AS_MOUNTED, strict=True)
        if flags & known
    )
    _mount('none', path, None, _REMOUNT | _BIND | _READ_ONLY | kept)


def _mount(
    source: str, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    _check(
        _libc.mount(
            source.encode(),
            target.encode(),
            kind and kind.encode(),
            ctypes.c_ulong(flags),
            data and data.encode(),
        ),
        f'mount {target}',
    )


def _check(status: int, what: str) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, f'{what}: {os.strerror(number)}')


def _write(path: str, text: str) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


if __name__ == '__main__':
    main()
