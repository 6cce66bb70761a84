"""Records in and out (P1)."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from runtime.processes import ChildProcess, Processes, ProcessGone
from runtime.processes.records import RecordSplitter
from tests.processes.conftest import DEADLINE, Program


async def everything(child: ChildProcess) -> list[bytes]:
    records = []
    with trio.fail_after(DEADLINE):
        while (record := await child.read_record()) is not None:
            records.append(record)
    return records


async def test_records_end_at_a_newline_only(processes: Processes, program: Program) -> None:
    # P1
    spec = program(r"sys.stdout.buffer.write('a\u2028b\x0b\x85\r\n\nlast'.encode())")
    async with processes.run(spec) as child:
        assert await everything(child) == ["a\u2028b\x0b\x85\r".encode(), b"", b"last"]


async def test_a_record_of_50_mb_is_skipped(processes: Processes, program: Program) -> None:
    # P1
    spec = program("""
        out = sys.stdout.buffer
        out.write(b"before\\n")
        for _ in range(50):
            out.write(b"x" * 1_000_000)
        out.write(b"\\nafter\\n")
    """)
    async with processes.run(spec) as child:
        assert await everything(child) == [b"before", b"after"]
        assert child.skipped == 1


def test_memory_is_bounded_while_a_record_is_skipped() -> None:
    # P1
    splitter = RecordSplitter(100)
    for _ in range(1000):
        splitter.feed(b"x" * 64)
        assert splitter.next_record() is None
        assert len(splitter._buffer) <= 164
    splitter.feed(b"x\nfine\n")
    assert splitter.next_record() == b"fine"
    assert splitter.skipped == 1
    assert splitter.last_record() is None


@given(
    st.lists(st.binary(max_size=12)),
    st.lists(st.integers(1, 9), min_size=1),
    st.integers(0, 8),
)
def test_any_cut_gives_the_same_records(lines: list[bytes], cuts: list[int], limit: int) -> None:
    # P1
    stream = b"\n".join(lines)
    splitter = RecordSplitter(limit)
    found = []
    position = 0
    while position < len(stream):
        size = cuts[position % len(cuts)]
        splitter.feed(stream[position : position + size])
        position += size
        while (record := splitter.next_record()) is not None:
            found.append(record)
    *whole, last = stream.split(b"\n")
    if last and len(last) <= limit:
        assert splitter.last_record() == last
    else:
        assert splitter.last_record() is None
    assert found == [record for record in whole if len(record) <= limit]
    assert splitter.skipped == sum(len(record) > limit for record in stream.split(b"\n"))


async def test_a_child_that_is_not_read_waits(processes: Processes, program: Program) -> None:
    # P1
    spec = program("""
        for number in range(1_000_000):
            os.write(1, b"%d\\n" % number)
            if number % 1000 == 0:
                os.write(2, b"%d\\n" % number)
    """)
    async with processes.run(spec) as child:
        assert await child.read_record() == b"0"
        with trio.move_on_after(0.3):
            await child.wait()
        assert child.exit_status is None
        assert int(child.stderr_tail().split()[-1]) < 100_000
        assert await child.read_record() == b"1"


async def test_reading_can_be_cancelled(processes: Processes, program: Program) -> None:
    # P1
    spec = program("""
        os.write(1, b"first half, ")
        sys.stdin.readline()
        os.write(1, b"second half\\n")
    """)
    async with processes.run(spec) as child:
        with trio.move_on_after(0.2):
            await child.read_record()
        await child.write(b"go on")
        assert await child.read_record() == b"first half, second half"


async def test_writing_is_all_or_nothing(processes: Processes, program: Program) -> None:
    # P1
    spec = program("""
        os.write(1, b"ready\\n")
        sys.stdin.buffer.readline()
        while line := sys.stdin.buffer.readline():
            os.write(1, b"%d %s\\n" % (len(line), line[:6]))
    """)
    big = 1_000_000
    async with processes.run(spec) as child:
        await child.read_record()
        with trio.fail_after(DEADLINE):
            await child.write(b"first")
            # Cancelled at any point: each is there as a whole, or not at all.
            for serial in range(5):
                with trio.move_on_after(serial * 0.002):
                    await child.write(b"%06d" % serial + b"x" * big)
            await child.write(b"finish")
            child.close_stdin()
        records = await everything(child)
    assert records[-1] == b"7 finish"
    assert all(record.startswith(b"%d " % (big + 7)) for record in records[:-1])


async def test_writing_waits_for_a_child_that_does_not_read(
    processes: Processes, program: Program
) -> None:
    # P1
    spec = program("""
        time.sleep(120)
    """)
    async with processes.run(spec) as child:
        written = 0
        with trio.move_on_after(0.5):
            while True:
                await child.write(b"x" * 65536)
                written += 1
        assert written <= 32


async def test_a_child_that_closed_its_input(processes: Processes, program: Program) -> None:
    # P1
    spec = program("""
        os.close(0)
        os.write(1, b"closed\\n")
        os.write(2, b"I read nothing\\n")
        time.sleep(120)
    """)
    async with processes.run(spec) as child:
        await child.read_record()
        with pytest.raises(ProcessGone, match=r"(?s)does not read.*I read nothing"):  # noqa: PT012
            for _ in range(3):
                await child.write(b"hello")


async def test_writing_to_a_child_that_has_crashed(processes: Processes, program: Program) -> None:
    # P1, P2
    spec = program("""
        sys.stdin.readline()
        sys.exit("no key was configured")
    """)
    async with processes.run(spec) as child:
        with pytest.raises(ProcessGone, match=r"(?s)exit code 1.*no key was configured"):  # noqa: PT012
            with trio.fail_after(DEADLINE):
                while True:
                    await child.write(b"hello")
    with pytest.raises(ProcessGone, match="no key was configured"):
        await child.write(b"too late")
    assert await child.read_record() is None


async def test_input_that_a_descendant_keeps_open_is_closed_with_the_child(
    processes: Processes, program: Program
) -> None:
    # P1
    spec = program("""
        if os.fork() == 0:
            time.sleep(120)
    """)
    async with processes.run(spec) as child:
        with pytest.raises(ProcessGone, match="exit code 0"), trio.fail_after(DEADLINE):  # noqa: PT012
            while True:
                await child.write(b"x" * 65536)


async def test_output_that_a_descendant_keeps_open_ends_with_the_child(
    processes: Processes, program: Program
) -> None:
    # P1
    spec = program("""
        os.write(1, b"said\\n")
        if os.fork() == 0:
            time.sleep(120)
    """)
    async with processes.run(spec) as child:
        assert await everything(child) == [b"said"]
        with trio.fail_after(DEADLINE):
            assert (await child.wait()).code == 0
