#!/usr/bin/env python3
"""`make test`: everything that must hold before a change may go in.

Two real Trinos and a MariaDB boot, and the tools come, while Rust compiles; the tests then find
them by WARREN_TEST_* variables. Each step has a time limit, and nothing that was started is left.
"""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import java
import machine
import mariadb
import toolbox
import trino
from children import Children, Stop, ignore_signals, stop_on_signals
from machine import CHECKOUT, Trouble, progress, say

MINUTE = 60
DISK = 6_000_000_000
# The two that all tests share, and those that some boot for themselves, two at once.
MEMORY = 5 * trino.MEMORY_EACH + 1_500_000_000
SURROUNDINGS_TIMEOUT = 40 * MINUTE
# Tests that hold processor time against a narrow bound: what runs beside them would count.
MEASURING = "route::tests::attacks::"


class Surroundings:
    """What the tests need around them; made in the background.

    The thread lives until the end, because its children end with it (see children.py)."""

    def __init__(self, children, folder):
        self.children = children
        self.folder = folder
        self.log = folder / "surroundings.log"
        self.environment = {}
        self.trouble = None
        self.done = threading.Event()
        self.over = threading.Event()
        self.took = 0.0
        threading.Thread(target=self.work, name="surroundings", daemon=True).start()

    def work(self):
        """Makes all, tells how it went, and stays."""
        started = time.monotonic()
        try:
            self.make()
        except Trouble as trouble:
            self.trouble = trouble
        except Exception as error:  # Whatever it is, the main thread must not wait in vain.
            self.trouble = Trouble(f"the surroundings of the tests: {error!r}")
        self.took = time.monotonic() - started
        self.done.set()
        self.over.wait()

    def make(self):
        """The slow starters first."""
        log = self.log
        home = java.find()
        mariadb.install(log)
        machine.need_packages({"chromium": "chromium"}, log)
        coordinators = [
            trino.Coordinator(name, machine.free_port(), self.folder / name)
            for name in ("blue", "green")
        ]
        booting = [trino.start(self.children, coordinator) for coordinator in coordinators]
        _, database = mariadb.start(self.children, self.folder / "mariadb")
        self.environment = {
            "WARREN_TEST_MARIADB": database,
            "WARREN_TEST_TRINO_BLUE": coordinators[0].url,
            "WARREN_TEST_TRINO_GREEN": coordinators[1].url,
            "WARREN_TEST_TRINO_TOOLS": CHECKOUT / "deploy" / "local" / "coordinator.py",
            "WARREN_TEST_AIRFLOW": toolbox.airflow(log),
            "WARREN_TEST_MOTO": toolbox.moto(log),
            "WARREN_TEST_CHROMIUM": machine.find_program("chromium"),
            "WARREN_TEST_FOLDER": self.folder,
            "WARREN_TEST_HAPROXY": toolbox.haproxy(log),
            "WARREN_TEST_BENCHMARK_QUERIES": toolbox.benchmark_queries(),
            **toolbox.clients(home, log),
        }
        for child, coordinator in zip(booting, coordinators):
            trino.wait_until_started(child, coordinator.url)
        progress("two Trinos and a MariaDB are up")

    def wait(self):
        """The variables for the tests, once all is there."""
        if not self.done.wait(SURROUNDINGS_TIMEOUT):
            raise Trouble(f"the surroundings of the tests are not up yet (see {self.log})")
        if self.trouble:
            raise self.trouble
        return {key: str(value) for key, value in self.environment.items()}


class Steps:
    """Runs the steps and keeps how long each took."""

    def __init__(self, children):
        self.children = children
        self.took = []

    def run(self, name, argv, minutes, run=None, **environment):
        """One step; what fails ends the whole."""
        say(f"\n==> {name}")
        started = time.monotonic()
        env = {**machine.cargo_environment(), **environment}
        try:
            code = (run or self.children.run)(name, argv, minutes * MINUTE, cwd=CHECKOUT, env=env)
        finally:
            self.took.append((name, time.monotonic() - started))
        if code != 0:
            raise Trouble(f"{name} failed (code {code})")

    def show(self):
        """Minutes per step."""
        say("\nminutes per step:")
        for name, seconds in self.took:
            say(f"  {seconds / 60:5.1f}  {name}")
        say("")


def run_tests(children, steps, extra):
    """Returns a runner that shows the tests' output as it comes, and their closing lines last."""

    def run(name, argv, timeout, **options):
        started = time.monotonic()
        child = children.start(name, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        cut = threading.Timer(timeout, children.stop, [child])
        cut.daemon = True
        cut.start()
        closing = []
        for line in child.process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            if closing and text.strip():
                flush(closing)
            if closing or text.startswith("test result:"):
                closing.append(text)
            else:
                say(text)
        code = child.process.wait()
        timed_out = not cut.is_alive() and time.monotonic() - started >= timeout
        cut.cancel()
        steps.took.append((name, time.monotonic() - started))
        for row in extra():
            steps.took.append(row)
        steps.show()
        steps.took = []
        flush(closing)
        if timed_out:
            raise Trouble(f"the tests took more than {timeout // MINUTE} min and were stopped")
        return code

    return run


def flush(lines):
    """Says the lines that were held back."""
    for line in lines:
        say(line)
    lines.clear()


def check(children, folder):
    """All steps, in the order in which they find mistakes soonest."""
    steps = Steps(children)
    surroundings = Surroundings(children, folder)
    try:
        steps.run("formatting", ["cargo", "fmt", "--all", "--check"], 2)
        steps.run("crates", ["cargo", "fetch", "--locked"], 15)
        steps.run("clippy", ["cargo", "clippy", "--workspace", "--all-targets", "--locked",
                             "--", "-D", "warnings"], 40)
        steps.run("documentation", ["cargo", "doc", "--workspace", "--no-deps", "--locked"], 20,
                  RUSTDOCFLAGS="-D warnings")
        steps.run("licences and sources", [toolbox.cargo_deny(surroundings.log), "--offline", "--locked",
                                           "check", "licenses", "bans", "sources"], 5)
        steps.run("building", ["cargo", "test", "--workspace", "--no-run", "--locked"], 40)
        say("\n==> waiting for Trino and MariaDB")
        variables = surroundings.wait()
        wanted = os.environ.get("TESTS", "").split()
        if not wanted:
            # Of the workspace, as below: the crates would be built once more for one package.
            steps.run("tests that measure, alone", ["cargo", "test", "--workspace", "--locked", "--lib",
                                                    "--", "--test-threads=1", MEASURING], 10)
            wanted = ["--", "--skip", MEASURING]
        tests = ["cargo", "test", "--workspace", "--locked", "--no-fail-fast", *wanted]
        runner = run_tests(children, steps, lambda: [
            ("(beside the compiler) Trino, MariaDB and tools", surroundings.took)])
        steps.run("tests", tests, 60, run=runner, **variables)
        steps.took = []
    finally:
        if len(steps.took) > 1:
            steps.show()
        surroundings.over.set()


def main():
    """Checks what the machine has, then runs everything in a folder of its own."""
    stop_on_signals()
    children = Children()
    folder = Path(tempfile.mkdtemp(prefix="warren-test-"))
    kept = False
    try:
        machine.require_disk(machine.cache(), 0 if (machine.target() / "debug").exists() else DISK)
        machine.require_memory(MEMORY)
        check(children, folder)
        return 0
    except Stop as stop:
        return stop.exit_code()
    except (Trouble, OSError):
        kept = any(folder.iterdir())
        raise
    finally:
        ignore_signals()
        children.stop_all()
        if kept:
            say(f"the logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    machine.main(main)
