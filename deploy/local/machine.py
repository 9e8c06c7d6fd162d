"""What this machine has: the cache, free ports, disk, memory, Debian packages; and how we speak."""

import contextlib
import fcntl
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
STARTED = time.monotonic()


class Trouble(Exception):
    """What the user must be told: what failed, where, and what would be right."""


def say(text=""):
    """Prints a line at once; a terminal that was closed is no reason to stop half-way."""
    try:
        print(text, flush=True)
    except OSError:
        pass


def progress(text):
    """A line about what is going on, with the seconds since the command was given."""
    say(f"  [{time.monotonic() - STARTED:4.0f} s] {text}")


def cache():
    """The folder for everything that is downloaded or built, outside the checkout."""
    folder = Path(os.environ.get("WARREN_CACHE") or Path.home() / ".cache" / "warren").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(name):
    """One of us at a time works on a thing in the cache; the others wait."""
    with open(cache() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def target():
    """Cargo's target folder: Cargo's own variable, else one in the cache."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or cache() / "target").absolute()


def cargo_environment():
    """The environment for Cargo."""
    return {**os.environ, "CARGO_TARGET_DIR": str(target())}


# Below the ports that Linux gives to connections by itself (from 32768): no connection takes one
# while the program that it is for starts, or starts again. Tests take theirs from 20000.
UNASKED_PORTS = list(range(12000, 20000))
random.shuffle(UNASKED_PORTS)


def free_port():
    """A port on which nothing listens; each is given once."""
    while UNASKED_PORTS:
        port = UNASKED_PORTS.pop()
        if is_free(port):
            return port
    raise Trouble("no port from 12000 to 19999 is free")


def next_free_port(wanted, taken=()):
    """`wanted`, or the first port above it that is neither in use nor in `taken`."""
    for port in range(wanted, min(wanted + 1000, 65536)):
        if port not in taken and is_free(port):
            return port
    raise Trouble(f"no port from {wanted} to {wanted + 999} is free")


def is_free(port):
    """Whether nothing listens on a port of this machine (bound as servers bind it)."""
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError:
                return False
    return True


def gigabytes(count):
    """Bytes in words."""
    return f"{count / 1e9:.1f} GB"


def require_disk(folder, needed):
    """Stops early if `folder`'s disk has less than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Trouble(
            f"{folder} has {gigabytes(free)} left, and {gigabytes(needed)} are needed: "
            "make room, or name another folder with WARREN_CACHE=/path"
        )


def require_memory(needed):
    """Stops early if less than `needed` bytes of memory can be had."""
    free = available_memory()
    if free is not None and free < needed:
        raise Trouble(
            f"{gigabytes(free)} of memory are available, and {gigabytes(needed)} are needed: "
            "stop other programs, or use clusters that run elsewhere "
            "(make run CLUSTERS=http://host:8080)"
        )


def available_memory():
    """What the kernel says can still be had, or None where it does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def find_program(*names):
    """The first of `names` that is installed, also in the folders that only root's PATH has."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return next((found for found in (shutil.which(name, path=path) for name in names) if found), None)


def need_packages(programs, log):
    """Installs the Debian packages whose programs are missing: `programs` is {package: program}."""
    missing = [package for package, program in programs.items() if not find_program(program)]
    if not missing:
        return
    advice = f"install them: apt-get install {' '.join(missing)}"
    if not shutil.which("apt-get"):
        raise Trouble(f"needed, and not here: {', '.join(missing)}; {advice}")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if sudo and not shutil.which("sudo"):
        raise Trouble(f"needed, and only root may install them: {', '.join(missing)}; {advice}")
    progress(f"installing Debian packages: {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if sudo:
        sudo += ["DEBIAN_FRONTEND=noninteractive"]
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    with open(log, "ab") as out, no_services():
        for command in (["apt-get", "update"], install):
            done = subprocess.run(
                sudo + command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                timeout=900,
            )
            if done.returncode != 0:
                raise Trouble(f"`{' '.join(command)}` failed (see {log}); {advice}")


@contextlib.contextmanager
def no_services():
    """Keeps Debian from starting the services of what is installed: we want programs only."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = os.geteuid() == 0 and not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            policy.unlink()


def last_lines(log, count=20):
    """The end of a log file, for someone who must find out why."""
    try:
        lines = Path(log).read_text(errors="replace").splitlines()[-count:]
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(f"    {line[:400]}" for line in lines) or "    (empty)"


def main(command):
    """Runs `command()`, tells a trouble in words, and exits with the right code."""
    try:
        code = command()
    except Trouble as trouble:
        say(f"\n{Path(sys.argv[0]).name}: {trouble}")
        code = 1
    sys.exit(code)
