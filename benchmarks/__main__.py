"""`python -m benchmarks [--quick]` prints the figures of docs/performance.md, each module in a process of its own."""

import subprocess
import sys

for name in ("journal", "fanout", "frames", "storage", "view"):
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)
