"""The SQLite store's operations about deliveries."""

# ruff: noqa: D102 - the operations are described where they are declared, in `Store`

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from runtime.sessions.media import OutboxFile
from runtime.sessions.rows import OutboundRow, OutboundState, ReplyAddress
from runtime.storage import sql_outbox
from runtime.storage.requests import NewOutbound
from runtime.storage.sqlite_parts import Reads, Writes, bounded


class SqliteDelivery:
    """Part of `runtime.storage.sqlite.SqliteStore`."""

    _writes: Writes
    _reads: Reads

    async def notify(self, session_id: str, outbound: NewOutbound) -> OutboundRow:
        return await self._writes.write(
            partial(sql_outbox.notify, session_id=session_id, new=outbound)
        )

    async def outbox_due(self, channel: str, account: str, limit: int) -> tuple[OutboundRow, ...]:
        return await self._reads.read(
            partial(sql_outbox.due, channel=channel, account=account, limit=bounded(limit))
        )

    async def outbox_next_due(self, channel: str, account: str, after: int) -> int | None:
        return await self._reads.read(
            partial(sql_outbox.next_due, channel=channel, account=account, after=after)
        )

    async def outbox_owes(self, address: ReplyAddress) -> bool:
        return await self._reads.read(partial(sql_outbox.owes, address=address))

    async def outbox_attempt(self, outbound_id: str) -> OutboundRow | None:
        return await self._writes.write(partial(sql_outbox.attempt, outbound_id=outbound_id))

    async def outbox_send_anew(self, outbound_id: str, text: str) -> OutboundRow | None:
        return await self._writes.write(
            partial(sql_outbox.send_anew, outbound_id=outbound_id, text=text)
        )

    async def outbox_recover(self, channel: str, account: str) -> int:
        return await self._writes.write(
            partial(sql_outbox.mark_account_ambiguous, channel=channel, account=account)
        )

    async def outbox_delivered(self, outbound_id: str, platform_message_id: str | None) -> None:
        sent_as = partial(sql_outbox.delivered, platform_message_id=platform_message_id)
        await self._writes.write(partial(sent_as, outbound_id=outbound_id))

    async def outbox_retry(
        self,
        outbound_id: str,
        *,
        not_before: int,
        error: str,
        ambiguous: bool,
        counts: bool = True,
    ) -> None:
        await self._writes.write(
            partial(
                sql_outbox.retry,
                outbound_id=outbound_id,
                not_before=not_before,
                error=error,
                ambiguous=ambiguous,
                counts=counts,
            )
        )

    async def outbox_failed(
        self, outbound_id: str, *, error: str, notices: tuple[NewOutbound, ...] = ()
    ) -> None:
        failed = partial(sql_outbox.failed, error=error, notices=notices)
        await self._writes.write(partial(failed, outbound_id=outbound_id))

    async def outbox_files(
        self, session_id: str, files: Sequence[OutboxFile]
    ) -> dict[OutboxFile, OutboundState]:
        return await self._reads.read(
            partial(sql_outbox.states_of_files, session_id=session_id, files=tuple(files))
        )
