"""Whatever a network does, a chat sees the answer, and what is seen twice says so (R3, R8, O2).

Random answers, written at random paces, over a network whose drafts, edits, typing and sends go
wrong at random, with power cuts in between.
"""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.channels.scripted import Behaviour, ScriptedChannel
from runtime.ports.channel import ChannelCapabilities
from runtime.sessions.marks import DUPLICATE_MARK
from runtime.sessions.rows import ReplyAddress
from runtime.storage.sqlite import open_memory
from tests.actors.slow_writing import QUICK, agent
from tests.actors.stage import clock, stage

WORDS = ("one ", "two\n\n", "three ", "NO_REPLY\n", "```\ncode\n```\n", "four")
END = "the end"
MOODS = ("before", "during", "after", "for_good", "bug", None, None)

cosmetic = st.lists(
    st.builds(
        Behaviour,
        fail=st.sampled_from(MOODS),
        delay=st.sampled_from([0.0, 0.0, 0.5, 2.0, 20.0]),
        retry_after=st.sampled_from([None, 0.0, 3.0]),
    ),
    max_size=6,
)
serious = st.lists(
    st.builds(
        Behaviour,
        fail=st.sampled_from(["before", "during", "after", "bug", None]),
        delay=st.sampled_from([0.0, 1.0, 100.0]),
    ),
    max_size=2,
)
gone = st.lists(st.just(Behaviour(fail="for_good")), max_size=1)
steps = st.lists(st.sampled_from(WORDS) | st.sampled_from([0.2, 1.0, 3.0]), max_size=20)


class Watched(ScriptedChannel):
    """Counts the drafts in flight."""

    in_flight = 0
    most = 0

    async def draft(
        self, reply_to: ReplyAddress, text: str, platform_message_id: str | None
    ) -> str | None:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            return await super().draft(reply_to, text, platform_message_id)
        finally:
            self.in_flight -= 1


async def history(
    chat: Watched, written: list[str | float], cut_after: float | None, lost: int, stays: int
) -> None:
    playing = agent(*written, 0.5, f"\n{END}")
    async with open_memory(clock) as store:
        if cut_after is not None:
            with trio.CancelScope() as power:
                async with stage(agent=playing, channels=[chat], store=store, settings=QUICK):
                    await chat.say("hello")
                    await trio.sleep(cut_after)
                    power.cancel()
                    await trio.sleep_forever()
            chat.lose_connection()
        async with stage(agent=playing, channels=[chat], store=store, settings=QUICK):
            if cut_after is None:
                await chat.say("hello")
            await trio.sleep(2_000)
        assert await store.outbox_due(chat.name, chat.account, 10) == ()
        backlog = await store.backlog()
        assert (backlog.pending, backlog.attempting, backlog.failed) == (0, 0, 0)
    complete = [text for text in chat.visible() if text.endswith(END)]
    assert complete
    assert sum(not text.startswith(DUPLICATE_MARK) for text in complete) <= 1 + lost
    assert len(chat.visible()) <= len(complete) + lost + stays
    assert chat.most <= 1


@settings(max_examples=25, deadline=None)
@given(
    written=steps,
    drafts=cosmetic,
    typing=cosmetic,
    withdrawals=cosmetic,
    edits=st.tuples(serious, gone),
    sends=serious,
    able=st.sampled_from([(True, True), (True, False), (False, True)]),
    cut_after=st.none() | st.floats(0.0, 12.0),
)
def test_the_answer_is_seen_whatever_the_network_does(
    written: list[str | float],
    drafts: list[Behaviour],
    typing: list[Behaviour],
    withdrawals: list[Behaviour],
    edits: tuple[list[Behaviour], list[Behaviour]],
    sends: list[Behaviour],
    able: tuple[bool, bool],
    cut_after: float | None,
) -> None:
    # R3 R4 R8 O1 O2
    edit, delete = able
    chat = Watched(
        capabilities=ChannelCapabilities(drafts=True, typing=True, edit=edit, delete=delete)
    )
    # A draft of which only the network knows, one for each time that the runtime was started, stays
    # behind; so does one that can neither be edited any more nor removed, and the first of a turn
    # that comes after the answer, where the network does not let it be removed.
    starts = 1 if cut_after is None else 2
    lost = min(starts, sum(each.fail == "after" for each in drafts))
    kept = delete and any(each.fail or each.delay > 5.0 for each in withdrawals)
    lost += starts if kept else 0
    stays = 0 if delete else len(edits[1])
    chat.script(*drafts, of="draft")
    chat.script(*typing, of="typing")
    chat.script(*withdrawals, of="withdraw")
    chat.script(*edits[0], *edits[1], of="edit")
    chat.script(*sends)
    trio.run(
        history,
        chat,
        written,
        cut_after,
        lost,
        stays,
        clock=trio.testing.MockClock(autojump_threshold=0),
    )
