"""The processes that we start, none of which outlives us.

Each child leads its own process group and is stopped, with all that it started, by its id. The
kernel kills a child if we vanish without having stopped it. It does so when the *thread* that
started the child ends: start children only from threads that live as long as they shall.
"""

import ctypes
import os
import signal
import subprocess
import threading
import time

from machine import Trouble, last_lines

GRACE = 15.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Stop(BaseException):
    """We were asked to stop: Ctrl-C, a closed terminal, or SIGTERM."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number

    def exit_code(self):
        """What a shell expects of a program that a signal ended."""
        return 128 + self.number


def stop_on_signals():
    """Makes Ctrl-C, a closed terminal and SIGTERM raise [`Stop`], and our parent's end too."""

    def raise_stop(number, _frame):
        ignore_signals()
        raise Stop(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, raise_stop)
    LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def ignore_signals():
    """From here on nothing interrupts: we are clearing up, which takes a bounded time."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def die_with_parent():
    """Runs in the child between fork and exec."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


class Child:
    """One process, its name and its log."""

    def __init__(self, name, process, log):
        self.name = name
        self.process = process
        self.log = log

    def require_alive(self):
        """Raises a [`Trouble`] with the end of the log if the process has ended."""
        code = self.process.poll()
        if code is not None:
            raise Trouble(f"{self.name} ended with {code}; the end of {self.log}:\n{last_lines(self.log)}")

    def signal(self, number):
        """Sends a signal to the process and all that it started."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass


class Children:
    """All of them, in the order of their start."""

    def __init__(self):
        self.all = []
        self.lock = threading.Lock()
        self.closed = False

    def start(self, name, argv, log=None, **options):
        """Starts a process; its output goes to the file `log`, else to ours."""
        out = open(log, "ab") if log else None
        try:
            with self.lock:
                if self.closed:
                    raise Trouble(f"{name} is not started: we are stopping")
                process = subprocess.Popen(
                    [str(word) for word in argv],
                    stdin=subprocess.DEVNULL,
                    stdout=options.pop("stdout", out),
                    stderr=options.pop("stderr", subprocess.STDOUT if log else None),
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                    **options,
                )
                child = Child(name, process, log)
                self.all.append(child)
                return child
        finally:
            if out:
                out.close()

    def run(self, name, argv, timeout, log=None, **options):
        """Runs a process to its end and returns its code; a Trouble if it takes too long."""
        child = self.start(name, argv, log, **options)
        try:
            return child.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{name} took more than {timeout} s and was stopped") from None
        finally:
            self.stop(child)

    def stop(self, child):
        """Stops one process and all that it started."""
        stop_all([child])
        with self.lock:
            self.all = [other for other in self.all if other is not child]

    def stop_all(self):
        """Stops all: those that were started last first, and none is started any more."""
        ignore_signals_if_main()
        with self.lock:
            self.closed = True
            running, self.all = self.all[::-1], []
        stop_all(running)


def with_children(command):
    """Runs `command(children)` to its end, whatever ends it, and leaves no child: the exit code."""
    stop_on_signals()
    children = Children()
    try:
        return command(children)
    except Stop as stop:
        return stop.exit_code()
    finally:
        ignore_signals()
        children.stop_all()


def stop_all(children):
    """Asks each to end, and kills what is still there after a while."""
    for child in children:
        if child.process.poll() is None:
            child.signal(signal.SIGTERM)
    end = time.monotonic() + GRACE
    for child in children:
        try:
            child.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
    for child in children:
        child.signal(signal.SIGKILL)
        child.process.wait()


def ignore_signals_if_main():
    """Python lets only the main thread set handlers."""
    if threading.current_thread() is threading.main_thread():
        ignore_signals()
