"""``python -m bench``: runs the benchmarks that are named, or all, and prints one table."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import platform
import sys
import time

from bench.table import Row, printed

#: module of this package -> what it measures
BENCHES = {
    "pages": "page bytes -> what changed",
    "cycle": "a whole poll against the sandbox",
    "memory": "Redis and worker memory of a connection",
    "commits": "a commit of 100 changes",
    "delivery": "webhooks through dispatcher and lanes",
    "latency": "commit -> first attempt",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds: under 40 s")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)} (default: all)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - BENCHES.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    rows: list[Row] = []
    began = time.monotonic()
    for name in arguments.names or BENCHES:
        print(f"{name}: {BENCHES[name]} ...", file=sys.stderr, flush=True)
        module = importlib.import_module(f"bench.{name}")
        rows += asyncio.run(module.run(quick=arguments.quick))
    print(printed(rows))
    missed = sum(row.is_met is False for row in rows)
    print(
        f"\n{len(rows)} measurements, {missed} below their goal; {time.monotonic() - began:.0f} s, "
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
