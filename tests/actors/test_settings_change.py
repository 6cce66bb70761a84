"""Other settings while the runtime runs."""

from __future__ import annotations

import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.agents.echo import Options
from runtime.ports.front import SessionBlocked
from runtime.settings import AgentEntry, GatewaySettings, Settings, SettingsError
from tests.actors.stage import HandAgent, settings, stage


async def test_new_turns_go_by_new_settings(autojump_clock: MockClock) -> None:
    # Q3 T4
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await session.send("runs")
        call = await agent.called(1)
        assert rt.reconfigure(settings(queue={"mode": "followup"})) == ()
        sent = [await session.prompt(text) for text in ("a", "b")]
        agent.hold = False
        call.go.set()
        assert [(await turn.result()).text for turn in sent] == ["echo: a", "echo: b"]
        assert (await session.queue()).mode == "followup"


async def test_new_sessions_get_the_new_agents(autojump_clock: MockClock) -> None:
    first = Settings(agents={"one": AgentEntry("echo", Options(prefix="1: "))})
    async with stage(settings=first) as rt:
        old = await rt.session("old")
        assert (await (await old.prompt("a")).result()).text == "1: a"
        changed = Settings(agents={"two": AgentEntry("echo", Options(prefix="2: "))})
        rt.reconfigure(changed)
        assert rt.agents == ("two",)
        new = await rt.session("new")
        assert (await (await new.prompt("b")).result()).text == "2: b"
        kept = await old.prompt("c")
        with pytest.raises(SessionBlocked, match=r"\[agents.one\]"):
            await kept.result()
        rt.reconfigure(Settings(agents={"one": AgentEntry("echo", Options(prefix="3: "))}))
        await trio.sleep(1)
        assert (await kept.result()).text == "3: c"


async def test_the_next_turn_has_the_agent_as_it_is_set_now(autojump_clock: MockClock) -> None:
    first = Settings(agents={"one": AgentEntry("echo", Options(prefix="1: ", pace=1.0))})
    async with stage(settings=first) as rt:
        session = await rt.session("demo")
        running = await session.prompt("a b c")
        await trio.sleep(0.5)
        rt.reconfigure(Settings(agents={"one": AgentEntry("echo", Options(prefix="2: "))}))
        assert (await running.result()).text == "1: a b c"
        assert (await (await session.prompt("d")).result()).text == "2: d"


async def test_bad_settings_leave_the_old_ones(autojump_clock: MockClock) -> None:
    async with stage(agent=HandAgent(hold=False)) as rt:
        with pytest.raises(SettingsError):
            rt.reconfigure(settings(default_agent="nobody"))
        with pytest.raises(SettingsError):
            rt.reconfigure(Settings(gateway=GatewaySettings(host="0.0.0.0")))
        session = await rt.session("demo")
        assert (await (await session.prompt("still here")).result()).text == "echo: still here"


async def test_what_needs_a_new_start_is_named(autojump_clock: MockClock) -> None:
    async with stage(agent=HandAgent()) as rt:
        other = msgspec.structs.replace(settings(), gateway=GatewaySettings(port=9_999))
        assert rt.reconfigure(other) == ("gateway.port",)
