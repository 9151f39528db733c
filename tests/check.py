"""Everything that must be green: `python -m tests.check [--fix] [CHECK...]`.

Runs every check, or those that are named, even when one fails; then says which failed. `--fix`
formats, and writes the generated documents anew.
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
    # Most tests wait more than they compute: more at once than a small machine has cores.
    "tests": ["-m", "pytest", "-n", "4", "--dist", "worksteal"],
}
FIXES = [["-m", "ruff", "format"], ["-m", "ruff", "check", "--fix"]]


def main() -> int:
    """0 when all checks passed."""
    if find_spec("pytest") is None:
        print("the tools for tests are missing: make check installs them", file=sys.stderr)
        return 2
    fix, wanted = "--fix" in sys.argv[1:], [each for each in sys.argv[1:] if each != "--fix"]
    if unknown := set(wanted) - CHECKS.keys():
        print(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
        return 2
    if fix:
        for command in FIXES:
            python(command)
        for path in documents.write_all():
            print(f"wrote {path}")
    took: dict[str, tuple[bool, float]] = {}
    for name in wanted or CHECKS:
        print(f"── {name}", flush=True)
        began = time.monotonic()
        took[name] = (python(CHECKS[name]) == 0, time.monotonic() - began)
    print("──")
    for name, (passed, seconds) in took.items():
        print(f"{'ok    ' if passed else 'FAILED'} {name:8} {seconds:6.1f} s")
    return 0 if all(passed for passed, _ in took.values()) else 1


def python(command: list[str]) -> int:
    """Run a command of this interpreter at the root; its exit code."""
    return subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
