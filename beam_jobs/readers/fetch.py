"""Fetches the public data sets that readers need, verifies them and caches them.

No data set is part of the project: each stays under the terms of its publisher, which are
printed when it is fetched.
"""

import hashlib
import io
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from mdctr import storage
from mdctr.errors import UserError
from mdctr.leases import lease

TIMEOUT_SECONDS = 10
_CHECKSUMS = 'SHA256SUMS'


@dataclass(frozen=True)
class Source:
    """A published data set.

    Attributes:
        terms: Terms of its publisher, in one line.
        wheel: Pinned Python package that contains the files.
        folder: Folder of the files in the wheel.
        sha256: SHA-256 of each file of the wheel, by its path below `folder`.
        home: URL of the publisher's own archive; None if it is not used.
        home_md5: MD5 of that archive, as its publisher gives it.
        home_files: Names of the archive's files that are kept, without their folder.
    """

    terms: str
    wheel: str
    folder: str
    sha256: Mapping[str, str]
    home: str | None = None
    home_md5: str | None = None
    home_files: tuple[str, ...] = ()


SOURCES = {
    'movielens-100k': Source(
        terms='MovieLens 100K (Harper and Konstan, 2015; please cite it): for research, not '
        'to be redistributed, no commercial use without permission of the GroupLens '
        'Research Project, University of Minnesota',
        wheel='recbole==1.2.1',
        folder='recbole/dataset_example/ml-100k',
        sha256={
            'ml-100k.inter': '4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff',
            'ml-100k.item': '51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532',
            'ml-100k.user': '4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972',
        },
        home='https://files.grouplens.org/datasets/movielens/ml-100k.zip',
        home_md5='0e33842e24a9c977be4e0107933c0723',
        home_files=('u.data', 'u.item', 'u.user'),
    ),
    'open-bandit': Source(
        terms='Open Bandit Dataset (Saito et al., 2021), the small version: CC BY 4.0',
        wheel='obp==0.4.1',
        folder='obp/dataset/obd',
        sha256={
            'bts/all/all.csv': '0ad874e4dbf6902f0845dd478ad8dde5ef6903583d3ffaace78411bdad064106',
            'bts/all/item_context.csv': '5d4359ba1cfa3ae88f0f1bae66bd633859fe6323817183632ee57b83539d9153',
            'bts/men/men.csv': 'db6d1f7ed2d591ba521533e45286d4c1fba7fe57a8ad2e80342210335f43c527',
            'bts/men/item_context.csv': '3b411ed6b0471316321a6b93f4f756bb25888eac6218cd71d0b603d41d85732d',
            'bts/women/women.csv': 'e5d1b49a39b608585a2f3014a3f54970430cd37a495c1b73fceb85cdf428a5b8',
            'bts/women/item_context.csv': 'a56295bad066a558eb783055afd9279f5f4e209a4776eafc22151c53f0ac89d4',
            'random/all/all.csv': '7168295b6e0a9eabcf3392320a5dd434e542b68e705d5cd9491499af589812f1',
            'random/all/item_context.csv': 'eba04cc23d5f130a93ff174c5392986882b94c3839433cb8143870eaa6221358',
            'random/men/men.csv': 'ede6d08c6877f99cd3770f7d09e26c738e6aa6de4445ccccfb1356ba5d06b1eb',
            'random/men/item_context.csv': '6d855c2b7e917d0448d71bbe62c023147495882c0fdc8c41e86fef86abf9fe09',
            'random/women/women.csv': 'e65f3bd3beb17664fa69cc129bf7bf852a775f8ffa630506e505fc905315bb34',
            'random/women/item_context.csv': 'b1ca4905f97703d196004f2ad4552c1e90c2afad8b50688d333b0d2dc0b33147',
        },
    ),
}


