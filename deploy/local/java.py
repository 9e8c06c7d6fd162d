"""Finds a Java that can run Trino."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from machine import Trouble

OLDEST = 24


def find():
    """The home of the newest-enough JDK in JAVA_HOME, PATH or /usr/lib/jvm, in this order."""
    seen = []
    for home in candidates():
        version = version_of(home)
        if version is None:
            continue
        if version >= OLDEST:
            return home
        seen.append(f"{home} is {version}")
    raise Trouble(
        f"Trino 476 needs a JDK {OLDEST} or newer; looked in JAVA_HOME, PATH and /usr/lib/jvm"
        + (f" ({'; '.join(seen)})" if seen else " and found none")
        + ". Install one, for example Eclipse Temurin 25 from https://adoptium.net, or set JAVA_HOME"
    )


def candidates():
    """Folders that may be a JDK, each once."""
    homes = []
    if os.environ.get("JAVA_HOME"):
        homes.append(Path(os.environ["JAVA_HOME"]))
    on_path = shutil.which("java")
    if on_path:
        homes.append(Path(on_path).resolve().parents[1])
    homes += sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)
    return list(dict.fromkeys(home.resolve() for home in homes if (home / "bin" / "java").exists()))


def version_of(home):
    """The major version, or None if it does not run."""
    try:
        told = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', told.stderr + told.stdout)
    return int(found.group(1)) if found else None
