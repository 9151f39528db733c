"""A throw-away copy of this machine: the same files, and whatever is written is gone at the end.

An overlay in memory over the root, in a mount and process namespace of its own. Needs root.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 900

# $1: the script. What it is given to read is mounted under /given.
ENTER = """
set -eu
top=/mnt
mount -t tmpfs none "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
mount -t proc proc "$top/root/proc"
mount --rbind /dev "$top/root/dev"
mount -t tmpfs none "$top/root/tmp"
mkdir -p "$top/root/given"
%(mounts)s
exec chroot "$top/root" /bin/bash -euo pipefail -c "$1"
"""


@cache
def lacking() -> str:
    """Why there can be no such copy here; empty when there can."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return "a copy of this machine needs root and unshare (util-linux)"
    tried = run_in_copy("true", limit_s=30)
    return "" if tried.returncode == 0 else f"no overlay here: {tried.stderr.strip()}"


def run_in_copy(
    script: str, mounts: Mapping[str, Path] | None = None, *, limit_s: float = LIMIT_S
) -> "subprocess.CompletedProcess[str]":
    """Run a bash script in a fresh copy; `mounts` are folders to read there, by name in /given."""
    lines = [
        f'mkdir "$top/root/given/{name}"; mount --bind -o ro "{path}" "$top/root/given/{name}"'
        for name, path in (mounts or {}).items()
    ]
    enter = ENTER % {"mounts": "\n".join(lines)}
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", enter, "-", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_s,
    )
