"""Real kernels, from the oldest that is supported, boot under qemu and run the self-test of kernels/selftest."""

from __future__ import annotations

import platform
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from kernels.boot import Boot, initramfs
from kernels.fetch import SUITES, kernel

pytestmark = [
    pytest.mark.needs("qemu-system-x86_64", "busybox", "curl"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernels are for x86-64"),
]
# The best driver of each, as the program's first lines name it.
BEST = {"5.10": "io_uring,", "6.1": "DEFER_TASKRUN", "6.12": "DEFER_TASKRUN"}
# Drivers that a kernel of that series does not have.
REFUSED = {"5.10": {"defer", "coop"}, "6.1": set(), "6.12": set()}
AT_ONCE = 2


@pytest.fixture(scope="module")
def boots(tmp_path_factory):
    """All kernels, two at a time: emulation takes a core each."""
    missing = [series for series in SUITES if not kernel(series).exists()]
    assert not missing, f"make deps did not fetch the kernels {missing}"
    image = initramfs(tmp_path_factory.mktemp("kernels"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = {series: pool.submit(Boot, kernel(series), image) for series in SUITES}
        return {series: future.result() for series, future in started.items()}


@pytest.mark.parametrize("series", SUITES)
def test_it_does_everything_on(series, boots):
    boot = boots[series]
    print(f"Linux {series}: {len(boot.passed)} checks passed in {boot.seconds:.0f} s")
    assert boot.has_ended, boot.said
    assert not boot.failed, boot.said
    # Had the script ended early, nothing would have failed.
    wanted = {"h1", "tls-h2", "mcp-http", "mcp-stdio", "proxy", "reload", "drain-exit", "memlock"}
    assert wanted <= set(boot.passed)
    runtime = re.search(r"^ *runtime +(.*)$", boot.said, re.M)[1]
    assert BEST[series] in runtime and f"Linux {series}." in runtime
    refused = set(re.findall(r"^driver (\w+): refused", boot.said, re.M))
    assert refused == REFUSED[series], boot.said


@pytest.mark.parametrize("series", SUITES)
def test_64_kib_of_locked_memory_are_enough_or_what_to_raise_is_said(series, boots):
    """The default on old systems. Rings were charged to it up to 5.11; Debian's 5.10 has the io_uring of 5.15 (as all
    5.10.162 and later), which does not."""
    said = re.search(r"^memlock: (.*)$", boots[series].said, re.M)[1]
    tells = "epoll" in said and "ulimit -l" in said and "LimitMEMLOCK" in said
    assert BEST[series] in said or tells, said
