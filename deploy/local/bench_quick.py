#!/usr/bin/env python3
"""`make bench-quick`: CPU a request and requests a second, beside a bare Pingora proxy and nginx."""

import machine
from children import Children, Stop, ignore_signals, stop_on_signals
from machine import CHECKOUT, Trouble


def main():
    """Builds with the release profile and measures."""
    stop_on_signals()
    children = Children()
    try:
        machine.need_packages({"nginx-light": "nginx", "wrk": "wrk"}, machine.cache() / "packages.log")
        env = machine.cargo_environment()
        programs = machine.target() / "release"
        # The whole workspace, as everywhere: a part of it would compile its dependencies anew.
        build = ["cargo", "build", "--release", "--locked", "--workspace", "--bins"]
        bench = [programs / "warren-bench", "quick", "--warren", programs / "warren"]
        for name, argv in (("building", build), ("measuring", bench)):
            code = children.run(name, argv, 3600, cwd=CHECKOUT, env=env)
            if code != 0:
                raise Trouble(f"{name} failed (code {code})")
        return 0
    except Stop as stop:
        return stop.exit_code()
    finally:
        ignore_signals()
        children.stop_all()


if __name__ == "__main__":
    machine.main(main)
