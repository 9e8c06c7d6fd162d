#!/usr/bin/env python3
"""Becomes one Trino coordinator, in the foreground.

Prints its address on one line, then *turns into* the JVM: the process id that the caller has is the
coordinator's, so it can be stopped, frozen and killed by it. Its output goes to FOLDER/server.log.
"""

import argparse
import ctypes
import os
import signal
from pathlib import Path

import machine
import trino


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--name", required=True, help="its node id")
    parser.add_argument("--folder", required=True, type=Path, help="its own folder; emptied first")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--no-process-forwarded", action="store_true",
                        help="refuse X-Forwarded-* headers, as Trino does by default")
    parser.add_argument("--plugin", action="append", default=[], help="a further plugin")
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE",
                        help="a further line of config.properties")
    parser.add_argument("--file-property", action="append", default=[], nargs=2,
                        metavar=("FILE", "KEY=VALUE"),
                        help="a line of a further file, such as password-authenticator.properties")
    parser.add_argument("--resource-groups", default="", metavar="FILE",
                        help="resource groups, as JSON for Trino's file manager")
    parser.add_argument("--die-with-parent", action="store_true",
                        help="killed by the kernel when the thread that started it ends")
    return parser.parse_args()


def by_file(pairs):
    """The lines of each further file."""
    files = {}
    for name, line in pairs:
        key, value = line.split("=", 1)
        files.setdefault(name, {})[key] = value
    return files


def main():
    """Writes the files, says the address, and becomes the JVM."""
    chosen = arguments()
    parent = os.getppid()
    coordinator = trino.Coordinator(
        name=chosen.name,
        port=chosen.port or machine.free_port(),
        folder=chosen.folder.absolute(),
        process_forwarded=not chosen.no_process_forwarded,
        plugins=(*trino.ALWAYS, *chosen.plugin),
        properties=dict(line.split("=", 1) for line in chosen.property),
        resource_groups=chosen.resource_groups,
        files=by_file(chosen.file_property),
    )
    argv = [str(word) for word in trino.prepare(coordinator)]
    if chosen.die_with_parent:
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
        if os.getppid() != parent:
            return 1
    print(coordinator.url, flush=True)
    log = os.open(coordinator.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.chdir(coordinator.folder)
    os.execv(argv[0], argv)


if __name__ == "__main__":
    machine.main(main)
