#!/usr/bin/env python3
"""`make run`: two real Trino clusters with Warren in front of them, on this machine.

Stays in the foreground; Ctrl-C, SIGTERM or a closed terminal stops all that it started.
CLUSTERS=http://a:8080,http://b:8080 puts Warren in front of clusters that run elsewhere.
ONCE=1 ends after the first answer.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import java
import machine
import trino
from children import Children, Stop, ignore_signals, stop_on_signals
from download import TRINO_CLI, TRINO_SERVER, fetch
from machine import CHECKOUT, Trouble, gigabytes, last_lines, progress, say

READY_TIMEOUT = 300
BUILD_DISK = 4_000_000_000
COLOURS = ("blue", "green")
ASK = "SELECT node_id AS answered_by, node_version AS trino FROM system.runtime.nodes WHERE coordinator"


@dataclass
class Place:
    """Where this run lives."""

    folder: Path
    client: int
    admin: int
    clusters: dict

    @property
    def config(self):
        """Warren's settings."""
        return self.folder / "warren.toml"

    @property
    def rules(self):
        """Warren's rules: a copy, to be edited without fear."""
        return self.folder / "route.lua"

    @property
    def log(self):
        """What Warren writes."""
        return self.folder / "warren.log"


def main():
    """All of it, and afterwards nothing is left."""
    stop_on_signals()
    children = Children()
    try:
        run(children)
        return 0
    except Stop as stop:
        say("\nstopping")
        # Ctrl-C and a closed terminal are how this command is meant to end.
        return 0 if stop.number in (signal.SIGINT, signal.SIGHUP) else stop.exit_code()
    finally:
        ignore_signals()
        children.stop_all()


def run(children):
    """Announces, starts, asks, shows, stays."""
    elsewhere = [url for url in os.environ.get("CLUSTERS", "").split(",") if url]
    java_home = None if elsewhere else java.find()
    announce(elsewhere, java_home)
    place = choose_place(elsewhere)
    coordinators = [] if elsewhere else start_coordinators(children, place)
    warren = build(children)
    write_settings(place)
    gateway = Gateway(children, warren, place)
    wait_until_ready(place, [gateway.child, *coordinators])
    for url in () if elsewhere else place.clusters.values():
        make_slow_table(url)
    if java_home:
        ask_with_cli(java_home, place)
    else:
        ask_with_http(place)
    explain(children, warren, place)
    show_ways_in(place, java_home)
    show_things_to_try(place, gateway)
    if os.environ.get("ONCE", "") not in ("", "0"):
        return
    say("\nWarren runs in the foreground: Ctrl-C stops everything.")
    while True:
        gateway.look_after()
        coordinators = [child for child in coordinators if is_alive(child)]
        time.sleep(0.5)


class Gateway:
    """Warren's supervisor, which starts a worker that was killed again; its own end is ours."""

    def __init__(self, children, program, place):
        self.children = children
        self.program = program
        self.place = place
        self.child = self.start()
        self.known_worker = None

    def start(self):
        """Starts it."""
        argv = [self.program, "supervise", "--config", self.place.config]
        return self.children.start("Warren", argv, self.place.log, cwd=self.place.folder)

    def worker(self):
        """The process that serves; `None` for the moment in which there is none."""
        supervisor = self.child.process.pid
        try:
            children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
        except OSError:
            return None
        return int(children.split()[-1]) if children.split() else None

    def look_after(self):
        """Tells of a new worker: to kill the old one is one of the things to try."""
        worker = self.worker()
        if worker and self.known_worker and worker != self.known_worker:
            progress(f"Warren's worker is a new one (process {worker}); nobody was refused")
        self.known_worker = worker or self.known_worker
        self.child.require_alive()


def is_alive(child):
    """A cluster's end is something to look at, not our end."""
    if child.process.poll() is None:
        return True
    progress(f"{child.name} has ended; Warren goes on without it")
    return False


def make_slow_table(url):
    """A table whose reading takes 10 s and no CPU."""
    trino.run_statement(url, (
        "CREATE TABLE IF NOT EXISTS blackhole.default.slow (x bigint) WITH (split_count=1, "
        "pages_per_split=10, rows_per_page=10, field_length=8, page_processing_delay='1s')"
    ))


