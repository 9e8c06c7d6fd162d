#!/usr/bin/env python3
"""`make bench-rules`: what a call of the rules takes of processor time and memory, beside its goals."""

import machine
from children import with_children
from machine import CHECKOUT, Trouble

TIMEOUT = 3600


def bench(children):
    """Builds as a release is built, and measures."""
    # The whole workspace, as everywhere: a part of it would compile its dependencies anew.
    argv = ["cargo", "bench", "--locked", "--workspace", "--bench", "rules"]
    code = children.run("measuring", argv, TIMEOUT, cwd=CHECKOUT, env=machine.cargo_environment())
    if code != 0:
        raise Trouble(f"a figure is far beyond its goal, or nothing could be measured (code {code})")
    return 0


if __name__ == "__main__":
    machine.main(lambda: with_children(bench))
