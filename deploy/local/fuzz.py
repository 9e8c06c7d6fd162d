#!/usr/bin/env python3
"""`make fuzz`: the targets in `fuzz/`, one after another, each for five minutes.

The fuzzer needs a nightly Rust, which is installed if it is missing, and cargo-fuzz. What it found
worth keeping stays in the cache, so the next run goes on from there. The code under test is safe Rust,
so no sanitizer is compiled in: a panic, a hang and too much memory are what can be found."""

import os
import shutil
import subprocess

import machine
import toolbox
from children import with_children
from machine import CHECKOUT, Trouble, progress, say

TARGETS = ("facts", "sql", "tags", "prepared")
SECONDS = 300
BUILD_SECONDS = 3600
# The largest input: a head may have 64 KiB.
LENGTH = 65536
# One input that takes longer is a finding.
TIMEOUT = 10
MEMORY_MB = 2048


def wanted():
    """The targets and the seconds for each, from TARGETS and FUZZ_SECONDS."""
    targets = os.environ.get("TARGETS", "").split() or list(TARGETS)
    unknown = [target for target in targets if target not in TARGETS]
    if unknown:
        raise Trouble(f"TARGETS names {', '.join(unknown)}, known: {', '.join(TARGETS)}")
    seconds = os.environ.get("FUZZ_SECONDS") or str(SECONDS)
    if not seconds.isdigit() or int(seconds) == 0:
        raise Trouble(f"FUZZ_SECONDS is {seconds!r}, expected a number such as {SECONDS}")
    return targets, int(seconds)


def need_nightly(log):
    """Only a nightly compiler counts for the fuzzer which ways the code took."""
    try:
        told = subprocess.run(["cargo", "+nightly", "--version"], capture_output=True, timeout=60)
        if told.returncode == 0:
            return
    except (OSError, subprocess.TimeoutExpired):
        pass
    if not shutil.which("rustup"):
        raise Trouble("fuzzing needs a nightly Rust, and rustup to install it: https://rustup.rs")
    progress("installing a nightly Rust")
    toolbox.logged(["rustup", "toolchain", "install", "nightly", "--profile", "minimal"], log, timeout=1800)


def environment(program):
    """Cargo's, with cargo-fuzz on the PATH and a target folder that other builds do not share."""
    env = machine.cargo_environment()
    env["PATH"] = os.pathsep.join([str(program.parent), env.get("PATH", "")])
    env["CARGO_TARGET_DIR"] = str(machine.target() / "fuzz")
    return env


def fuzz(children, env, target, seconds):
    """Builds and runs one target."""
    corpus = machine.cache() / "fuzz" / target
    corpus.mkdir(parents=True, exist_ok=True)
    cargo = ["cargo", "+nightly", "fuzz"]
    options = ["--sanitizer", "none", target]
    say(f"\n==> building {target}")
    if children.run(f"building {target}", [*cargo, "build", *options], BUILD_SECONDS, cwd=CHECKOUT, env=env) != 0:
        raise Trouble(f"the target {target} cannot be built")
    say(f"\n==> {target} for {seconds} s")
    run = [*cargo, "run", *options, corpus, CHECKOUT / "fuzz" / "seeds" / target, "--",
           f"-max_total_time={seconds}", f"-max_len={LENGTH}", f"-timeout={TIMEOUT}",
           f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1"]
    if children.run(target, run, seconds + BUILD_SECONDS, cwd=CHECKOUT, env=env) != 0:
        raise Trouble(f"{target} has a finding: its input lies in fuzz/artifacts/{target}; "
                      f"repeat it with `cargo +nightly fuzz run --sanitizer none {target} FILE`")


def fuzz_all(children):
    """All targets that are wanted."""
    targets, seconds = wanted()
    log = machine.cache() / "fuzz.log"
    need_nightly(log)
    env = environment(toolbox.cargo_fuzz(log))
    # The same versions of all crates as in the product, which may have changed since the last run.
    shutil.copy(CHECKOUT / "Cargo.lock", CHECKOUT / "fuzz" / "Cargo.lock")
    for target in targets:
        fuzz(children, env, target, seconds)
    say(f"\nno findings: {', '.join(targets)}, {seconds} s each")
    return 0


if __name__ == "__main__":
    machine.main(lambda: with_children(fuzz_all))
