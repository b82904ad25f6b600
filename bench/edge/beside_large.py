"""How long a small request waits while a 50 MB body is compressed on the same shard (milliseconds).

One client takes the large file with each encoding, again and again; another one asks for /health over one connection.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from pathlib import Path

from beside import LOAD_CORE, SERVER_CORE, Group, Row, alone, pin
from compression import tools
from support.commands import command
from support.gateway import Gateway

BODY_BYTES = 50_000_000
MS_MAX = 2.0
RINGWAY = """
[log]
access = "off"
[server]
shards = 1
keepalive_requests = 0
[[route]]
path = "/d/"
files = "{tree}"
"""
# For wrk: the wait below which 99 of 100 stay.
SCRIPT = """
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"p99_us":%d,"failed":%d}\\n', latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def p99_ms(gateway: Gateway, seconds: int) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        line = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", "-c1", f"-d{seconds}s", "-s", script.name]
        run = subprocess.run([*line, f"{gateway.url}/health"], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["failed"] == 0, found
    return found["p99_us"] / 1000


def alone_ms(gateway: Gateway, seconds: int) -> dict:
    """The same without the body: what of the wait is the machine's."""
    return {"ms": p99_ms(gateway, seconds)}


def beside(gateway: Gateway, coding: str, seconds: int) -> dict:
    over = threading.Event()
    before = gateway.metric("ringway_compression_input_bytes_total", encoding=coding)
    line = ["taskset", "-c", str(LOAD_CORE), command("curl"), "-s", "-o", "/dev/null", "-H", f"Accept-Encoding: {coding}"]

    def take():
        while not over.is_set():
            with subprocess.Popen([*line, f"{gateway.url}/d/large.json"]) as curl:
                while curl.poll() is None and not over.wait(0.02):
                    pass
                curl.terminate()

    taker = threading.Thread(target=take)
    taker.start()
    try:
        found = p99_ms(gateway, seconds)
    finally:
        over.set()
        taker.join()
    after = gateway.metric("ringway_compression_input_bytes_total", encoding=coding)
    assert after - before > 2_000_000, "nothing was compressed meanwhile"
    return {"ms": found}


def prepare(folder: Path) -> Group:
    tree = folder / "tree"
    tree.mkdir()
    text = tools(500_000)
    (tree / "large.json").write_bytes(text * (BODY_BYTES // len(text)))
    gateway = Gateway(folder, RINGWAY.format(tree=tree), limits=pin(SERVER_CORE))
    sides = {coding: (lambda seconds, coding=coding: beside(gateway, coding, seconds)) for coding in ("br", "gzip", "zstd")}
    sides["alone"] = lambda seconds: alone_ms(gateway, seconds)
    codings = [coding for coding in sides if coding != "alone"]
    rows = [Row("alone, p99", "alone", None, MS_MAX, "ms", unit="ms")]
    rows += [Row(f"beside 50 MB as {coding}, p99", coding, None, MS_MAX, "ms", unit="ms") for coding in codings]
    return Group("small answer", sides, rows, gateway.stop)


if __name__ == "__main__":
    alone(prepare, __doc__)
