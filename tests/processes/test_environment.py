"""A child sees what it needs, and no secrets (P1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.processes import Processes, ProcessSpec
from runtime.processes.environment import MARKER, child_environment
from tests.processes.conftest import Program

SHOW = "sys.stdout.write('\\n'.join(f'{k}={v}' for k, v in os.environ.items()))"


async def seen_by(processes: Processes, program: Program, **fields: object) -> dict[str, str]:
    variables = {}
    async with processes.run(program(SHOW, **fields)) as child:
        while (record := await child.read_record()) is not None:
            name, _, value = record.decode().partition("=")
            variables[name] = value
    return variables


async def test_the_allow_list(
    processes: Processes, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    # P1
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "RUNTIME_TOKEN", "RUNTIME_X", "MINE"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    monkeypatch.setenv("LC_MESSAGES", "C")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    variables = await seen_by(
        processes,
        program,
        env={"HOME": "elsewhere", "EXTRA": "1"},
        pass_env=("MINE", "RUNTIME_X", "NOT_THERE"),
    )
    assert variables["HOME"] == "elsewhere"
    assert variables["EXTRA"] == "1"
    assert variables["MINE"] == "secret"
    assert variables["XDG_CONFIG_HOME"] == "config"
    assert variables["LC_MESSAGES"] == "C"
    assert variables["TZ"] == "Asia/Tokyo"
    assert "PATH" in variables
    hidden = {"OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "RUNTIME_TOKEN", "RUNTIME_X", "NOT_THERE"}
    assert hidden.isdisjoint(variables)


async def test_each_child_has_a_marker_of_its_own(processes: Processes, program: Program) -> None:
    # P5
    first = (await seen_by(processes, program))[MARKER]
    second = (await seen_by(processes, program))[MARKER]
    assert first != second
    assert first.split("/")[:2] == second.split("/")[:2]


async def test_the_way_it_is_started_leaves_no_trace(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # P1
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    shell = ("sh", "-c", 'echo "${LC_CTYPE-none}"; ls /proc/self/fd | tr "\\n" " "')
    async with processes.run(ProcessSpec(shell, tmp_path)) as child:
        assert await child.read_record() == b"none"
        assert await child.read_record() == b"0 1 2 3 "  # 3 is the listing itself
    for line in ("SigBlk", "SigIgn"):
        grep = ("grep", f"^{line}", "/proc/self/status")
        async with processes.run(ProcessSpec(grep, tmp_path)) as child:
            record = await child.read_record()
        assert record is not None
        # 32 and 33 are the C library's own: nobody can set them, whoever ran the tests left them.
        assert int(record.split()[1], 16) & ~(1 << 31 | 1 << 32) == 0


@given(st.dictionaries(st.text(min_size=1), st.text()), st.lists(st.text()))
def test_settings_of_the_runtime_are_never_passed_on(
    ours: dict[str, str], names: list[str]
) -> None:
    # P1
    settings = {f"RUNTIME_{name}": value for name, value in ours.items()}
    passed = child_environment({**ours, **settings}, [*names, *settings], {}, "marker")
    assert not any(name.startswith("RUNTIME_") for name in passed)
