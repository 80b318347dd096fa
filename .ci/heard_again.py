"""Hears the few tests once more, alone, that failed in a whole run.

The whole run has two tests at a time, with servers, kernels and browsers of their own, on whatever machine it is; one
that fails there and passes alone was late, and one that fails alone is broken. More than a few are never lateness.
Whatever passes only alone is printed by name: it is to be mended, not to be lived with.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

MOST = 3
FAILED = Path(".pytest_cache/v/cache/lastfailed")


def main() -> int:
    failed = sorted(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if not 1 <= len(failed) <= MOST:
        print(f"{len(failed)} tests failed: none of them is heard again.")
        return 1
    print("These failed in the whole run and are heard once more, alone:", *failed, sep="\n  ")
    # What was chosen of the whole run is no choice of these.
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    code = subprocess.run([sys.executable, "-m", "pytest", *failed], env=env, check=False).returncode
    if code == 0:
        print("These pass alone and failed beside others, so they are to be mended:", *failed, sep="\n  ")
    return code


if __name__ == "__main__":
    sys.exit(main())
