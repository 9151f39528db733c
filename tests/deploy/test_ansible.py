"""The roles: lint, what a Mac would get, and real runs on a copy of this machine, twice each."""

import plistlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from ops.settings import load
from tests.deploy import overlay
from tests.deploy.conftest import tool

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ANSIBLE = ROOT / "ops" / "deploy" / "ansible"
ROLES = ANSIBLE / "roles"
PSK = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="  # 32 bytes, nobody's
KEYS = {"vps": "dnBzdnBzdnBzdnBzdnBzdnBzdnBzdnBzdnBzdnBzdnA=", "mac": PSK}

pytestmark = pytest.mark.deploy

# What launchd knows of the keys that are used here, by launchd.plist(5).
PLIST = {
    "Label": str,
    "UserName": str,
    "GroupName": str,
    "ProgramArguments": list,
    "EnvironmentVariables": dict,
    "WorkingDirectory": str,
    "RunAtLoad": bool,
    "KeepAlive": bool | dict,
    "AbandonProcessGroup": bool,
    "ThrottleInterval": int,
    "StartInterval": int,
    "ExitTimeOut": int,
    "ProcessType": str,
    "SoftResourceLimits": dict,
    "StandardOutPath": str,
    "StandardErrorPath": str,
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as somebody has it who filled it in."""
    copy = tmp_path_factory.mktemp("ansible") / "ansible"
    shutil.copytree(ANSIBLE, copy)
    shutil.copy(copy / "inventory.example.yml", copy / "inventory.yml")
    (copy / "wireguard").mkdir()
    for host, key in KEYS.items():
        (copy / "wireguard" / f"{host}.pub").write_text(f"{key}\n")
    text = (copy / "vault.example.yml").read_text("utf-8")
    url = "redis://worker:w0rd@10.88.0.1:6379/0"
    text = text.replace('key: ""', f'key: "{PSK}"').replace('url: ""', f'url: "{url}"')
    (copy / "group_vars" / "all" / "vault.yml").write_text(text)
    return copy


def ran(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_linters_find_nothing(tree: Path) -> None:
    ran([tool("ansible-lint"), "--offline", "--profile", "production"], tree)
    ran([tool("yamllint"), "-d", "relaxed", "--no-warnings", "."], tree)
    books = ["site.yml", "rollback.yml"]
    ran([tool("ansible-playbook"), "-i", "inventory.yml", "--syntax-check", *books], tree)


def test_every_default_is_described_and_every_description_has_a_default() -> None:
    for role in ROLES.iterdir():
        specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())
        options = specs["argument_specs"]["main"]["options"]
        defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
        given = {name for name, one in options.items() if not one.get("required")}
        assert given - {"wireguard_address"} <= defaults.keys(), role.name
        assert defaults.keys() <= options.keys(), role.name


@pytest.fixture(scope="module")
def mac(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as the roles would write them on a Mac."""
    target = tmp_path_factory.mktemp("mac")
    shutil.copytree(tree / "wireguard", target / "wireguard")
    book = str(HERE / "mac_files.yml")
    given = ["-e", f"target={target}", "-e", '{"roughneck_classes": ["ollama"]}']
    variables = [f"-e@{tree}/group_vars/all/{name}.yml" for name in ("vars", "vault")]
    ran([tool("ansible-playbook"), "-i", "inventory.yml", *given, *variables, book], tree)
    return target


def test_daemons_are_such_as_launchd_takes(mac: Path) -> None:
    plists = {path.stem: plistlib.loads(path.read_bytes()) for path in mac.glob("*.plist")}
    assert len(plists) == 7
    for name, plist in plists.items():
        assert plist["Label"] == name
        for key, value in plist.items():
            assert isinstance(value, PLIST[key]), f"{name}: {key}"
        program = plist["ProgramArguments"][0]
        assert program.startswith("/"), name
        assert not program.endswith(("/sh", "/bash")), name
        assert all(isinstance(one, str) for one in plist["ProgramArguments"]), name
        assert "~" not in str(plist.get("EnvironmentVariables")), name  # launchd expands nothing
    for name in ("dk.roughneck.worker", "dk.roughneck.ollama"):
        assert plists[name]["ProcessType"] == "Interactive"
        assert plists[name]["KeepAlive"] is True
        assert plists[name]["UserName"]
    assert plists["dk.roughneck.worker"]["ExitTimeOut"] == 90
    assert plists["dk.roughneck.wireguard"]["AbandonProcessGroup"] is True
    limit = plists["dk.roughneck.wired-limit"]["ProgramArguments"][1]
    assert limit.startswith("iogpu.wired_limit_mb=")


def test_settings_of_a_mac_are_settings(mac: Path) -> None:
    worker = load(mac / "roughneck.toml", {}).worker
    assert [str(name) for name in worker.classes] == ["ollama"]
    assert worker.metrics_host == "10.88.0.2"
    newsyslog = [
        line.split() for line in (mac / "newsyslog.conf").read_text().splitlines() if line[0] == "/"
    ]
    assert all(len(fields) == 7 for fields in newsyslog)
    logged = tomllib.loads((mac / "roughneck.toml").read_text())["log"]["file"]
    assert logged == newsyslog[0][0]


def test_the_scripts_are_sound(mac: Path) -> None:
    for name in ("roughneck-reresolve", "roughneck-trim-log"):
        ran(["sh", "-n", str(mac / name)], mac)
        if shutil.which("shellcheck"):
            ran(["shellcheck", str(mac / name)], mac)


def test_ollamas_log_is_cut_and_goes_on(mac: Path, tmp_path: Path) -> None:
    """As launchd has it: open for appending, whoever cuts it."""
    log = tmp_path / "ollama.log"
    with log.open("ab", buffering=0) as held:
        held.write(b"x" * (21 * 1_048_576))
        ran(["sh", str(mac / "roughneck-trim-log"), str(log)], tmp_path)
        assert log.stat().st_size == 0
        assert (tmp_path / "ollama.log.0").stat().st_size == 21 * 1_048_576
        held.write(b"on")
    assert log.read_bytes() == b"on"


BOOK = """
- hosts: vps
  connection: local
  roles:
    - role: wireguard
      wireguard_install: false
      wireguard_start: false
    - role: ollama
      ollama_start: false
    - role: roughneck
    - role: vps
      vps_start: false
"""

RUN = f"""
chmod 711 /root  # where this machine may keep its Python
mkdir /run/book /run/source
cp -r /given/tree/. /run/book/
cp -r /given/repo/requirements*.lock /run/source/
mkdir /run/source/dist; cp /given/dist/roughneck-* /run/source/dist/
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/given/dist/wheels
cd /run/book
cat > book.yml <<'END'
{BOOK}END
python=$(readlink -f "$(command -v python3.11 || command -v python3)")
play() {{
    HOME=/root ANSIBLE_ROLES_PATH=/given/tree/roles /given/tools/bin/python -m ansible playbook \
        -i inventory.yml -e ansible_python_interpreter="$python" -e roughneck_python="$python" \
        -e roughneck_source=/run/source -e vps_source=/run/source -e vps_release=r1 "$@"
}}
"""

LOOK = """
wg-quick strip /etc/wireguard/wg0.conf >/dev/null && echo wg-quick takes it
/opt/roughneck/current/venv/bin/roughneck --settings /etc/roughneck/roughneck.toml \
    settings --changed -o json
cd /etc/systemd/system
systemd-analyze verify roughneck-*.service roughneck-reresolve.timer && echo systemd takes them
stat -c '%a %n' /etc/wireguard/wg0.* /etc/roughneck/redis.url
cd /opt/roughneck-server/current/ops/deploy
cat docker/.env prometheus/targets/workers.yml prometheus/targets/links.yml
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, and an archive of the tree such as git makes."""
    folder = tmp_path_factory.mktemp("dist")
    ran([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    locks = [f"-r{ROOT}/requirements{which}.lock" for which in ("", "-pip")]
    fetch = [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:", *locks]
    ran([*fetch, "-d", str(folder / "wheels")], ROOT)  # once, for all releases
    files = ["pyproject.toml", "README.md", "LICENSE", "ops/deploy", "requirements.lock"]
    ran(["tar", "czf", str(folder / "roughneck-r1.tar.gz"), *files], ROOT)
    return folder


def test_a_second_run_changes_nothing(tree: Path, dist: Path) -> None:
    """All roles but what needs systemd and Docker; what they wrote is read by whom it is for."""
    if reason := overlay.lacking():
        pytest.skip(reason)
    alone = """
sed -e '/role: ollama/,$d' book.yml > alone.yml; mv wireguard/mac.pub /run/
play alone.yml >/dev/null; grep -c Peer /etc/wireguard/wg0.conf || true
mv /run/mac.pub wireguard/; echo ----
"""
    once = """play -e '{"roughneck_start": false}' -e roughneck_release=r1 book.yml; echo ----"""
    done = overlay.run_in_copy("\n".join([RUN, alone, once, once, LOOK]), _given(tree, dist))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    peers, first, second, checks = done.stdout.split("----\n")
    assert peers == "0\n"  # one that was never seen is left out
    assert re.search(r"changed=[1-9]\d*", first), first
    assert re.search(r"changed=0\s.*failed=0", second), second[-4000:]
    assert "wg-quick takes it" in checks
    assert "systemd takes them" in checks, said[-3000:]
    assert '"worker.metrics_host": "10.88.0.1"' in checks
    modes = "600 /etc/wireguard/wg0.conf\n600 /etc/wireguard/wg0.key\n640 /etc/roughneck/redis.url"
    assert modes in checks
    assert "ROUGHNECK_IMAGE=roughneck:r1" in checks
    assert "- worker:9464\n    - 10.88.0.2:9464" in checks
    assert "- 10.88.0.2:9465\n    - 10.88.0.1:9465" in checks
    for secret in (PSK, "w0rd"):
        assert secret not in said, "a secret was shown"


UPGRADE = """
cp /given/tests/stand_in_systemctl.py /usr/bin/systemctl; chmod 755 /usr/bin/systemctl
redis-server --port 6398 --save '' --daemonize yes >/dev/null
cat > book.yml <<'END'
- hosts: vps
  connection: local
  roles: [{role: roughneck, roughneck_link: false}]
END
sed -e s/homes/vps/ rollback.yml > back.yml
go() {
    play -e ansible_connection=local -e roughneck_redis_url=redis://127.0.0.1:6398/0 \
        -e roughneck_metrics_port=9468 -e roughneck_metrics_host=127.0.0.1 "$@"
}
quiet() { "$@" > last.log 2>&1 || { tail -n 60 last.log; cat /run/stand-in/*.log; return 1; }; }
state() {
    echo "$1 $(readlink /opt/roughneck/current)"
    for _ in $(seq 40); do
        /opt/roughneck/current/venv/bin/python -m ops.probe http://127.0.0.1:9468/metrics \\
            roughneck_worker_healthy=1 2>/dev/null && echo "$1 healthy" && return
        sleep 0.5
    done
}
quiet go -e roughneck_release=r1 book.yml; state first
quiet go -e roughneck_release=r2 book.yml; state upgraded
mkdir /run/broken; cd /run/broken; wheel=$(ls /run/source/dist/*.whl)
python3 -m zipfile -e "$wheel" .; echo 'raise RuntimeError("broken")' > ops/worker_process.py
python3 -m zipfile -c "$wheel" *; cd /run/book
go -e roughneck_release=r3 book.yml > r3.log && { echo it went over to a broken release; exit 1; }
grep -o 'Release r3 did not become healthy.*' r3.log | head -1
state "taken back"
quiet go back.yml; state back
quiet go -e roughneck_wanted=r2 back.yml; state named
go -e roughneck_wanted=r9 back.yml >/dev/null && { echo it went to nowhere; exit 1; }
state still
"""


def test_a_release_that_does_not_become_healthy_is_taken_back(tree: Path, dist: Path) -> None:
    """Real workers over a real Redis; what stands in for systemd starts their unit."""
    if reason := overlay.lacking():
        pytest.skip(reason)
    done = overlay.run_in_copy("\n".join([RUN, UPGRADE]), _given(tree, dist))
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert "Release r3 did not become healthy: releases/r2 runs again" in done.stdout
    steps = {"first": "r1", "upgraded": "r2", "taken back": "r2", "back": "r1", "named": "r2"}
    for step, release in {**steps, "still": "r2"}.items():
        assert f"{step} releases/{release}\n{step} healthy" in done.stdout, done.stdout


def _given(tree: Path, dist: Path) -> Mapping[str, Path]:
    return {"tree": tree, "dist": dist, "repo": ROOT, "tools": tools_folder(), "tests": HERE}


def tools_folder() -> Path:
    """The virtual environment that has Ansible."""
    return Path(tool("ansible-playbook")).parents[1].resolve()
