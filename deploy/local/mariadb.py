"""A MariaDB of our own on loopback, thrown away afterwards: root, no password."""

import shutil
import socket
import subprocess
import time

from machine import Trouble, find_program, free_port, last_lines, need_packages, require_disk

START_TIMEOUT = 120


def install(log):
    """Installs Debian's MariaDB if none is here."""
    # The core packages have the programs and, unlike the whole ones, no service that would start.
    # Debian's mariadb-install-db calls a program of the client's package.
    packages = {"mariadb-server-core": "mariadbd", "mariadb-client-core": "my_print_defaults"}
    need_packages(packages, log)


def start(children, folder):
    """Initialises a data folder and starts the server; returns the child and its address."""
    data = folder / "data"
    log = folder / "server.log"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    require_disk(folder, 500_000_000)
    initialise(data, log)
    port = free_port()
    child = children.start(
        "MariaDB",
        [
            find_program("mariadbd"),
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'pid'}",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--max-connections=500",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=128M",
            "--innodb-flush-log-at-trx-commit=2",
        ],
        log,
    )
    wait_until_up(child, port)
    return child, f"mysql://root@127.0.0.1:{port}"


def initialise(data, log):
    """Makes the system tables."""
    program = find_program("mariadb-install-db", "mysql_install_db")
    with open(log, "ab") as out:
        done = subprocess.run(
            [
                program,
                "--no-defaults",
                "--user=root",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=300,
        )
    if done.returncode != 0:
        raise Trouble(f"{program} failed; the end of {log}:\n{last_lines(log)}")


def wait_until_up(child, port):
    """Waits for the greeting that the server sends to whoever connects."""
    end = time.monotonic() + START_TIMEOUT
    while True:
        child.require_alive()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                if connection.recv(5):
                    return
        except OSError:
            pass
        if time.monotonic() > end:
            raise Trouble(f"MariaDB did not start within {START_TIMEOUT} s (see {child.log})")
        time.sleep(0.2)
