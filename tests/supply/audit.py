"""Known faults of what the app runs on: `make audit`. Asks PyPI's database of advisories about
every line of requirements.lock, and ends with 1 where there is one; says so where the database
can't be reached, and ends with 0, since nothing was found out."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
AUDIT = ["-m", "pip_audit", "-r", "requirements.lock", "--disable-pip", "--no-deps"]
QUIET = ["--format", "json", "--progress-spinner", "off", "--timeout", "15"]
LONG = 300
"""Seconds after which a database that does not answer is not reached."""


def read(said: str) -> tuple[list[str], int]:
    """The faults that an audit found, a line each, and how many packages were looked up."""
    packages = json.loads(said)["dependencies"]
    asked = [one for one in packages if "vulns" in one]
    return [
        f"{one['name']} {one['version']}: {fault['id']}, mended in "
        f"{', '.join(fault['fix_versions']) or 'no version yet'}"
        for one in asked
        for fault in one["vulns"]
    ], len(asked)


def main() -> int:
    """Audit, and say in a line what came of it."""
    try:
        done = subprocess.run(
            [sys.executable, *AUDIT, *QUIET],
            cwd=ROOT, capture_output=True, text=True, timeout=LONG, check=False,
        )  # fmt: skip
        faults, asked = read(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):  # no answer, or no JSON
        faults, asked = [], 0
    if not asked:
        print("audit: skipped, the database of known faults can't be reached from here")
        return 0
    print("\n".join(faults) or f"audit: no known fault in {asked} packages")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