def announce(elsewhere, java_home):
    """Says what will happen and what it takes, and stops early if the machine lacks it."""
    cache, target = machine.cache(), machine.target()
    download = 0
    if not elsewhere:
        needed = [artefact for artefact in (TRINO_SERVER, TRINO_CLI) if not artefact.file.exists()]
        download = sum(artefact.size for artefact in needed)
    unpack = 0 if elsewhere or (cache / f"trino-server-{trino.VERSION}" / ".unpacked").exists() \
        else trino.UNPACKED_SIZE
    compile_size = 0 if (target / "debug" / "warren").exists() else BUILD_DISK
    memory = 300_000_000 if elsewhere else 2 * trino.MEMORY_EACH + 300_000_000
    say("Warren in front of " + (", ".join(elsewhere) or "two real Trino clusters on this machine"))
    if java_home:
        say(f"  Trino {trino.VERSION} with the JDK in {java_home}")
    say(f"  to download: {download / 1e6:,.0f} MB from Maven Central into {cache}"
        if download else f"  to download: nothing (what is needed lies in {cache})")
    say(f"  disk: {gigabytes(download + unpack + compile_size)} more   memory: {gigabytes(memory)}")
    say(f"  compiled into {target}")
    machine.require_disk(cache, download + unpack)
    machine.require_disk(target if target.exists() else cache, compile_size)
    machine.require_memory(memory)


def choose_place(elsewhere):
    """Ports and a folder; a taken port gives the next free one."""
    client = machine.next_free_port(8080)
    admin = machine.next_free_port(8081, (client,))
    if elsewhere:
        names = [f"cluster-{number}" for number in range(1, len(elsewhere) + 1)]
        clusters = dict(zip(names, elsewhere))
    else:
        blue = machine.next_free_port(18081, (client, admin))
        green = machine.next_free_port(18082, (client, admin, blue))
        clusters = {"blue": f"http://127.0.0.1:{blue}", "green": f"http://127.0.0.1:{green}"}
    folder = machine.cache() / "run" / str(client)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Place(folder, client, admin, clusters)


def start_coordinators(children, place):
    """Both at once, while Warren compiles."""
    fetch(TRINO_CLI)
    trino.home()
    started = []
    for name, url in place.clusters.items():
        port = int(url.rsplit(":", 1)[1])
        coordinator = trino.Coordinator(name, port, place.folder / name)
        started.append(trino.start(children, coordinator))
        progress(f"coordinator {name} is starting at {url}")
    return started


def build(children):
    """Compiles Warren; Cargo shows how far it is."""
    progress("building Warren")
    # The whole workspace, as `make test` does: a part of it would compile its dependencies anew.
    argv = ["cargo", "build", "--locked", "--workspace", "--bins"]
    code = children.run("cargo", argv, 3600, cwd=CHECKOUT, env=machine.cargo_environment())
    if code != 0:
        raise Trouble(f"`{' '.join(argv)}` failed with {code}")
    return machine.target() / "debug" / "warren"


def write_settings(place):
    """Warren's settings and rules for this run."""
    shutil.copy(Path(__file__).with_name("route.lua"), place.rules)
    clusters = "".join(
        f'\n[[clusters]]\nname = "{name}"\ngroup = "bi"\nurl = "{url}"\n'
        for name, url in place.clusters.items()
    )
    place.config.write_text(f"""\
[listen]
client = "127.0.0.1:{place.client}"
admin = "127.0.0.1:{place.admin}"

[store]
url = "sqlite:warren.db"

[rules]
file = "route.lua"
default_group = "bi"

[[groups]]
name = "bi"
{clusters}""")


def wait_until_ready(place, children):
    """Waits until Warren's own probe calls every cluster ready."""
    end = time.monotonic() + READY_TIMEOUT
    said = time.monotonic()
    told = ""
    while True:
        for child in children:
            child.require_alive()
        health = clusters_health(place)
        if health and all(state == "ready" for state in health.values()):
            progress("Warren's probe says: " + words(health))
            return
        text = words(health) if health else "Warren does not answer yet"
        if text != told or time.monotonic() - said > 5:
            told, said = text, time.monotonic()
            progress(f"waiting for the clusters: {text}")
        if time.monotonic() > end:
            raise Trouble(
                f"not every cluster was ready within {READY_TIMEOUT} s: {text}; "
                f"the end of {place.log}:\n{last_lines(place.log)}"
            )
        time.sleep(0.5)


