"""Everything that must be green: `python -m tests.check [--fix]`.

Runs every check even when one fails, then says which failed. `--fix` formats, and writes the
generated documents anew.
"""

import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from tests.support import documents

ROOT = Path(__file__).parent.parent

CHECKS = {
    "format": ["-m", "ruff", "format", "--check"],
    "lint": ["-m", "ruff", "check"],
    "types": ["-m", "mypy"],
    "imports": ["-c", "from importlinter.cli import lint_imports_command as run; run()"],
    "tests": ["-m", "pytest"],
}
FIXES = [["-m", "ruff", "format"], ["-m", "ruff", "check", "--fix"]]


def main() -> int:
    """0 when all checks passed."""
    if find_spec("pytest") is None:
        print("the tools for tests are missing: make check installs them", file=sys.stderr)
        return 2
    if "--fix" in sys.argv[1:]:
        for fix in FIXES:
            python(fix)
        for path in documents.write_all():
            print(f"wrote {path}")
    took: dict[str, tuple[bool, float]] = {}
    for name, command in CHECKS.items():
        print(f"── {name}", flush=True)
        began = time.monotonic()
        took[name] = (python(command) == 0, time.monotonic() - began)
    print("──")
    for name, (passed, seconds) in took.items():
        print(f"{'ok    ' if passed else 'FAILED'} {name:8} {seconds:6.1f} s")
    return 0 if all(passed for passed, _ in took.values()) else 1


def python(command: list[str]) -> int:
    """Run a command of this interpreter at the root; its exit code."""
    return subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
