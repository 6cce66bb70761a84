"""Where a bridge leads: to the runtime of the data directory, or to one in this process (D3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import trio

from runtime import endpoint as endpoints
from runtime.app import open_runtime
from runtime.cli.client import NotReachable
from runtime.cli.errors import ungrouped
from runtime.cli.notify import Notifier
from runtime.cli.reloading import follow
from runtime.cli.serving import following, hide_local_key, log_start, url_of
from runtime.endpoint import Endpoint
from runtime.gateway import GatewayError
from runtime.log import Logs, get_logger
from runtime.settings import Loaded
from runtime.storage.errors import InstanceLocked, StoreError

HEAD_START = 3.0
"""Seconds for whoever started a runtime that was lost, such as a service manager, to start it again
before it is started here.
"""

log = get_logger(__name__)


class Host:
    """Finds the runtime of a data directory, and becomes it when there is none.

    Args:
        loaded: the settings.
        read: reads them again when they changed.
        logs: go by them as well.
        nursery: runs the runtime.
    """

    def __init__(
        self, loaded: Loaded, read: Callable[[], Loaded], logs: Logs, nursery: trio.Nursery
    ) -> None:
        self._loaded = on_any_port(loaded)
        self._read = lambda: on_any_port(read())
        self._logs = logs
        self._nursery = nursery
        self._stop = trio.Event()
        self._stopped: trio.Event | None = None
        self._found = False
        self._missed_at: float | None = None

    @property
    def hosting(self) -> bool:
        """Whether the runtime runs in this process, or is started or stopped."""
        return self._stopped is not None and not self._stopped.is_set()

    async def find(self) -> Endpoint:
        """Where the runtime is; started here if none works on the data directory.

        Raises:
            NotReachable: another one starts or stops just now; or, later than the first time, none
                can be started here.
            SettingsError, StoreCannotOpen, GatewayError: none can be started here.
        """
        settings = self._loaded.settings
        endpoint = await trio.to_thread.run_sync(endpoints.find, settings)
        if endpoint is None and not self.hosting and self._may_start():
            try:
                with ungrouped():
                    await self._nursery.start(self._host)
            except InstanceLocked as error:
                hint = "it starts, stops, or has no port: a program with `serve=False`"
                raise NotReachable(str(error).rstrip("."), hint) from error
            except (StoreError, GatewayError) as error:
                if not self._found:
                    raise
                raise NotReachable(str(error).rstrip(".")) from error
            endpoint = await trio.to_thread.run_sync(endpoints.find, settings)
        if endpoint is None:
            raise NotReachable(f"no runtime serves {settings.storage.data_dir}")
        self._found, self._missed_at = True, None
        return endpoint

    def _may_start(self) -> bool:
        """Whether none was there yet, or the one that was has been missing for long enough."""
        now = trio.current_time()
        if self._missed_at is None:
            self._missed_at = now
        return not self._found or now - self._missed_at >= HEAD_START

    async def stop(self) -> None:
        """Stop the runtime in this process, in good order; running turns get their grace (S45)."""
        self._stop.set()
        if self._stopped is not None:
            await self._stopped.wait()

    async def _host(self, task_status: trio.TaskStatus[None]) -> None:
        loaded, self._stopped = self._loaded, trio.Event()
        # Nobody waits to be notified: an editor's service manager is none of this runtime's.
        notifier = Notifier({})
        try:
            async with open_runtime(loaded.settings, serve=True) as runtime:
                follow_settings = partial(follow, runtime, loaded, self._read, self._logs, notifier)
                async with following(follow_settings):
                    await hide_local_key(loaded.settings.storage.data_dir, self._logs)
                    log_start(runtime, loaded.settings, url_of(runtime, loaded.settings), log)
                    task_status.started()
                    await self._stop.wait()
        finally:
            self._stopped.set()


def on_any_port(loaded: Loaded) -> Loaded:
    """The settings of a runtime that clients find by its data directory: where no port is set, any
    free one does, so that it stands in nobody's way.
    """
    if "gateway.port" in loaded.origins:
        return loaded
    gateway = msgspec.structs.replace(loaded.settings.gateway, port=0)
    settings = msgspec.structs.replace(loaded.settings, gateway=gateway)
    return msgspec.structs.replace(loaded, settings=settings)