def words(health):
    """`blue ready, green starting`."""
    return ", ".join(f"{name} {state}" for name, state in health.items())


def clusters_health(place):
    """What the operators' port says of each cluster's health; empty while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{place.admin}/api/v1/clusters", timeout=5) as answer:
            return {cluster["name"]: cluster["health"] for cluster in json.load(answer)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def ask_with_cli(java_home, place):
    """The first query, with Trino's own client."""
    argv = [java_home / "bin" / "java", "-jar", TRINO_CLI.file, f"http://127.0.0.1:{place.client}",
            "--output-format=ALIGNED", f"--execute={ASK}"]
    say(f"\ntrino> {ASK};")
    try:
        told = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        raise Trouble(f"the Trino CLI got no answer within 120 s; the end of {place.log}:\n"
                      f"{last_lines(place.log)}") from None
    if told.returncode != 0:
        raise Trouble(f"the Trino CLI failed: {told.stderr.strip()}\nthe end of {place.log}:\n"
                      f"{last_lines(place.log)}")
    say(told.stdout.rstrip())


def ask_with_http(place):
    """The first query without a JDK."""
    say(f"\n{ASK};")
    try:
        rows = trino.run_statement(f"http://127.0.0.1:{place.client}", ASK)
    except OSError as error:
        raise Trouble(f"the query failed: {error}; the end of {place.log}:\n{last_lines(place.log)}") from None
    for row in rows:
        say("  " + " | ".join(str(value) for value in row))


def explain(children, warren, place):
    """Which cluster served it and why, from Warren's own access log; then where the next one goes."""
    lines = place.log.read_text(errors="replace").splitlines()
    submits = [line for line in lines if ' access: request kind="submit"' in line]
    if not submits:
        raise Trouble(f"the query is not in the access log; the end of {place.log}:\n{last_lines(place.log)}")
    told = dict(re.findall(r'(\w+)="([^"]*)"', submits[-1]))
    rule = f"the rule `{told['rule']}` named" if told["rule"] else "no rule named a group, so it went to"
    say(f"\nserved by {told['cluster']}: {rule} `{told['group']}`; of its ready clusters this one carried least,"
        " or the lot fell on it among equals")
    say("\nthe next one: (warren route -H 'X-Trino-Source: trino-cli')")
    told = place.folder / "route.txt"
    children.run("warren route", [warren, "route", "--config", place.config,
                                  "-H", "X-Trino-Source: trino-cli"], 30, log=told)
    say(last_lines(told))


def show_ways_in(place, java_home):
    """Lines that can be copied."""
    address = f"127.0.0.1:{place.client}"
    java_program = java_home / "bin" / "java" if java_home else "java"
    say(f"""
ready, at http://{address}
  CLI         {java_program} -jar {TRINO_CLI.file} http://{address}
  JDBC        jdbc:trino://{address}/tpch/tiny?user=me
  SQLAlchemy  trino://me@{address}/tpch/tiny
  curl        curl -s -H 'X-Trino-User: me' -d 'SELECT 1' http://{address}/v1/statement
  operators   http://127.0.0.1:{place.admin}/api/v1/clusters   settings {place.config}   log {place.log}""")


def show_things_to_try(place, gateway):
    """Three acts, and what will be seen."""
    warren = gateway.program
    admin = f"http://127.0.0.1:{place.admin}"
    first = next(iter(place.clusters))
    say(f"""
three things to try
  1. take {first} out, as for a deployment; every new query is then answered by another cluster:
       curl -X PUT {admin}/api/v1/clusters/{first}/intent -d '{{"intent":"draining","reason":"a try"}}' \\
         -H 'Content-Type: application/json'
       {warren} clusters list --config {place.config}
     and back again with "intent":"active".
  2. change the rules while it runs: take the `--` away in {place.rules} and save.
     Within a second your rule counts, and Warren names it with its reason:
       {warren} route --config {place.config} -H 'X-Trino-Source: nightly'
  3. kill Warren, not the query: start `SELECT * FROM blackhole.default.slow` (10 s, 100 rows) with the CLI, and
       kill -9 {gateway.worker()}
     Warren is started again within a second, and the query ends with its 100 rows.""")


if __name__ == "__main__":
    machine.main(main)
