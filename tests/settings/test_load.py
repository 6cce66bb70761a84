"""Loading: sources and their order, and every problem with its path."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from runtime.settings import (
    AgentEntry,
    GatewaySettings,
    Loaded,
    RoutingSettings,
    Seconds,
    Secret,
    Settings,
    SettingsError,
    StorageSettings,
    check,
    is_loopback,
    load_settings,
    settings_schema,
    settings_toml,
)


class EchoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Says back what it hears."""

    delay: Seconds = 0.0
    words: tuple[str, ...] = ()
    environment: dict[str, str] = {}


class RemoteOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Asks somebody else."""

    url: str
    api_key: Secret = None


KINDS: Mapping[str, type[msgspec.Struct]] = {"echo": EchoOptions, "remote": RemoteOptions}


def load(
    toml: str = "",
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    folder: Path,
) -> Loaded:
    path = folder / "runtime.toml"
    path.write_text(toml, encoding="utf-8")
    return load_settings(
        config=path, environ=environ or {}, overrides=overrides or {}, agent_kinds=KINDS
    )


def test_nothing_given_is_complete_and_safe(tmp_path: Path) -> None:
    settings = load(folder=tmp_path).settings
    assert settings.gateway == GatewaySettings()
    assert is_loopback(settings.gateway.host)
    assert settings.agents == {"echo": AgentEntry("echo", EchoOptions())}
    check(Settings(storage=StorageSettings(data_dir=tmp_path)))


# G8
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com", "127.0.0.1.nip.io"])
def test_other_machines_need_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gateway\.token"):
        load(f'[gateway]\nhost = "{host}"', folder=tmp_path)
    with pytest.raises(SettingsError, match=r"gateway\.token"):
        check(Settings(gateway=GatewaySettings(host=host)))
    loaded = load(f'[gateway]\nhost = "{host}"\ntoken = "t"', folder=tmp_path)
    assert loaded.settings.gateway.host == host


# G8
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "LOCALHOST."])
def test_this_machine_needs_none(host: str, tmp_path: Path) -> None:
    assert load(f'[gateway]\nhost = "{host}"', folder=tmp_path).settings.gateway.host == host


def test_flags_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    toml = "[gateway]\nport = 1\nmax_connections = 1\n[queue]\ncap = 1"
    environ = {"RUNTIME_GATEWAY__PORT": "2", "RUNTIME_QUEUE__CAP": "2"}
    loaded = load(toml, environ, {"gateway.port": 3, "gateway.host": None}, folder=tmp_path)
    assert loaded.settings.gateway.port == 3
    assert loaded.settings.queue.cap == 2
    assert loaded.settings.gateway.max_connections == 1
    assert loaded.origins == {
        "gateway.port": "--port",
        "queue.cap": "RUNTIME_QUEUE__CAP",
        "gateway.max_connections": str(tmp_path / "runtime.toml"),
    }
    assert loaded.source_files == (tmp_path / "runtime.toml",)


def test_variables_are_read_as_what_they_set(tmp_path: Path) -> None:
    environ = {
        "RUNTIME_GATEWAY__ALLOWED_ORIGINS": "https://a.example, http://localhost:3000",
        "RUNTIME_GATEWAY__HANDSHAKES_PER_SECOND": "2.5",
        "RUNTIME_GATEWAY__MAX_FRAME_BYTES": "4096",
        "RUNTIME_GATEWAY__TOKEN": "",
        "RUNTIME_SESSIONS__MAX_MESSAGE_AGE": "24h",
        "RUNTIME_AGENTS__MINE__KIND": "echo",
        "RUNTIME_AGENTS__MINE__DELAY": "10ms",
        "RUNTIME_DIRECTORY": "of somebody else",
    }
    settings = load(environ=environ, folder=tmp_path).settings
    assert settings.gateway.allowed_origins == ("https://a.example", "http://localhost:3000")
    assert settings.gateway.handshakes_per_second == 2.5
    assert settings.gateway.max_frame_bytes == 4096
    assert settings.gateway.token is None
    assert settings.sessions.max_message_age == 86_400
    assert settings.agents == {"mine": AgentEntry("echo", EchoOptions(delay=0.01))}
    assert settings.routing.choose(settings.agents) == "mine"


def test_relative_paths_belong_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    in_file = load('[storage]\ndata_dir = "data"', folder=tmp_path)
    assert in_file.settings.storage.data_dir == tmp_path / "data"
    in_flag = load(overrides={"storage.data_dir": Path("data")}, folder=tmp_path)
    assert in_flag.settings.storage.data_dir == Path("data")
    assert in_flag.origins == {"storage.data_dir": "--data-dir"}
    at_home = load('[storage]\ndata_dir = "~/data"', folder=tmp_path)
    assert at_home.settings.storage.data_dir == tmp_path / "home" / "data"


def test_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def port(environ: Mapping[str, str]) -> int:
        loaded = load_settings(config=None, environ=environ, overrides={}, agent_kinds=KINDS)
        return loaded.settings.gateway.port

    assert port({}) == 8765
    (tmp_path / "config" / "greenroom").mkdir(parents=True)
    (tmp_path / "config" / "greenroom" / "runtime.toml").write_text("[gateway]\nport = 1")
    assert port({}) == 1
    (tmp_path / "runtime.toml").write_text("[gateway]\nport = 2")
    assert port({}) == 2
    (tmp_path / "other.toml").write_text("[gateway]\nport = 3")
    assert port({"RUNTIME_CONFIG": "other.toml"}) == 3


@pytest.mark.parametrize(
    "content, message",
    [
        (b"[gateway\n", r"expected TOML: .*line 1"),
        (b"a = '\xff'", r"byte 0xff at 5 was given, expected UTF-8 text"),
        (b"#" * 1_048_577, r"at most 1 MiB"),
        (None, r"named by --config: expected a settings file; there is none"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "named.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(
            config=path,
            environ={"RUNTIME_GATEWAY__PORT": "x"},
            overrides={},
            agent_kinds=KINDS,
        )
    assert str(path) in str(caught.value)
    assert len(caught.value.problems) == 2, "what else is wrong is said as well"


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can be read: Is a directory"):
        load_settings(config=tmp_path, environ={}, overrides={}, agent_kinds=KINDS)


@pytest.mark.parametrize(
    "toml, message",
    [
        ("gateway = 3", r"gateway \(.*runtime.toml\): 3 was given, expected a table: \[gateway\]"),
        ("[gatway]\nport = 1", r"gatway .*an unknown table .*did you mean gateway\?"),
        ("[moon]\nport = 1", r"expected one of the tables gateway, storage, .*log$"),
        ("[gateway]\nprot = 1", r"gateway.prot .*an unknown key .*did you mean port\?"),
        ("[gateway]\nport = 'http'", r'gateway.port .*"http" was given, expected a whole number'),
        ("[gateway]\nport = 65536", r"65536 was given, expected a whole number from 0 to 65535"),
        ("[gateway]\nport = true", r"true was given, expected a whole number"),
        ("[gateway]\nhost = ''", r'gateway.host .*"" was given, expected a text that is not empty'),
        ("[gateway]\nallowed_origins = ['x/']", r"allowed_origins\[0\] .*without a path"),
        ("[gateway]\nallowed_origins = ['*']", r"allowed_origins\[0\] .*expected an origin"),
        ("[gateway]\nallowed_origins = [1]", r"allowed_origins\[0\] .*a list, each item a text"),
        ("[gateway]\nmax_frame_bytes = 10", r"10 was given, expected a size .*at least 1024"),
        ("[gateway]\nmax_frame_bytes = '1 cup'", r'"1 cup" was given, expected a size such as'),
        ("[gateway]\nhandshake_timeout = '0s'", r"expected a duration .*longer than zero"),
        (
            "[gateway]\nhandshakes_per_second = inf",
            r"expected a number above 0 and at most 1000000",
        ),
        ("[gateway]\ntls_key = 'k'", r"gateway.tls_key .*expected gateway.tls_certificate beside"),
        ("[storage]\ndata_dir = ''", r'storage.data_dir .*"" was given, expected a path'),
        ("[storage]\ndata_dir = '~no_such_person/x'", r"whose ~ names a known user"),
        (
            "[queue]\nmode = 'fifo'",
            r'"fifo" was given, expected collect, followup, steer, steer-backlog',
        ),
        ("[queue]\ndebounce = 1", r'1 was given, expected a unit as well, as in "1s" or "1ms"'),
        ("[queue]\ndebounce_max = '1ms'", r"queue.debounce_max .*expected at least queue.debounce"),
        ("[queue]\ncap = 0", r"0 was given, expected a whole number from 1 to 10000"),
        ("[queue]\ndrop = 'oldest'", r'"oldest" was given, expected new, old or summarize'),
        ("[sessions]\nmax_message_age = '1 day'", r'or "off"$'),
        ("[sessions.deep]\nx = 1", r"sessions.deep .*an unknown key was given"),
        ("[media]\nmax_media_bytes = -1", r"-1 was given, expected a size"),
        ("[log]\nlevel = 'loud'", r'"loud" was given, expected critical, debug, error, info'),
        ("[agents]\nmine = 5", r"agents.mine .*5 was given, expected a table: \[agents.mine\]"),
        ("[agents.mine]", r"agents.mine.kind: expected what sort of agent it is: echo or remote"),
        ("[agents.mine]\nkind = 'ecko'", r'"ecko" was given, .*did you mean echo\?'),
        ("[agents.mine]\nkind = 'remote'", r"agents.mine.url: expected a text; it has no default"),
        ("[agents.mine]\nkind = 'echo'\ndelai = 1", r"agents.mine.delai .*did you mean delay\?"),
        ("[agents.mine]\nkind = 'echo'\nenvironment = {a=1}", r"a table, each value a text"),
        ("[agents.'a b']\nkind = 'echo'", r"agents.a b: expected a name of up to 64 letters"),
        ("[routing]\ndefault_agent = 'eco'", r'"eco" was given, .*: echo; did you mean echo\?'),
        (
            "[agents.a]\nkind = 'echo'\n[agents.b]\nkind = 'echo'",
            r"routing.default_agent: expected the agent that answers by default: a or b",
        ),
    ],
)
def test_each_mistake_is_explained(toml: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load(toml, folder=tmp_path)
    assert len(caught.value.problems) == 1


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(
            "[gateway]\nprot = 1\nhost = '0.0.0.0'\n[queue]\ncap = 0\ndrop = 1\n"
            "[agents.a]\nkind = 'b'\n[agents.c]\nkind = 'remote'\nurl = 3\napi_key = 4",
            {"RUNTIME_SESSIONS__MAX_TRIES": "many", "RUNTIME_GATEWAY_PORT": "1"},
            {"gateway.port": "http"},
            folder=tmp_path,
        )
    assert {problem.path for problem in caught.value.problems} >= {
        "gateway.prot",
        "gateway.port",
        "queue.cap",
        "queue.drop",
        "sessions.max_tries",
        "agents.a.kind",
        "agents.c.url",
        "agents.c.api_key",
    }
    assert "did you mean RUNTIME_GATEWAY__PORT?" in str(caught.value)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    toml = (
        "[gateway]\ntoken = 'sesame-1'\n"
        "[agents.a]\nkind = 'remote'\nurl = 'u'\napi_key = 'sesame-2'"
    )
    loaded = load(toml, folder=tmp_path)
    assert loaded.settings.gateway.token == "sesame-1"
    assert "sesame" not in settings_toml(loaded.settings, loaded.origins)
    assert "sesame" not in repr(loaded.settings.gateway)
    with pytest.raises(SettingsError) as caught:
        load("[gateway]\ntoken = 'sesame 1'", folder=tmp_path)
    assert "sesame" not in str(caught.value)


def test_what_is_shown_can_be_loaded_again(tmp_path: Path) -> None:
    toml = (
        "[gateway]\nport = 1\nallowed_origins = ['http://a']\n"
        f"[storage]\ndata_dir = {str(tmp_path)!r}\n[sessions]\nmax_message_age = '90m'\n"
        "[agents.a]\nkind = 'echo'\nenvironment = { 'x y' = 'z\\\\' }\nwords = ['\"']"
    )
    first = load(toml, folder=tmp_path)
    shown = settings_toml(first.settings, first.origins)
    assert load(shown, folder=tmp_path).settings == first.settings
    assert "port = 1  # " in shown


def test_the_schema_knows_every_key_and_kind() -> None:
    schema = settings_schema(KINDS)
    assert schema["properties"]["queue"]["properties"]["debounce"]["default"] == "1s"
    assert set(schema["properties"]["gateway"]["properties"]) == {
        field.name for field in msgspec.structs.fields(GatewaySettings)
    }
    variants = schema["properties"]["agents"]["additionalProperties"]["oneOf"]
    assert [variant["properties"]["kind"]["const"] for variant in variants] == list(KINDS)
    assert variants[1]["required"] == ["kind", "url"]
    assert msgspec.json.encode(schema)


def test_agents_of_an_embedder_can_be_the_default() -> None:
    check(Settings(agents={}, routing=RoutingSettings(default_agent="mine")), agents=["mine"])
    with pytest.raises(SettingsError, match="there is none"):
        check(Settings(agents={}))
