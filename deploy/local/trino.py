"""A real Trino on this machine: unpacked once into the cache, started as often as wanted."""

import json
import shutil
import subprocess
import tarfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import java
from download import TRINO_SERVER, fetch
from machine import Trouble, cache, gigabytes, locked, progress, require_disk

VERSION = "476"
UNPACKED_SIZE = 940_000_000
HEAP = "1500M"
# What one coordinator takes in all: the heap, and what the JVM needs beside it.
MEMORY_EACH = 2_100_000_000
BOOT_TIMEOUT = 300

# Only these are loaded: each plugin costs seconds at the start.
PLUGINS = (
    "blackhole",
    "http-event-listener",
    "jmx",
    "memory",
    "mysql-event-listener",
    "password-authenticators",
    "resource-group-managers",
    "spooling-filesystem",
    "tpch",
)
ALWAYS = ("blackhole", "jmx", "memory", "tpch")

JVM = (
    "-server",
    f"-Xmx{HEAP}",
    # A test needs a coordinator soon rather than one that is fast after an hour.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=32M",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:ReservedCodeCacheSize=256M",
    "-XX:PerMethodRecompilationCutoff=10000",
    "-XX:PerBytecodeRecompilationCutoff=10000",
    "-Djdk.attach.allowAttachSelf=true",
    "-Djdk.nio.maxCachedBufferSize=2000000",
    "-Dfile.encoding=UTF-8",
    "--add-modules=jdk.incubator.vector",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)


@dataclass
class Coordinator:
    """How one coordinator is to be."""

    name: str
    port: int
    folder: Path
    process_forwarded: bool = True
    plugins: tuple = ALWAYS
    properties: dict = field(default_factory=dict)
    resource_groups: str = ""
    # Further files of `etc`: {"spooling-manager.properties": {key: value}}.
    files: dict = field(default_factory=dict)

    @property
    def url(self):
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self):
        """Where it writes."""
        return self.folder / "server.log"


def home():
    """The unpacked Trino; downloads and unpacks it if needed."""
    unpacked = cache() / f"trino-server-{VERSION}"
    done = unpacked / ".unpacked"
    if done.exists():
        return unpacked
    archive = fetch(TRINO_SERVER)
    with locked("trino-unpack"):
        if done.exists():
            return unpacked
        require_disk(cache(), UNPACKED_SIZE)
        progress(f"unpacking {archive.name} ({gigabytes(UNPACKED_SIZE)})")
        unpack(archive, unpacked)
        done.touch()
    return unpacked


def unpack(archive, unpacked):
    """Unpacks beside the place where it will lie, so that half a Trino is never taken for one."""
    beside = cache() / "trino-unpacking"
    shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(unpacked, ignore_errors=True)
    beside.mkdir()
    if shutil.which("tar"):
        subprocess.run(["tar", "-xzf", archive, "-C", beside], check=True, timeout=900)
    else:
        with tarfile.open(archive) as content:
            content.extractall(beside)
    (beside / f"trino-server-{VERSION}").rename(unpacked)
    beside.rmdir()


def prepare(coordinator):
    """Writes a coordinator's files and returns the command that runs it in the foreground."""
    trino = home()
    etc = coordinator.folder / "etc"
    shutil.rmtree(coordinator.folder, ignore_errors=True)
    (etc / "catalog").mkdir(parents=True)
    link_plugins(trino, coordinator)
    for name in set(coordinator.plugins) & set(ALWAYS):
        (etc / "catalog" / f"{name}.properties").write_text(f"connector.name={name}\n")
    write_properties(etc / "node.properties", {
        "node.environment": "warren",
        "node.id": coordinator.name,
        "node.data-dir": coordinator.folder / "data",
        "plugin.dir": coordinator.folder / "plugin",
    })
    write_properties(etc / "config.properties", configuration(coordinator))
    if coordinator.resource_groups:
        write_properties(etc / "resource-groups.properties", {
            "resource-groups.configuration-manager": "file",
            "resource-groups.config-file": Path(coordinator.resource_groups).absolute(),
        })
    for name, settings in coordinator.files.items():
        write_properties(etc / name, settings)
    return command(trino, etc)


def link_plugins(trino, coordinator):
    """A folder with links to the plugins that this coordinator loads."""
    folder = coordinator.folder / "plugin"
    folder.mkdir()
    wanted = list(coordinator.plugins)
    if coordinator.resource_groups:
        wanted.append("resource-group-managers")
    for name in dict.fromkeys(wanted):
        if name not in PLUGINS:
            raise Trouble(f"no plugin `{name}`: known are {', '.join(PLUGINS)}")
        (folder / name).symlink_to(trino / "plugin" / name)


def configuration(coordinator):
    """`config.properties`; what the caller says wins."""
    return {
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": coordinator.port,
        "http-server.process-forwarded": str(coordinator.process_forwarded).lower(),
        "discovery.uri": coordinator.url,
        "memory.heap-headroom-per-node": "200MB",
        **coordinator.properties,
    }


def write_properties(file, settings):
    """Writes a Java properties file."""
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))


def command(trino, etc):
    """The JVM itself and not Trino's launcher: its id is then the id of what must be stopped."""
    return [
        java.find() / "bin" / "java",
        "-cp",
        trino / "lib" / "*",
        *JVM,
        f"-Dnode.properties={etc / 'node.properties'}",
        *[f"-D{key}={value}" for key, value in read_properties(etc / "node.properties").items()],
        f"-Dconfig={etc / 'config.properties'}",
        "io.trino.server.TrinoServer",
    ]


def read_properties(file):
    """Reads what [`write_properties`] wrote."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def start(children, coordinator):
    """Starts a coordinator among `children`."""
    argv = prepare(coordinator)
    return children.start(f"coordinator {coordinator.name}", argv, coordinator.log, cwd=coordinator.folder)


def state(url):
    """`starting`, `started`, or None while nothing answers."""
    try:
        with urllib.request.urlopen(f"{url}/v1/info", timeout=2) as answer:
            return "starting" if json.load(answer)["starting"] else "started"
    except (OSError, ValueError, KeyError):
        return None


def wait_until_started(child, url):
    """Waits until `/v1/info` says that a coordinator has started."""
    end = time.monotonic() + BOOT_TIMEOUT
    while state(url) != "started":
        child.require_alive()
        if time.monotonic() > end:
            raise Trouble(f"{child.name} did not start within {BOOT_TIMEOUT} s (see {child.log})")
        time.sleep(0.5)


def run_statement(url, statement, user="warren"):
    """Runs a statement and returns its rows; for set-up and for checks, not for load."""
    request = urllib.request.Request(
        f"{url}/v1/statement", statement.encode(), {"X-Trino-User": user}
    )
    rows = []
    while request:
        with urllib.request.urlopen(request, timeout=60) as answer:
            page = json.load(answer)
        if "error" in page:
            raise Trouble(f"`{statement}` failed at {url}: {page['error']['message']}")
        rows += page.get("data", [])
        request = page.get("nextUri")
    return rows
