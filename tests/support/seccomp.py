"""A seccomp filter for a child process, as a container's engine would install it: made from a
profile in the engines' JSON, for x86-64 and aarch64."""

from __future__ import annotations

import ctypes
import platform
import re
import struct
from pathlib import Path

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LOAD, EQUAL, RETURN, MASK = 0x20, 0x15, 0x06, 0x54
LESS_IS_NOT = 0x35  # jumps if greater or equal
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM = 1


def numbers() -> dict[str, int]:
    """System calls by name, from the kernel's header (it comes with gcc)."""
    machine = platform.machine()
    if machine == "x86_64":
        header = next(Path("/usr/include").glob("**/asm/unistd_64.h"))
    else:
        header = Path("/usr/include/asm-generic/unistd.h")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    return {name: int(number) for name, number in found}


def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value & 0xFFFFFFFF)


def argument(index: int) -> bytes:
    """Loads the low half of an argument; no profile here needs the high one."""
    return step(LOAD, 16 + 8 * index)


def condition(test: dict, skip: int) -> bytes:
    """Falls through if the test holds, else jumps over `skip` further steps."""
    value = test["value"]
    load = argument(test["index"])
    match test["op"]:
        case "SCMP_CMP_EQ":
            return load + step(EQUAL, value, 0, skip)
        case "SCMP_CMP_LT":
            return load + step(LESS_IS_NOT, value, skip, 0)
        case "SCMP_CMP_MASKED_EQ":
            return load + step(MASK, value) + step(EQUAL, test.get("valueTwo", 0), 0, skip)
    raise ValueError(test)


def program(profile: dict) -> bytes:
    """The profile as a filter. Rules are tried in their order; the first that fits decides."""
    known = numbers()
    deny = ERRNO | profile.get("defaultErrnoRet", EPERM)
    default = ALLOW if profile["defaultAction"] == "SCMP_ACT_ALLOW" else deny
    steps = step(LOAD, 4) + step(EQUAL, AUDIT_ARCH[platform.machine()], 1, 0)
    steps += step(RETURN, ERRNO | EPERM)
    for rule in profile["syscalls"]:
        allows = rule["action"] == "SCMP_ACT_ALLOW"
        action = ALLOW if allows else ERRNO | rule.get("errnoRet", EPERM)
        for name in rule["names"]:
            if name not in known:
                continue
            body = step(RETURN, action)
            for test in reversed(rule.get("args", [])):
                body = condition(test, len(body) // 8) + body
            steps += step(LOAD, 0) + step(EQUAL, known[name], 0, len(body) // 8) + body
    return steps + step(RETURN, default)


def install(profile: dict):
    """For `preexec_fn`: the child runs under the profile from then on."""
    code = program(profile)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))

    def apply():
        no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
        if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(
            set_seccomp, filter_mode, head, 0, 0
        ):
            raise OSError(ctypes.get_errno(), "prctl")

    # Kept alive by the closure until the child has gone through it.
    apply.buffer = buffer
    return apply