def fetch(name: str, cache: str) -> str:
    """The directory with the files of a data set, which are fetched if they are missing.

    A copy in the cache that is complete and verified needs no network.

    Args:
        name: Name in `SOURCES`.
        cache: Directory of the caches of all data sets, in a workspace.

    Raises:
        UserError: The dataset is unknown, cannot be fetched from any source, or differs from
            what was published; or the cache cannot be read or written.
    """
    if name not in SOURCES:
        raise UserError(
            f'{name} cannot be fetched; choose one of {", ".join(sorted(SOURCES))}.'
        )
    source, directory = SOURCES[name], storage.join(cache, name)
    with storage.reporting_errors(directory):
        if _is_verified(directory, source):
            return directory
    leased = lease(
        storage.join(cache, 'leases', name),
        f'is fetching {name}',
        wait=True,
        protects=directory,
    )
    with leased, storage.reporting_errors(directory):
        if not _is_verified(directory, source):  # by another process
            _store(directory, _fetch(name, source), source)
    return directory


def _fetch(name: str, source: Source) -> dict[str, bytes]:
    """Returns the contents of the files by path."""
    print(f'Fetching {source.terms}.', file=sys.stderr)
    tried: list[str] = []
    files = _from_home(source, tried) or _from_wheel(source, tried)
    if files is None:
        raise UserError(
            f'{name} cannot be fetched ({"; ".join(tried)}): allow one of these, '
            'or name a copy of its files with --set dataset.inputs=[DIRECTORY].'
        )
    return files


def _store(directory: str, files: dict[str, bytes], source: Source) -> None:
    """Writes the files, removes others, and last writes the checksums, which complete them."""
    written = {**files, 'TERMS': f'{source.terms}.\n'.encode()}
    for path, content in sorted(written.items()):
        storage.write_bytes(storage.join(directory, path), content)
    for path in storage.list_files(directory):
        if path not in written:
            storage.remove(storage.join(directory, path))
    sums = [f'{_sha256(content)}  {path}\n' for path, content in sorted(files.items())]
    storage.write_text(storage.join(directory, _CHECKSUMS), ''.join(sums))


def _is_verified(directory: str, source: Source) -> bool:
    """Whether the files are, byte for byte, those of the wheel or of the publisher's archive.

    The archive's files are checked against the checksums that were stored when the archive,
    whose own checksum is published, was unpacked.
    """
    try:
        lines = storage.read_text(storage.join(directory, _CHECKSUMS)).splitlines()
        pairs = [line.split('  ', 1) for line in lines]
        expected = {path: checksum for checksum, path in pairs}
        if not expected or (
            expected != source.sha256 and set(expected) != set(source.home_files)
        ):
            return False
        return all(
            storage.file_digest(storage.join(directory, path)) == checksum
            for path, checksum in expected.items()
        )
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _from_home(source: Source, tried: list[str]) -> dict[str, bytes] | None:
    if source.home is None:
        return None
    try:
        with urllib.request.urlopen(source.home, timeout=TIMEOUT_SECONDS) as response:
            archive = response.read()
    except (OSError, ValueError) as error:
        if not isinstance(error, urllib.error.HTTPError):
            error = getattr(error, 'reason', None) or error
        tried.append(f'{source.home}: {error}')
        return None
    if hashlib.md5(archive, usedforsecurity=False).hexdigest() != source.home_md5:
        tried.append(f'{source.home}: its checksum is not the published one')
        return None
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        return {
            storage.name(path): members.read(path)
            for path in members.namelist()
            if storage.name(path) in source.home_files
        }


def _from_wheel(source: Source, tried: list[str]) -> dict[str, bytes] | None:
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [
                sys.executable,
                '-m',
                'pip',
                'download',
                '--no-deps',
                '--quiet',
                '--disable-pip-version-check',
                '--retries=2',
                f'--timeout={TIMEOUT_SECONDS}',
                '--only-binary=:all:',
                f'--dest={directory}',
                source.wheel,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = [name for name in storage.list_directory(directory) if name.endswith('.whl')]
        if done.returncode or not wheels:
            last = done.stderr.strip().splitlines()[-1:] or ['it gave no wheel']
            tried.append(f'pip download {source.wheel}: {last[0].removeprefix("ERROR: ")}')
            return None
        with zipfile.ZipFile(storage.join(directory, wheels[0])) as wheel:
            try:
                files = {path: wheel.read(f'{source.folder}/{path}') for path in source.sha256}
            except KeyError as error:
                tried.append(f'{source.wheel}: {error.args[0]}')
                return None
    for path, content in files.items():
        if _sha256(content) != source.sha256[path]:
            tried.append(f'{source.wheel}: the checksum of {path} is not the expected one')
            return None
    return files


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
