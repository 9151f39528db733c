"""A server and a machine at home, each behind the same router, with a tunnel between: namespaces.

The router stops forwarding to cut them off: silently, as when a line is dead. Needs iproute2 and
root. The tunnel is WireGuard in user space where that is installed, else the plain network.
"""

import http.client
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from ctypes import CDLL, get_errno
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.support.waiting import until_sync

T = TypeVar("T")

NEW_NETWORK = 0x40000000  # CLONE_NEWNET
OUTER = {"vps": "192.0.2.10", "mac": "198.51.100.10"}
GATES = {"vps": "192.0.2.1", "mac": "198.51.100.1"}
INNER = {"vps": "10.88.0.1", "mac": "10.88.0.2"}
LISTEN = 51_820
MTU = 1_380


def lacking() -> str:
    """Why there can be no such network here; empty when there can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["ip", "netns", "add", "rn-try"], capture_output=True, check=False)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.decode().strip()}"
    subprocess.run(["ip", "netns", "delete", "rn-try"], check=True)
    return ""


def has_wireguard() -> bool:
    """Whether WireGuard in user space can run here."""
    programs = all(map(shutil.which, ("wireguard-go", "wg")))
    return programs and Path("/dev/net/tun").exists()


class Network:
    """Namespaces `<tag>-vps`, `<tag>-mac` and `<tag>-net` between them."""

    def __init__(self, tag: str, *, wireguard: bool) -> None:
        self.tag = tag
        self.wireguard = wireguard
        self._daemons: list[subprocess.Popen[bytes]] = []

    def address(self, side: str) -> str:
        """Where the other side reaches this one through the tunnel."""
        return INNER[side] if self.wireguard else OUTER[side]

    def within(self, side: str, *command: str) -> list[str]:
        """The command line that runs a command there."""
        return ["ip", "netns", "exec", f"{self.tag}-{side}", *command]

    def run(self, side: str, *command: str, given: bytes = b"") -> str:
        """Run it there; what it prints."""
        ran = subprocess.run(
            self.within(side, *command), input=given, capture_output=True, check=False
        )
        assert ran.returncode == 0, f"{command}: {ran.stderr.decode()}"
        return ran.stdout.decode().strip()

    def cut(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self.run("net", "sysctl", "-q", "-w", "net.ipv4.ip_forward=0")

    def heal(self) -> None:
        """Everything comes through again."""
        self.run("net", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")

    def handshake_at(self, side: str) -> int:
        """When this side last shook hands, in seconds of the epoch; 0: never."""
        return int(self.run(side, "wg", "show", self._device(side), "latest-handshakes").split()[1])

    # ------------------------------------------------------------------ building

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _build(self) -> None:
        for side in ("net", "vps", "mac"):
            _ip("netns", "add", f"{self.tag}-{side}")
            self.run(side, "ip", "link", "set", "lo", "up")
        for side in ("vps", "mac"):
            here, there = f"{self.tag}-{side}", f"{self.tag}-net"
            ends = ("wan", "netns", here, "type", "veth", "peer", "name", side, "netns", there)
            _ip("link", "add", *ends)
            self.run("net", "ip", "address", "add", f"{GATES[side]}/24", "dev", side)
            self.run("net", "ip", "link", "set", side, "up")
            self.run(side, "ip", "address", "add", f"{OUTER[side]}/24", "dev", "wan")
            self.run(side, "ip", "link", "set", "wan", "up")
            self.run(side, "ip", "route", "add", "default", "via", GATES[side])
        self.heal()
        if self.wireguard:
            self._tunnel()

    def _tunnel(self) -> None:
        """Both ends, as in ops/deploy: only the one at home knows where the other is."""
        keys = {side: _key_pair() for side in INNER}
        for side, other in (("vps", "mac"), ("mac", "vps")):
            device = self._device(side)
            self._daemons.append(
                subprocess.Popen(
                    self.within(side, "wireguard-go", "-f", device),
                    env={**os.environ, "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            until_sync(Path(f"/var/run/wireguard/{device}.sock").exists, what=f"{device} to be up")
            lines = [
                "[Interface]",
                f"PrivateKey = {keys[side][0]}",
                *([f"ListenPort = {LISTEN}"] if side == "vps" else []),
                "[Peer]",
                f"PublicKey = {keys[other][1]}",
                f"AllowedIPs = {INNER[other]}/32",
            ]
            if side == "mac":
                lines += [f"Endpoint = {OUTER['vps']}:{LISTEN}", "PersistentKeepalive = 25"]
            config = "\n".join(lines).encode()
            self.run(side, "wg", "setconf", device, "/dev/stdin", given=config)
            self.run(side, "ip", "address", "add", f"{INNER[side]}/24", "dev", device)
            self.run(side, "ip", "link", "set", device, "mtu", str(MTU), "up")

    def _device(self, side: str) -> str:
        return f"{self.tag}{side[0]}"  # its socket lies in a folder that namespaces share

    def _remove(self) -> None:
        for daemon in self._daemons:
            daemon.terminate()
            daemon.wait(10)
        for side in ("vps", "mac", "net"):
            name = f"{self.tag}-{side}"
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    # ------------------------------------------------------------------ looking

    def fetched(self, side: str, port: int, path: str) -> str:
        """What a server on this side's loopback answers. Raises OSError when none does."""

        def fetch() -> str:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            return connection.getresponse().read().decode()

        return self.inside(side, fetch)

    def inside(self, side: str, act: Callable[[], T]) -> T:
        """What `act` answers when it is called there, in a thread of its own."""
        answers: list[T] = []
        errors: list[BaseException] = []

        def enter_and_act() -> None:
            with Path(f"/run/netns/{self.tag}-{side}").open("rb") as namespace:
                if CDLL(None, use_errno=True).setns(namespace.fileno(), NEW_NETWORK):
                    errors.append(OSError(get_errno(), "setns"))
                    return
            try:
                answers.append(act())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=enter_and_act)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return answers[0]


def _key_pair() -> tuple[str, str]:
    """A private key and its public one."""
    private = subprocess.run(["wg", "genkey"], capture_output=True, check=True).stdout
    public = subprocess.run(["wg", "pubkey"], input=private, capture_output=True, check=True).stdout
    return private.decode().strip(), public.decode().strip()


def _ip(*arguments: str) -> Sequence[str]:
    ran = subprocess.run(["ip", *arguments], capture_output=True, check=False, text=True)
    assert ran.returncode == 0, f"ip {' '.join(arguments)}: {ran.stderr}"
    return ran.stdout.splitlines()
