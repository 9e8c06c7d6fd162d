#!/usr/bin/env python3
"""`make bench-quick`: CPU a request and requests a second, beside a bare Pingora proxy and nginx."""

import machine
from children import with_children
from machine import CHECKOUT, Trouble


def bench(children):
    """Builds with the release profile and measures."""
    machine.need_packages({"nginx-light": "nginx", "wrk": "wrk"}, machine.cache() / "packages.log")
    env = machine.cargo_environment()
    programs = machine.target() / "release"
    # The whole workspace, as everywhere: a part of it would compile its dependencies anew.
    build = ["cargo", "build", "--release", "--locked", "--workspace", "--bins"]
    measure = [programs / "warren-bench", "quick", "--warren", programs / "warren"]
    for name, argv in (("building", build), ("measuring", measure)):
        code = children.run(name, argv, 3600, cwd=CHECKOUT, env=env)
        if code != 0:
            raise Trouble(f"{name} failed (code {code})")
    return 0


if __name__ == "__main__":
    machine.main(lambda: with_children(bench))
