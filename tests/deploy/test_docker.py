"""The image and compose.yml: what is published, what it is made of, and whether its steps run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from ops.acl import write
from ops.redis_binary import RedisBinary
from tests.deploy import overlay
from tests.deploy.conftest import tool
from tests.deploy.image import read
from tests.support.redis_server import free_port
from tests.support.waiting import until_sync

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "ops" / "deploy"
DOCKER = DEPLOY / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name for name, one in SERVICES.items() if "ROUGHNECK_IMAGE" in one["image"]}


def test_nothing_is_published_beyond_loopback_and_the_vpn() -> None:
    for name, service in SERVICES.items():
        assert service.get("network_mode") in (None, "service:gateway"), name
        for published in service.get("ports", ()):
            assert re.match(r"127\.0\.0\.1:|\$\{WIREGUARD_ADDRESS:\?\}:", published), published
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_every_container_has_no_rights_that_it_does_not_need() -> None:
    assert {"gateway", "worker", "tool"} == OURS
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        if name not in OURS:
            assert service["user"], name
    assert {"gateway", "worker"} <= {n for n in OURS if SERVICES[n]["stop_grace_period"] == "90s"}


def test_every_mounted_file_is_there_and_every_variable_is_explained() -> None:
    text = (DOCKER / "compose.yml").read_text("utf-8")
    explained = set(re.findall(r"^(\w+)=", (DOCKER / "env.example").read_text("utf-8"), re.M))
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required <= explained
    assert explained <= set(re.findall(r"\$\{(\w+)", text)) | {"ROUGHNECK_IMAGE"}
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            if source.startswith(".") and "secrets/" not in source:
                assert (DOCKER / source).resolve().exists(), source


def test_secrets_are_made_by_the_image_and_kept(tmp_path: Path) -> None:
    """`docker run` is a stand-in that runs the same command here."""
    for name in ("secrets.sh", "env.example"):
        (tmp_path / name).write_bytes((DOCKER / name).read_bytes())
    (tmp_path / ".env").write_bytes((DOCKER / "env.example").read_bytes())
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    stand_in = bin_folder / "docker"
    stand_in.write_text(
        '#!/bin/sh\nset -eu\nwhile [ "$1" != roughneck:0.1.0 ]; do shift; done; shift\n'
        f'for last; do :; done; [ "$last" = /secrets ]\n'
        f'exec {sys.executable} -m ops.cli "$1" "$2" "$3" secrets\n'
    )
    (bin_folder / "install").write_text('#!/bin/sh\nfor last; do :; done\nmkdir -p "$last"\n')
    for program in bin_folder.iterdir():
        program.chmod(0o755)
    environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    made = []
    for _ in range(2):
        command = ["/bin/sh", str(tmp_path / "secrets.sh")]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        folder = tmp_path / "secrets"
        made.append({path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())})
    assert made[0] == made[1]
    mounted = {
        Path(mount.partition(":")[0]).name
        for service in SERVICES.values()
        for mount in service.get("volumes", ())
        if mount.startswith("./secrets/")
    }
    assert mounted <= made[0].keys()
    assert "@redis:6379" in made[0]["worker.url"]
    assert made[0]["home-worker.url"] == made[0]["worker.url"].replace("@redis:", "@10.88.0.1:")


def test_redis_starts_as_compose_starts_it(redis_binary: RedisBinary, tmp_path: Path) -> None:
    port = free_port()
    write(tmp_path, f"redis://127.0.0.1:{port}/0")
    configuration = tmp_path / "redis.conf"
    text = (DEPLOY / "redis" / "redis.conf").read_text("utf-8")
    configuration.write_text(text.replace("/etc/redis/users.acl", str(tmp_path / "users.acl")))
    places = {"/etc/redis/redis.conf": str(configuration), "--dir /data": f"--dir {tmp_path}"}
    command = [places.get(word, word) for word in SERVICES["redis"]["command"]][1:]
    command = [word.replace("${REDIS_MEMORY:-1gb}", "64mb") for word in command]
    running = subprocess.Popen(
        [redis_binary.path, *command, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        client = Redis.from_url((tmp_path / "admin.url").read_text("utf-8").strip())
        until_sync(lambda: _answers(client), what="redis to answer", limit_s=10)
        assert client.config_get("bind")["bind"] == "* -::*"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        probe = SERVICES["redis"]["healthcheck"]["test"][1]
        assert "NOAUTH" in probe
        client.close()
    finally:
        running.terminate()
        running.wait(10)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except Exception:
        return False


def test_loki_keeps_what_it_deletes_by_itself() -> None:
    loki = yaml.safe_load((DEPLOY / "loki" / "loki.yml").read_text("utf-8"))
    assert loki["limits_config"]["allow_structured_metadata"]
    assert loki["compactor"]["retention_enabled"]
    assert loki["compactor"]["delete_request_store"]
    assert loki["schema_config"]["configs"][-1]["schema"] == "v13"


@pytest.mark.parametrize("name", ["config.alloy", "home.alloy"])
def test_alloy_names_only_what_is_there(name: str) -> None:
    """Blocks are closed, and each reference is to a component that stands in the file."""
    text = (DEPLOY / "alloy" / name).read_text("utf-8")
    code = re.sub(r'"(?:[^"\\]|\\.)*"|//[^\n]*', lambda m: "" if m[0][0] == "/" else '""', text)
    assert code.count("{") == code.count("}")
    declared = set(re.findall(r'^([a-z_.]+) "(\w+)" {', text, re.M))
    exports = {"targets", "receiver"}
    for path in re.findall(r"(?:=|\[)\s*((?:local|loki)\.[\w.]+)", code):
        component, _, export = path.rpartition(".")
        kind, _, label = component.rpartition(".")
        assert (kind, label) in declared, path
        assert export in exports, path
    stages = set(re.findall(r"stage\.(\w+)", code))
    assert stages <= {"json", "timestamp", "output", "labels", "structured_metadata", "drop"}


@pytest.mark.deploy
def test_the_linters_find_nothing() -> None:
    compose = str(DOCKER / "compose.yml")
    for command in (
        [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", compose],
        [tool("hadolint"), str(DOCKER / "Dockerfile")],
    ):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.deploy
def test_the_steps_of_the_dockerfile_make_an_image_that_runs() -> None:
    """In a copy of this machine; then as its user, with a root that cannot be written."""
    if reason := overlay.lacking():
        pytest.skip(reason)
    image = read(DOCKER / "Dockerfile")
    uid, gid = image.user.split(":")
    environment = [f"export {name}={value}" for name, value in image.environment.items()]
    gateway = shlex.join([*image.entrypoint, *image.command])
    health = shlex.join(image.health)
    script = "\n".join(
        [
            "chmod 711 /root",  # where this machine may keep its Python; the image has its own
            *image.build,
            *environment,
            "redis-server --port 6399 --save '' --daemonize yes >/dev/null",
            "mount -o remount,ro /",
            "mount -t tmpfs -o mode=1777 none /tmp",
            f"mount -t tmpfs -o uid={uid},gid={gid},mode=700 none $HOME; cd $HOME",
            "export ROUGHNECK_REDIS__URL=redis://127.0.0.1:6399/0 ROUGHNECK_GATEWAY__PORT=8499",
            f"as='setpriv --reuid {uid} --regid {gid} --clear-groups --no-new-privs'",
            "if $as touch /opt/written 2>/dev/null; then echo the root can be written; exit 1; fi",
            f"$as {gateway} >/tmp/gateway.log 2>&1 & gateway=$!",
            "$as roughneck worker --class io --class cpu >/tmp/worker.log 2>&1 & worker=$!",
            f"well() {{ $as {health.replace('8470', '8499')}; }}",
            "for n in $(seq 60); do well && break; sleep 0.5; done",
            "well || { cat /tmp/gateway.log; exit 1; }",
            '$as roughneck submit echo \'{"message": "hej"}\' --wait -o json',
            "kill $gateway; wait $gateway; kill $worker; wait $worker",
            "echo all stopped; du -sm /opt/roughneck | cut -f1",
        ]
    )
    ran = overlay.run_in_copy(script, {"repo": ROOT})
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    assert '"message": "hej"' in ran.stdout or '"message":"hej"' in ran.stdout, ran.stdout
    assert "all stopped" in ran.stdout
