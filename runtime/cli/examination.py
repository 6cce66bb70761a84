"""What ``doctor`` looks at. It disturbs no running runtime.

A database that nobody works on is opened as a start would open it, so that doctor and start agree.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import apsw
import msgspec
import trio

from runtime import endpoint as endpoints
from runtime.cli.connect import connect
from runtime.cli.errors import DOCTOR, CommandError, explain, settings_hint
from runtime.cli.options import load
from runtime.cli.waiting import open_readers, will_wait
from runtime.cli.words import command_line, moment, number_of, print_json
from runtime.endpoint import Endpoint
from runtime.sessions.ids import wall_clock_ms
from runtime.settings import GatewaySettings, Settings, SettingsError, check_files, format_size
from runtime.storage import sql_settle
from runtime.storage.errors import StoreError
from runtime.storage.migrations import bundled
from runtime.storage.opening import DATABASE
from runtime.storage.requests import Recovery
from runtime.storage.sqlite import open_sqlite

OLDEST_SQLITE = (3, 51, 3)
"""Before it, committed pages could be lost (https://sqlite.org/wal.html#walresetbug)."""

LITTLE_SPACE = 1024**3
HARDLY_ANY_SPACE = 64 * 1024**2
PROBE_TIMEOUT = 5.0


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Args:
        name: what it is.
        state: how it is; only a ``problem`` keeps the runtime from working.
        text: what was found.
        hint: what to do; None where nothing needs to be done.
    """

    name: str
    state: Literal["ok", "warning", "problem"]
    text: str
    hint: str | None = None


async def examine(config: Path | None, data_dir: Path | None) -> list[Finding]:
    """Look at everything; what cannot be looked at is a finding as well."""
    findings = [_sqlite()]
    try:
        loaded = load(config, storage__data_dir=data_dir)
        check_files(loaded)
    except SettingsError as error:
        return findings + [
            Finding("settings", "problem", str(problem), settings_hint([problem]))
            for problem in error.problems
        ]
    findings.append(Finding("settings", "ok", loaded.summary))
    settings = loaded.settings
    findings += _data_directory(settings.storage.data_dir)
    findings.append(_free_space(settings.storage.data_dir))
    running = endpoints.find(settings)
    if running is not None:
        findings.append(await _instance(running))
        if findings[-1].state == "ok":
            findings.append(await trio.to_thread.run_sync(_readiness, running))
    else:
        findings += _no_instance(settings)
    findings += [finding async for finding in _database(settings, running is not None)]
    return findings


def print_findings(findings: list[Finding], as_json: bool) -> int:
    """Print what was found. Returns the exit code: 1 if there is a problem."""
    bad = sum(finding.state == "problem" for finding in findings)
    if as_json:
        print_json({"ok": not bad, "findings": msgspec.to_builtins(findings)})
        return int(bad > 0)
    for finding in findings:
        print(f"{finding.state:<8} {finding.name}: {finding.text}")
        if finding.hint is not None:
            print(f"{'':<8} hint: {finding.hint}")
    print("\nEverything is in order." if not bad else f"\n{number_of(bad, 'problem')}.")
    return int(bad > 0)


def _sqlite() -> Finding:
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        hint = "install a newer apsw: pip install --upgrade apsw"
        return Finding("SQLite", "problem", f"{version}, needed is {needed}", hint)
    return Finding("SQLite", "ok", version)


def _data_directory(data_dir: Path) -> Iterator[Finding]:
    name = "data directory"
    try:
        status = data_dir.stat()
    except FileNotFoundError:
        parent = _existing(data_dir)
        if os.access(parent, os.W_OK | os.X_OK):
            yield Finding(name, "ok", f"{data_dir} will be made at the first start")
        else:
            hint = "make it for the user that starts the runtime, or choose another --data-dir"
            yield Finding(name, "problem", f"{data_dir} cannot be made in {parent}", hint)
        return
    except OSError as error:
        hint = "let the user that starts the runtime in, or choose another --data-dir"
        yield Finding(name, "problem", f"{data_dir}: {error.strerror}", hint)
        return
    if not stat.S_ISDIR(status.st_mode):
        hint = "choose another --data-dir"
        yield Finding(name, "problem", f"{data_dir} is not a directory", hint)
    elif not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        hint = f"chown it to this user, then: chmod 700 {data_dir}"
        yield Finding(name, "problem", f"{data_dir} cannot be read and written", hint)
    elif status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        text = f"{data_dir} is open to other users (mode {mode:o})"
        yield Finding(name, "warning", text, f"chmod 700 {data_dir}")
    else:
        yield Finding(name, "ok", str(data_dir))


def _free_space(data_dir: Path) -> Finding:
    try:
        free = shutil.disk_usage(_existing(data_dir)).free
    except OSError as error:
        return Finding("free space", "warning", f"not known: {error.strerror}")
    text = f"{free / 1024**3:.1f} GiB" if free > LITTLE_SPACE else format_size(free // 1024 * 1024)
    if free < HARDLY_ANY_SPACE:
        hint = "make room: without space no message is accepted"
        return Finding("free space", "problem", text, hint)
    if free < LITTLE_SPACE:
        return Finding("free space", "warning", text, "make room before the disk is full")
    return Finding("free space", "ok", text)


async def _instance(endpoint: Endpoint) -> Finding:
    name = "runtime"
    try:
        async with connect(endpoint):
            return Finding(name, "ok", f"process {endpoint.pid} answers at {endpoint.url}")
    except CommandError as error:
        text = f"process {endpoint.pid} does not answer: {error}"
        return Finding(name, "problem", text, "look at its log; stop it and start it again")


def _readiness(endpoint: Endpoint) -> Finding:
    """Ask ``/readyz``: whether messages can be accepted now."""
    name = "readiness"
    scheme, place, *_ = urlsplit(endpoint.url)
    url = urlunsplit((scheme.replace("ws", "http", 1), place, "/readyz", "", ""))
    request = urllib.request.Request(url)  # noqa: S310 - http or https, made above
    if endpoint.token is not None:
        request.add_header("Authorization", f"Bearer {endpoint.token}")
    try:
        with urllib.request.urlopen(  # noqa: S310
            request, timeout=PROBE_TIMEOUT, context=ssl.create_default_context()
        ):
            return Finding(name, "ok", "messages are accepted")
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(10_000).decode(errors="replace").strip()
        return Finding(
            name, "problem", f"not ready: {said}", "remove the cause, it recovers itself"
        )
    except OSError as error:
        why = getattr(error, "reason", error)
        return Finding(name, "problem", f"{url}: {why}", "look at its log")


def _no_instance(settings: Settings) -> Iterator[Finding]:
    data_dir = settings.storage.data_dir
    text = "none runs on this data directory"
    if endpoints.read(data_dir) is not None:
        text += "; the last one was killed and left its endpoint file, which does no harm"
    yield Finding("runtime", "ok", text)
    yield _port(settings.gateway)


def _port(gateway: GatewaySettings) -> Finding:
    where = f"{gateway.host} port {gateway.port}"
    if gateway.port == 0:
        return Finding("port", "ok", "any free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            gateway.host, gateway.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            candidate.bind(address)
    except OSError as error:
        hint = f"stop who uses it, or choose another: {command_line('serve', '--port', '0')}"
        return Finding("port", "problem", f"{where}: {error.strerror or error}", hint)
    return Finding("port", "ok", f"{where} is free")


async def _database(settings: Settings, running: bool) -> Any:
    data_dir = settings.storage.data_dir
    database = data_dir / DATABASE
    if not os.access(database, os.R_OK):
        if not database.exists():
            yield Finding("database", "ok", "none yet; it is made at the first start")
        return
    known = len(bundled())
    header = await trio.to_thread.run_sync(_header, database)
    version = int.from_bytes(header[60:64], "big")
    if version < known and not running:
        text = f"schema {version}; the next start brings it to {known} and keeps a copy"
        yield Finding("database", "ok", text)
        return
    try:
        if not running:
            # Opened as a start would open it; only then is it known that it can be.
            async with open_sqlite(data_dir, wall_clock_ms):
                pass
        async with open_readers(data_dir) as readers:
            recovery = await readers.read(sql_settle.last_recovery)
            waiting = await readers.read(partial(will_wait, sessions=settings.sessions))
    except (StoreError, OSError) as error:
        hint = "nothing was changed; put a backup in its place, or choose another --data-dir"
        yield Finding("database", "problem", _without_doctor(str(explain(error) or error)), hint)
        return
    yield Finding("database", "ok", f"schema {version}, the newest that is known is {known}")
    yield _last_start(recovery)
    if not running:
        count = number_of(waiting.count, "message")
        text = f"{count} will run after the next start" if waiting.count else "no message waits"
        yield Finding("waiting", "ok", text)


def _without_doctor(text: str) -> str:
    """The text of an error without its advice to run what runs just now."""
    sentences = re.split(r"(?<=\.) ", text)
    return " ".join(each for each in sentences if DOCTOR not in each)


def _last_start(recovery: Recovery | None) -> Finding:
    if recovery is None:
        return Finding("last start", "ok", "never yet")
    turns = number_of(len(recovery.settled), "interrupted turn")
    again = number_of(sum(len(turn.requeued) for turn in recovery.settled), "message")
    failed = sum(len(turn.failed) for turn in recovery.settled)
    text = (
        f"{moment(recovery.at)}: {turns} ({again} run again, {failed} failed), "
        f"{number_of(recovery.pending_messages, 'message')} waited then"
    )
    if not recovery.ambiguous_deliveries:
        return Finding("last start", "ok", text)
    unknown = number_of(recovery.ambiguous_deliveries, "delivery", "deliveries")
    hint = "these answers may arrive twice, and say so"
    return Finding("last start", "warning", f"{text}, {unknown} of unknown outcome", hint)


def _header(database: Path) -> bytes:
    with database.open("rb") as file:
        return file.read(100)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
