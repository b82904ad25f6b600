"""What the access log and a rate limit cost: /health with them beside /health without, all on one core.

The log is a file in nginx's format of the set-up that Ringway replaces, emptied after each run. The limit counts by
client address and admits everything.
"""

from __future__ import annotations

import os
from pathlib import Path

from beside import SERVER_CORE, Group, Row, alone, pin, wrk
from support.gateway import Gateway

LIMIT = 1.05
RINGWAY = """
[log]
access = "{log}"
[server]
shards = 1
keepalive_requests = 0
[rate_limit.all]
rate = "1000000000/s"
burst = 1000000
delay = false
[[route]]
path = "=/health"
builtin = "health"
{more}
"""


def prepare(folder: Path) -> Group:
    log = folder / "access.log"
    limited = 'rate_limit = "all"'
    kinds = {"neither": ("off", ""), "log": (log, ""), "limit": ("off", limited), "both": (log, limited)}
    gateways, sides = [], {}

    def side(gateway: Gateway):
        def measure(seconds: int) -> dict:
            found = wrk(f"{gateway.url}/health", [gateway.pid], seconds)
            if log.exists():
                os.truncate(log, 0)
            return found

        return measure

    for name, (target, more) in kinds.items():
        gateways.append(Gateway(folder, RINGWAY.format(log=target, more=more), limits=pin(SERVER_CORE)))
        sides[name] = side(gateways[-1])
    rows = [
        Row("access log on, off", "log", "neither", LIMIT),
        Row("rate limit on, off", "limit", "neither", LIMIT),
        Row("both on, off", "both", "neither", LIMIT),
    ]

    def close():
        for gateway in gateways:
            gateway.stop()

    return Group("small answer", sides, rows, close)


if __name__ == "__main__":
    alone(prepare, __doc__)
