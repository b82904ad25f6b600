"""The edge beside nginx, all cases: `make bench-edge`.

Every file with cases beside this one takes part. All are measured in turn in each of at least five rounds, and the
table has a row for each case of issue 4 with its target. Server on core 0, load on core 1. Takes about ten minutes.
"""

from __future__ import annotations

import datetime
import importlib
import os
import platform
from pathlib import Path

from beside import arguments, compare, markdown

CASES = ["https", "http2", "handshakes", "compression", "files", "extras", "beside_large"]


def main():
    given = arguments(__doc__)
    here = Path(__file__).parent
    names = [name for name in given.only or CASES if (here / f"{name}.py").exists()]
    prepares = [importlib.import_module(name).prepare for name in names]
    tables = compare(prepares, given.rounds, given.seconds, given.minutes)
    load = os.getloadavg()[2]
    text = (
        f"{markdown(tables)}\n\n{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, Linux"
        f" {platform.release()}, load of the last quarter of an hour {load:.1f}; {given.rounds} rounds of"
        f" {given.seconds} s each.\n"
    )
    print(text)
    out = given.out or here.parent / "results" / "edge.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text(text)


if __name__ == "__main__":
    main()
