"""One process at a time, on one machine or on all that share the workspace."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from beam_jobs.errors import UserError


@contextlib.contextmanager
def alone(path: str, doing: str) -> Iterator[None]:
    """Holds the lock file `path`; it is let go with the process, however that ends.

    Args:
        path: of the lock file, made if absent.
        doing: what is done under it, for the sentence, e.g. `trains shop-source`.

    Raises:
        UserError: another process holds it, or the file system cannot lock.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = open(path, 'w', encoding='utf-8')  # noqa: SIM115 (closed below)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(f'Another run {doing}: it is left to that one, and nothing is '
                        'changed.') from None
    except OSError as error:
        raise UserError(f'{path} cannot be locked ({error.strerror or error}): keep the '
                        'workspace on a file system that can be written and has locks.'
                        ) from None
    try:
        yield
    finally:
        file.close()
