"""Downloads from registries: resumed when broken off, believed only when their SHA-1 is right.

The sums are pinned here, so that a file means the same tomorrow; of Maven's files they are those
that Maven Central publishes beside each (it publishes no stronger one for these).
"""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from machine import Trouble, cache, locked, progress, require_disk

MAVEN = "https://repo1.maven.org/maven2/io/trino"
GO = "https://proxy.golang.org/golang.org/toolchain"
CHUNK = 1 << 20
TRIES = 5


@dataclass(frozen=True)
class Artefact:
    """One file of a registry."""

    path: str
    size: int
    sha1: str
    registry: str = MAVEN

    @property
    def url(self):
        """Where it is downloaded."""
        return f"{self.registry}/{self.path}"

    @property
    def file(self):
        """Where it lies on this machine."""
        return cache() / self.path.rsplit("/", 1)[1]

    @property
    def verified(self):
        """The mark that says that the file's sum was right."""
        return self.file.with_name(self.file.name + ".verified")

    def is_here(self):
        """Whether the file is complete and was verified since it last changed."""
        try:
            return self.verified.read_text() == stamp(self)
        except OSError:
            return False


TRINO_SERVER = Artefact(
    "trino-server/476/trino-server-476.tar.gz",
    821_045_832,
    "c9b38be4017ebd2f7095455aaac772fb40247ebe",
)
TRINO_CLI = Artefact(
    "trino-cli/476/trino-cli-476-executable.jar",
    18_634_579,
    "c835824e01842036d4e0c071b5e2b7e1d28ba299",
)
TRINO_JDBC = Artefact(
    "trino-jdbc/476/trino-jdbc-476.jar",
    12_766_107,
    "49204f777f4b08e5367af07fb91533df6025a400",
)
# TPC-H and TPC-DS as Trino measures itself with them; the last version that was published.
TRINO_BENCHMARKS = Artefact(
    "trino-benchto-benchmarks/368/trino-benchto-benchmarks-368.jar",
    77_565,
    "1690169b2f8ed4475e07c8b58a8bd18a2b3a4f04",
)
# By the name of the machine's processor.
GO_TOOLCHAIN = {
    "x86_64": Artefact(
        "@v/v0.0.1-go1.27.3.linux-amd64.zip",
        75_781_305,
        "19460cfa4d03c473288117442c031f12dae5192e",
        GO,
    ),
    "aarch64": Artefact(
        "@v/v0.0.1-go1.27.3.linux-arm64.zip",
        72_231_413,
        "5908c0104199726f5d8885de846bc6ce328d6455",
        GO,
    ),
}


def fetch(artefact):
    """The artefact's file, downloaded if it is not here, or not whole."""
    with locked(artefact.file.name):
        if artefact.is_here():
            return artefact.file
        return fetch_locked(artefact)


def fetch_locked(artefact):
    """Downloads and checks until the sum is right; an error is fatal only on the last try."""
    reason = f"its SHA-1 is not {artefact.sha1}"
    for attempt in range(TRIES):
        time.sleep(attempt)
        try:
            if not artefact.file.exists():
                download(artefact)
        except (OSError, http.client.HTTPException) as error:
            reason = f"{error}; what came so far is kept in {part(artefact)} and continued next time"
            progress(f"{artefact.file.name}: {error}")
            continue
        if sha1(artefact.file) == artefact.sha1:
            artefact.verified.write_text(stamp(artefact))
            return artefact.file
        progress(f"{artefact.file.name} is not whole")
        continue_later(artefact)
    raise Trouble(f"{artefact.url} cannot be downloaded: {reason}")


def continue_later(artefact):
    """Takes a file that is too short as the beginning of a download, and drops any other."""
    if artefact.file.stat().st_size < artefact.size:
        artefact.file.replace(part(artefact))
    else:
        artefact.file.unlink()


def part(artefact):
    """Where a download lies until it is whole."""
    return artefact.file.with_name(artefact.file.name + ".part")


def download(artefact):
    """Continues at the end of what an earlier try left."""
    target = part(artefact)
    have = target.stat().st_size if target.exists() else 0
    require_disk(cache(), max(artefact.size - have, 0))
    request = urllib.request.Request(artefact.url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing is left to send: whether it is the right file, its sum will tell.
        target.replace(artefact.file)
        return
    with answer, open(target, "ab" if answer.status == 206 else "wb") as out:
        copy(answer, out, artefact)
    target.replace(artefact.file)


def copy(answer, out, artefact):
    """Writes the answer to the file, and says every few seconds how far it is."""
    have = out.tell()
    total = have + int(answer.headers.get("Content-Length") or 0)
    said = time.monotonic()
    while chunk := answer.read(CHUNK):
        out.write(chunk)
        have += len(chunk)
        if time.monotonic() - said > 3:
            said = time.monotonic()
            progress(f"{artefact.file.name}: {have / 1e6:,.0f} of {total / 1e6:,.0f} MB")
    if have < total:
        raise OSError(f"the connection ended after {have} of {total} bytes")


def sha1(file):
    """The sum of a file."""
    digest = hashlib.sha1()
    with open(file, "rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def stamp(artefact):
    """What the mark must say: the sum, and which state of the file it was taken of."""
    status = os.stat(artefact.file)
    return f"{artefact.sha1} {status.st_size} {status.st_mtime_ns}"
