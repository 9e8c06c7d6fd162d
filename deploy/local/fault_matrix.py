#!/usr/bin/env python3
"""`make fault-matrix`: what users of each client see of each fault, with Warren and without it.

The clients are real, the coordinators are stubs that fail when told. The tables come last, in
Markdown: those of docs/faults.md.
"""

import shutil
import tempfile
from pathlib import Path

import java
import machine
import toolbox
from children import with_children
from machine import CHECKOUT, Trouble, say

TEST = "matrix::no_client_notices_a_fault_that_can_be_mended"
TIMEOUT = 3600


def main():
    """Runs the matrix in a folder of its own, which is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="warren-faults-"))
    try:
        return with_children(lambda children: matrix(children, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def matrix(children, folder):
    """Installs the clients and runs one test in its long form."""
    tables = folder / "tables"
    clients = toolbox.clients(java.find(), folder / "tools.log")
    env = {**machine.cargo_environment(), **clients, "WARREN_TEST_FAULT_MATRIX": str(tables)}
    argv = ["cargo", "test", "--locked", "--test", "real", "--", "--exact", TEST, "--nocapture"]
    code = children.run("the matrix", argv, TIMEOUT, cwd=CHECKOUT, env=env)
    if tables.exists():
        say()
        say(tables.read_text())
    if code != 0:
        raise Trouble(f"the matrix failed (code {code})")
    return 0


if __name__ == "__main__":
    machine.main(main)
