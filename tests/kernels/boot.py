"""An initramfs with Ringway in it, and qemu to boot it: software emulation, no disk, no network but loopback."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

from support.commands import command
from support.gateway import BINARY

HERE = Path(__file__).resolve().parent
FOLDERS = ("bin", "dev", "etc", "lib", "lib64", "proc", "sys", "tmp", "www")
# A line of the self-test: `ringway-test: ok NAME` or `ringway-test: FAILED NAME`.
LINE = re.compile(r"^ringway-test: (ok|FAILED|end) ?(.*)$", re.M)
# A boot and its checks take half a minute on idle cores; beside seven compilers it has been ten times that.
BOOT_SECONDS = 400


def libraries(program: Path) -> list[Path]:
    """The shared libraries of a program, the loader included, by ldd."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", said)]


class Initramfs:
    """A cpio archive in the `newc` format (Linux, Documentation/driver-api/early-userspace)."""

    def __init__(self):
        self.parts: list[bytes] = []
        self.names: set[str] = set()

    def add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)):
        if name in self.names:
            return
        self.names.add(name)
        path = name.encode() + b"\0"
        fields = [len(self.parts), mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        self.parts += [padded(head), padded(content)]

    def folder(self, name: str):
        self.add(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, content: bytes, mode: int = 0o755):
        self.add(name, stat.S_IFREG | mode, content)

    def program(self, path: Path, name: str):
        """A program at /bin/NAME and its libraries where its loader looks for them."""
        self.file(f"bin/{name}", path.read_bytes())
        for library in libraries(path):
            for parent in reversed(library.parents[:-1]):
                self.folder(str(parent).lstrip("/"))
            self.file(str(library).lstrip("/"), library.read_bytes())

    def write(self, path: Path):
        self.add("TRAILER!!!", 0)
        path.write_bytes(b"".join(self.parts))


def padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)


def stripped(folder: Path) -> Path:
    """The binary under test without its debug lines: emulated memory is small."""
    path = folder / "ringway"
    if shutil.which("strip") is None:
        return BINARY
    subprocess.run(["strip", "--strip-debug", "-o", path, BINARY], check=True)
    return path


def initramfs(folder: Path) -> Path:
    """busybox, curl, Ringway, and the self-test that the kernel starts as /init."""
    made = Initramfs()
    for name in FOLDERS:
        made.folder(name)
    made.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    made.add("dev/null", stat.S_IFCHR | 0o666, device=(1, 3))
    made.program(stripped(folder), "ringway")
    made.program(Path(command("curl")), "curl")
    made.file("bin/busybox", Path(command("busybox")).read_bytes())
    made.file("init", (HERE / "init").read_bytes())
    made.file("selftest", (HERE / "selftest").read_bytes())
    made.file("mcp-server", (HERE / "mcp-server").read_bytes())
    made.file("etc/passwd", b"root::0:0::/:/bin/sh\nplain::1000:1000::/tmp:/bin/sh\n", 0o644)
    made.file("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n", 0o644)
    # Larger than a socket's buffer and than one read of a file, and of no pattern.
    made.file("www/large.bin", os.urandom(3_000_000), 0o644)
    path = folder / "initramfs"
    made.write(path)
    return path


class Boot:
    """One kernel's way from power on to power off, and what the self-test said."""

    def __init__(self, kernel: Path, initramfs: Path):
        line = [command("qemu-system-x86_64"), "-accel", "tcg", "-cpu", "max", "-smp", "2"]
        line += ["-m", "512", "-nic", "none", "-nographic", "-no-reboot", "-nodefaults"]
        line += ["-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initramfs)]
        line += ["-append", "console=ttyS0 quiet panic=-1 no_timer_check random.trust_cpu=on"]
        began = time.monotonic()
        try:
            run = subprocess.run(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=BOOT_SECONDS, check=False,
            )
            said = run.stdout
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"") + b"\nstopped: it took too long\n"
        self.seconds = time.monotonic() - began
        self.said = said.decode(errors="replace").replace("\r\n", "\n")
        found = LINE.findall(self.said)
        self.has_ended = ("end", "") in found
        self.passed = [name for word, name in found if word == "ok"]
        self.failed = [name for word, name in found if word == "FAILED"]
