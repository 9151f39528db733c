#!/usr/bin/python3
"""Stands in for systemctl where no systemd runs: starts units of ours, as far as they go here.

Knows User, Environment, LoadCredential, RuntimeDirectory and ExecStart; one process a unit.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

UNITS, RUN = Path("/etc/systemd/system"), Path("/run/stand-in")


def lines_of(unit: str, name: str) -> list[str]:
    text = (UNITS / unit).read_text("utf-8")
    return [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(f"{name}=")]


def stop(unit: str) -> None:
    note = RUN / unit
    if not note.exists():
        return
    pid = int(note.read_text())
    try:
        os.kill(pid, signal.SIGTERM)
        while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
            time.sleep(0.05)
    except (ProcessLookupError, FileNotFoundError):
        pass
    note.unlink()


def start(unit: str) -> None:
    user = pwd.getpwnam((lines_of(unit, "User") or ["nobody"])[0])
    credentials = RUN / "credentials" / unit
    credentials.mkdir(parents=True, exist_ok=True)
    for line in lines_of(unit, "LoadCredential"):
        name, _, source = line.partition(":")
        shutil.copy(source, credentials / name)
        shutil.chown(credentials / name, user.pw_uid)
    for name in lines_of(unit, "RuntimeDirectory"):
        folder = Path("/run") / name
        folder.mkdir(exist_ok=True)
        shutil.chown(folder, user.pw_uid)
    given = [line.replace("%d", str(credentials)) for line in lines_of(unit, "Environment")]
    command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    folder = (lines_of(unit, "WorkingDirectory") or ["/"])[0]
    with (RUN / f"{unit}.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "env", *given, *lines_of(unit, "ExecStart")[0].split()],
            cwd=folder if Path(folder).exists() else "/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (RUN / unit).write_text(str(process.pid))


def main() -> int:
    RUN.mkdir(exist_ok=True)
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if words[0] == "show":
        print("LoadState=loaded\nActiveState=active\nUnitFileState=enabled")
    elif words[0] == "is-enabled":
        print("enabled")
    elif words[0] == "restart":
        stop(words[1])
        start(words[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
