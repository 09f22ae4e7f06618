"""No source file over 400 lines: a file that grows past it has two jobs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LIMIT = 400


def main() -> int:
    tracked = subprocess.run(["git", "ls-files", "*.py", "*.lua"], capture_output=True, text=True, check=True)
    sizes = {
        name: len(Path(name).read_text().splitlines())
        for name in tracked.stdout.split()
        if Path(name).exists()
    }
    over = {name: size for name, size in sizes.items() if size > LIMIT}
    for name, size in over.items():
        print(f"{name}: {size} lines, more than {LIMIT}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
