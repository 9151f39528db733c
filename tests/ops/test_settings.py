"""Defaults, then the file, then the environment, then the command line; bad names are named."""

from pathlib import Path

import pytest

from ops.settings import Settings, hide_password, load, rows
from streams.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "roughneck.toml"
    path.write_text(
        """
        [gateway]
        port = 9000
        host = "10.8.0.1"
        [network]
        allow_networks = ["10.8.0.0/24"]
        [ollama.models.gen]
        tag = "small:1b"
        """
    )
    return path


def test_without_file_and_environment_the_defaults_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environ={}) == Settings()


def test_the_environment_goes_before_the_file_and_the_command_line_before_both(
    file: Path,
) -> None:
    settings = load(
        file,
        {"ROUGHNECK_GATEWAY__PORT": "9001", "ROUGHNECK_WORKER__IO_SLOTS": "3"},
        {"worker.io_slots": 5},
    )
    assert (settings.gateway.host, settings.gateway.port) == ("10.8.0.1", 9001)
    assert settings.worker.io_slots == 5


def test_the_file_is_found_by_environment_and_in_the_working_directory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(environ={"ROUGHNECK_SETTINGS": str(file)}).gateway.port == 9000
    monkeypatch.chdir(file.parent)
    assert load(environ={}).gateway.port == 9000


def test_lists_are_split_on_commas() -> None:
    environ = {
        "ROUGHNECK_NETWORK__ALLOW_NETWORKS": "127.0.0.0/8, ::1/128",
        "ROUGHNECK_NETWORK__ALLOW_PORTS": "8080,9090",
        "ROUGHNECK_WORKER__CLASSES": "io",
    }
    settings = load(environ=environ)
    assert settings.network.allow_networks == ("127.0.0.0/8", "::1/128")
    assert settings.network.allow_ports == (8080, 9090)
    assert settings.worker.classes == ("io",)


def test_a_model_alias_adds_to_the_default_ones(file: Path) -> None:
    models = load(file, {"ROUGHNECK_OLLAMA__MODELS__GEN__NUM_CTX": "4096"}).ollama.models
    assert (models["gen"].tag, models["gen"].num_ctx) == ("small:1b", 4096)
    assert models["classify"] == Settings().ollama.models["classify"]


@pytest.mark.parametrize(
    ("environ", "parts"),
    [
        ({"ROUGHNECK_GATEWAY__PORT": "70000"}, ["65535", "$.gateway.port"]),
        ({"ROUGHNECK_GATEWAY__PORT": "many"}, ["int", "$.gateway.port"]),
        ({"ROUGHNECK_GATEWAY__PROT": "9000"}, ["prot", "$.gateway"]),
        ({"ROUGHNECK_GATEWY__PORT": "9000"}, ["gatewy"]),
        ({"ROUGHNECK_PORT": "9000"}, ["ROUGHNECK_PORT", "ROUGHNECK_SECTION__FIELD"]),
        ({"ROUGHNECK_WORKER__CLASSES": "gpu"}, ["gpu", "$.worker.classes"]),
        ({"ROUGHNECK_GATEWAY__PORT__X": "1", "ROUGHNECK_GATEWAY__PORT": "1"}, ["$.gateway.port"]),
        ({"ROUGHNECK_ENGINE__RENEW_MS": "20000"}, ["renewals", "$.engine.renew_ms"]),
        ({"ROUGHNECK_SETTINGS": "/nowhere/roughneck.toml"}, ["/nowhere/roughneck.toml"]),
        ({"ROUGHNECK_CLIENT__KEY_FILE": "/nowhere/key"}, ["/nowhere/key", "$.client.key_file"]),
        (
            {"ROUGHNECK_CLIENT__KEY_FILE": "/k", "ROUGHNECK_CLIENT__KEY": "k"},
            ["both", "$.client.key_file"],
        ),
    ],
)
def test_what_is_wrong_is_named(
    environ: dict[str, str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(environ=environ)
    for part in parts:
        assert part in str(caught.value)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[gateway\n")
    with pytest.raises(ConfigError, match=r"bad\.toml: .*line 1"):
        load(path, {})


def test_knobs_of_make_and_tests_are_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environ={"ROUGHNECK_EMBEDDED": "1", "ROUGHNECK_TEST_REDIS": "all"}) == Settings()


def test_a_secret_may_stand_in_a_file_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("rn_1_hush\n")
    (tmp_path / "url").write_text("redis://app:hush@10.8.0.1/0\n")
    settings = load(
        environ={
            "ROUGHNECK_CLIENT__KEY_FILE": str(tmp_path / "key"),
            "ROUGHNECK_REDIS__URL_FILE": str(tmp_path / "url"),
        }
    )
    assert settings.client.key == "rn_1_hush"
    shown = {row.name: row.value for row in rows(settings)}
    assert shown["client.key"] == "(hidden)"
    assert shown["redis.url"] == "redis://app:(hidden)@10.8.0.1/0"
    assert not [value for value in shown.values() if "hush" in value]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:1/0", "redis://host:1/0"),
        ("redis://:p@host", "redis://:(hidden)@host"),
        ("redis://u@host", "redis://u@host"),
        ("unix:///tmp/a.sock?db=0", "unix:///tmp/a.sock?db=0"),
        ("redis://u:p@ss@host/0", "redis://u:(hidden)@host/0"),
    ],
)
def test_a_password_in_a_url_is_hidden(url: str, shown: str) -> None:
    assert hide_password(url) == shown
