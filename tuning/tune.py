#!/usr/bin/env python3
"""Shows, applies and undoes the kernel settings of 99-ringway.conf.

    tune.py show             what differs (exit code 1 if anything does)
    tune.py apply            set it now and at every boot; a second run changes nothing
    tune.py undo             write the old values back and remove the files

--root DIR puts the files below DIR, --only PREFIX takes the keys that begin with it. Both are for
tests and for containers, where only net.* belongs to you.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
SETTINGS = HERE / "99-ringway.conf"
LIMITS = HERE / "limits.conf"


def wanted(only: str) -> dict[str, str]:
    """Keys and values of the settings file, in its order."""
    keys = {}
    for line in SETTINGS.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            key, value = (part.strip() for part in line.split("="))
            if key.startswith(only):
                keys[key] = " ".join(value.split())
    return keys


def file_of(key: str) -> Path:
    return Path("/proc/sys") / key.replace(".", "/")


def current(key: str) -> str | None:
    """The kernel's value; None where this kernel or container does not have the key."""
    try:
        return " ".join(file_of(key).read_text().split())
    except OSError:
        return None


def differences(only: str) -> list[tuple[str, str, str]]:
    found = []
    for key, value in wanted(only).items():
        now = current(key)
        if now is None:
            print(f"  {key}: not in this kernel or container, left out")
        elif now != value:
            found.append((key, now, value))
    return found


def show(options) -> int:
    found = differences(options.only)
    for key, now, value in found:
        print(f"  {key}: {now} -> {value}")
    print(f"{len(found)} of {len(wanted(options.only))} settings differ")
    return 1 if found else 0


def write(key: str, value: str) -> bool:
    try:
        file_of(key).write_text(value)
    except OSError as error:
        print(f"  {key}: {error.strerror}", file=sys.stderr)
        return False
    return True


def apply(options) -> int:
    saved = options.saved
    old = json.loads(saved.read_text()) if saved.exists() else {}
    failed = 0
    for key, now, value in differences(options.only):
        if write(key, value):
            # The first value seen is the one to go back to.
            old.setdefault(key, now)
            print(f"  {key}: {now} -> {value}")
        else:
            failed += 1
    for source, target in options.files:
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text()
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
            print(f"  {target}: written")
    saved.parent.mkdir(parents=True, exist_ok=True)
    saved.write_text(json.dumps(old, indent=2) + "\n")
    print("nothing else to do" if not failed else f"{failed} settings could not be set")
    return 1 if failed else 0


def undo(options) -> int:
    saved, failed = options.saved, 0
    old = json.loads(saved.read_text()) if saved.exists() else {}
    for key, value in old.items():
        if key.startswith(options.only) and current(key) != value:
            if write(key, value):
                print(f"  {key}: back to {value}")
            else:
                failed += 1
    for _, target in options.files:
        if target.exists():
            target.unlink()
            print(f"  {target}: removed")
    if saved.exists() and not failed:
        saved.unlink()
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["show", "apply", "undo"])
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    options.saved = options.root / "var/lib/ringway/tune.json"
    options.files = [
        (SETTINGS, options.root / "etc/sysctl.d/99-ringway.conf"),
        (LIMITS, options.root / "etc/security/limits.d/99-ringway.conf"),
    ]
    if options.what != "show" and os.geteuid() != 0:
        print("run it as root: sudo make tune", file=sys.stderr)
        return 2
    return {"show": show, "apply": apply, "undo": undo}[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
