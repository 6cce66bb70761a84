"""Who may connect, as the settings say it (G8, S36)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.agents import agent_kinds
from runtime.sessions.principals import Principal, Role
from runtime.settings import (
    GatewaySettings,
    PrincipalSettings,
    Settings,
    SettingsError,
    check,
    load_settings,
    settings_schema,
    settings_table,
    settings_toml,
)

KINDS = {name: kind.options for name, kind in agent_kinds().items()}
TWO = """
[gateway]
token = "the-owner-s"

[gateway.principals.ada]
token = "ada-s"
role = "admin"

[gateway.principals."bob@example.com"]
token = "bob-s"
"""


def loaded(folder: Path, text: str, **environ: str) -> GatewaySettings:
    path = folder / "runtime.toml"
    path.write_text(text)
    return load_settings(
        config=path, environ=environ, overrides={}, agent_kinds=KINDS
    ).settings.gateway


def mistakes(folder: Path, text: str, **environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as raised:
        loaded(folder, text, **environ)
    assert "-s" not in str(raised.value)  # no token is shown
    return {problem.path: problem.expected for problem in raised.value.problems}


# S36
def test_each_role_may_do_what_those_before_it_may() -> None:
    assert [[role.may(needed) for needed in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert Principal("ada", Role.ADMIN).role.may(Role.MEMBER)


# G8 S36
def test_principals_have_a_token_and_a_role(tmp_path: Path) -> None:
    assert loaded(tmp_path, TWO).principals == {
        "ada": PrincipalSettings(token="ada-s", role=Role.ADMIN),
        "bob@example.com": PrincipalSettings(token="bob-s", role=Role.MEMBER),
    }


def test_a_variable_replaces_or_adds_a_single_one(tmp_path: Path) -> None:
    principals = loaded(
        tmp_path,
        TWO,
        RUNTIME_GATEWAY__PRINCIPALS__ADA__TOKEN="other",
        RUNTIME_GATEWAY__PRINCIPALS__EVE__TOKEN="eve",
        RUNTIME_GATEWAY__PRINCIPALS__EVE__ROLE="owner",
    ).principals
    assert principals["ada"] == PrincipalSettings(token="other", role=Role.ADMIN)
    assert principals["eve"] == PrincipalSettings(token="eve", role=Role.OWNER)
    assert len(principals) == 3


def test_every_mistake_is_found_with_its_path(tmp_path: Path) -> None:
    wrong = """
[gateway.principals]
carl = "carl-s"
dora = {}

[gateway.principals.ada]
token = "with blanks-s"
role = "king"
tokn = "x-s"
"""
    found = mistakes(tmp_path, wrong)
    assert set(found) == {
        "gateway.principals.carl",
        "gateway.principals.dora.token",
        "gateway.principals.ada.token",
        "gateway.principals.ada.role",
        "gateway.principals.ada.tokn",
    }
    assert found["gateway.principals.ada.role"] == "member, admin or owner"
    assert mistakes(tmp_path, '[gateway]\nprincipals = "ada-s"') == {
        "gateway.principals": "a table, each value a table"
    }
    assert set(mistakes(tmp_path, TWO, RUNTIME_GATEWAY__PRINCIPALS="ada-s")) == {
        "gateway.principals"
    }


# G8: nobody is taken for somebody else
def test_tokens_and_names_are_told_apart(tmp_path: Path) -> None:
    same = "[gateway]\ntoken='one-s'\n[gateway.principals.{}]\ntoken='{}'\n"
    assert "that of gateway.token" in mistakes(tmp_path, same.format("ada", "one-s")).popitem()[1]
    twice = same.format("ada", "two-s") + "[gateway.principals.bob]\ntoken='two-s'\n"
    ((path, expected),) = mistakes(tmp_path, twice).items()
    assert path == "gateway.principals.bob.token"
    assert "that of gateway.principals.ada" in expected
    for name in ("local", "token", "'a b'", "''"):
        assert len(mistakes(tmp_path, same.format(name, "two-s"))) == 1, name


# G8: what commands on this machine present is there as well
def test_principals_come_beside_the_token_of_the_owner(tmp_path: Path) -> None:
    alone = "[gateway.principals.ada]\ntoken='ada-s'\n"
    assert set(mistakes(tmp_path, alone)) == {"gateway.principals"}
    with pytest.raises(SettingsError, match=r"gateway\.token beside it"):
        check(Settings(gateway=GatewaySettings(principals={"ada": PrincipalSettings(token="x")})))


def test_tokens_are_never_shown(tmp_path: Path) -> None:
    settings = Settings(gateway=loaded(tmp_path, TWO))
    table = settings_table(settings)
    assert table["gateway"]["principals"]["ada"] == {"token": "***", "role": "admin"}
    text = settings_toml(settings)
    assert '# principals.ada is { token = "***", role = "admin" }' in text
    assert "# principals is not set" in settings_toml(Settings())
    for shown in (repr(settings), text, json.dumps(table)):
        assert "ada-s" not in shown
    assert loaded(tmp_path, text.replace("# token is set, and not shown", "")).principals == {}


def test_the_schema_knows_their_keys() -> None:
    principals = settings_schema(KINDS)["properties"]["gateway"]["properties"]["principals"]
    entry = principals["additionalProperties"]
    assert (entry["required"], entry["additionalProperties"]) == (["token"], False)
    assert entry["properties"]["role"]["default"] == "member"
