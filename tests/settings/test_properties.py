"""Whatever is written, loading ends in settings or in an explanation."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.agents import agent_kinds
from runtime.settings import (
    Settings,
    SettingsError,
    load_settings,
    secrets_of,
    settings_table,
    settings_toml,
)
from runtime.settings.load import SECTIONS

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "runtime.example.toml"
KINDS = {name: kind.options for name, kind in agent_kinds().items()}

values = st.recursive(
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["1s", "off", "10MiB", "echo", "collect", "debug", "0.0.0.0", "~x/y"])
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.sampled_from(
    sorted(
        {key.name for section in SECTIONS.values() for key in msgspec.structs.fields(section)}
        | {key.name for kind in KINDS.values() for key in msgspec.structs.fields(kind)}
        | {"kind", "echo", "ada", "role", "", "\0"}
    )
)
tables = st.sampled_from([*(field.name for field in msgspec.structs.fields(Settings)), "other"])
trees = st.dictionaries(tables, st.dictionaries(keys, values, max_size=5) | values, max_size=6)


def explanation(error: SettingsError) -> str:
    assert error.problems
    for problem in error.problems:
        assert problem.path or problem.source
        assert problem.expected
    return str(error)


def loaded_or_explained(
    config: Path, environ: dict[str, str], overrides: dict[str, object] | None = None
) -> Settings | str:
    """The settings, or the explanation: of each problem where it is and what was expected."""
    try:
        loaded = load_settings(
            config=config, environ=environ, overrides=overrides or {}, agent_kinds=KINDS
        )
    except SettingsError as error:
        return explanation(error)
    assert isinstance(secrets_of(loaded.settings, {}), frozenset)
    return loaded.settings


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_every_file_is_settings_or_an_explanation(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runtime.toml"
    path.write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda _: tree)
        outcome = loaded_or_explained(path, {})
    if isinstance(outcome, str):
        assert outcome
        return
    path.write_text(settings_toml(outcome), encoding="utf-8")
    without_token = msgspec.structs.replace(outcome.gateway, token=None)
    assert loaded_or_explained(path, {}) == msgspec.structs.replace(outcome, gateway=without_token)
    assert msgspec.json.encode(settings_table(outcome))


@given(
    environ=st.dictionaries(
        st.builds(lambda table, key: f"RUNTIME_{table}__{key}".upper(), tables, keys | st.text()),
        st.text(),
    )
)
def test_every_environment_is_settings_or_an_explanation(environ: dict[str, str]) -> None:
    assert loaded_or_explained(EXAMPLE, environ)


deep = st.recursive(
    values, lambda inner: st.dictionaries(keys | st.text(max_size=5), inner, max_size=3)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(tables | st.text(max_size=5), deep, max_size=4))
def test_every_depth_of_table_is_settings_or_an_explanation(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runtime.toml"
    path.write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda _: tree)
        assert loaded_or_explained(path, {})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.binary(max_size=12)
        | st.sampled_from(
            b"[gateway]\n|[agents.a]\n|[gateway.principals.ada]\n|token = '|'|port = |\n"
            b"|kind = 'acp'\n|command = [|]|{|1979-05-27".split(b"|")
        ),
        max_size=12,
    )
)
def test_every_content_of_a_file_is_settings_or_an_explanation(
    pieces: list[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "runtime.toml"
    path.write_bytes(b"".join(pieces))
    assert loaded_or_explained(path, {})


@given(
    flags=st.dictionaries(
        st.builds(lambda table, key: f"{table}.{key}", tables, keys),
        st.none() | st.text(max_size=20) | st.integers() | st.booleans() | st.builds(Path),
        max_size=5,
    ),
    environ=st.dictionaries(
        st.builds(
            lambda table, rest: "__".join(("RUNTIME_" + table, *rest)).upper(),
            tables,
            st.lists(keys, max_size=4),
        )
        | st.just("RUNTIME_CONFIG"),
        st.text(max_size=20) | st.sampled_from(["{}", "[]", "a=b", "1,2,,3", "~nobody/x"]),
        max_size=5,
    ),
)
def test_flags_and_variables_of_every_depth_are_settings_or_an_explanation(
    flags: dict[str, object], environ: dict[str, str]
) -> None:
    assert loaded_or_explained(EXAMPLE, environ, flags)
