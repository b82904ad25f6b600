#!/usr/bin/env python3
"""Fetches Debian's kernels for `make test-kernels` into tests/.env/kernels: nothing is installed.

Reads which mirror this machine's apt already uses and asks it for other suites, by a source list, package lists and a
cache of its own. The machine's apt configuration is not changed, and root is not needed. Like install-debian-packages
it never fails: the test that misses a kernel does, and says why.
"""

from __future__ import annotations

import glob
import re
import shutil
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / ".env/kernels"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What `make test-kernels` boots: the kernel's series and the Debian suite that has it.
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}


def kernel(series: str) -> Path:
    """Where the kernel of that series lies once it is fetched."""
    return HOME / f"vmlinuz-{series}"


def mirror() -> str:
    """The mirror of Debian's main archive that apt is set up with."""
    paths = ["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*")]
    paths = [path for path in paths if path.endswith((".list", ".sources"))]
    for path in filter(lambda path: Path(path).is_file(), paths):
        for line in Path(path).read_text(errors="replace").splitlines():
            found = re.search(r"https?://\S+/debian/?(?=\s|$)", line.partition("#")[0])
            if found:
                return found[0]
    raise LookupError("apt knows no mirror of Debian's main archive")


class Apt:
    """apt-get with lists, cache and sources of its own."""

    def __init__(self, folder: Path, sources: str):
        for part in ("lists/partial", "cache/archives/partial", "debs"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "sources.list").write_text(sources)
        self.folder = folder
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            # As root, apt would become a user who may not read this tree.
            "APT::Sandbox::User": "root",
        }
        self.options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        # Hooks of the machine's own configuration have no business with these lists.
        for hook in ("APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"):
            self.options += ["-o", f"#clear={hook}"]

    def run(self, program: str, *arguments: str) -> str:
        run = subprocess.run(
            [program, *self.options, *arguments],
            cwd=self.folder / "debs", capture_output=True, text=True, timeout=300, check=False,
        )
        if run.returncode != 0:
            raise OSError(f"{program} {' '.join(arguments)}: {run.stderr.strip()[-500:]}")
        return run.stdout


def version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def fetch(apt: Apt, series: str):
    """The newest kernel of the series for virtual machines, out of its package."""
    pattern = rf"^linux-image-{re.escape(series)}\.[^ ]*-cloud-amd64-unsigned$"
    names = apt.run("apt-cache", "search", "--names-only", pattern).splitlines()
    names = sorted((line.split()[0] for line in names), key=version)
    if not names:
        raise LookupError(f"suite {SUITES[series]} of the mirror has no kernel {series}")
    apt.run("apt-get", "download", names[-1])
    package = next(apt.folder.glob(f"debs/{names[-1]}_*.deb"))
    content = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
    unpack = ["tar", "-xO", "--wildcards", "./boot/vmlinuz-*"]
    image = subprocess.run(unpack, stdin=content.stdout, capture_output=True, check=True).stdout
    if content.wait() != 0 or not image:
        raise OSError(f"{package.name} has no kernel")
    unfinished = kernel(series).with_suffix(".part")
    unfinished.write_bytes(image)
    unfinished.rename(kernel(series))
    print(f"kernel {series}: {names[-1]}")


def main():
    missing = [series for series in SUITES if not kernel(series).exists()]
    if not missing:
        return
    folder = HOME / "apt"
    try:
        line = "deb [signed-by={}] {} {} main\n"
        lines = [line.format(KEYRING, mirror(), SUITES[series]) for series in missing]
        apt = Apt(folder, "".join(lines))
        apt.run("apt-get", "update")
        for series in missing:
            fetch(apt, series)
    except (OSError, LookupError, subprocess.SubprocessError) as problem:
        print(f"make deps: no kernels for test_kernels.py: {problem}", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
