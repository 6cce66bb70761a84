"""What ``doctor`` looks at. It disturbs no running runtime.

A database that nobody works on is opened as a start would open it, so that doctor and start agree.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import apsw
import trio

from actors.agents import agent_kinds
from runtime import endpoint as endpoints
from runtime.cli.connect import connect, trusting
from runtime.cli.errors import DOCTOR, NO_SUCH_CHANNEL, CommandError, explain, settings_hint
from runtime.cli.exposure import exposure, port_findings
from runtime.cli.findings import Finding
from runtime.cli.media_findings import media_disk, media_folder, media_usage
from runtime.cli.options import load
from runtime.cli.transcribing import transcriber_findings
from runtime.cli.waiting import open_readers, will_wait
from runtime.cli.words import moment
from runtime.endpoint import Endpoint
from runtime.sessions.ids import wall_clock_ms
from runtime.sessions.numbers import number_of
from runtime.settings import (
    Settings,
    SettingsError,
    check_files,
    format_size,
    settings_of_no_channel,
)
from runtime.storage import sql_figures, sql_media, sql_settle
from runtime.storage.errors import StoreError
from runtime.storage.figures import Backlog
from runtime.storage.integrity import look_for_damage
from runtime.storage.lock import LOCK, is_held
from runtime.storage.migrations import bundled
from runtime.storage.opening import DATABASE
from runtime.storage.requests import Recovery
from runtime.storage.sqlite import open_sqlite

OLDEST_SQLITE = (3, 51, 3)
"""Before it, committed pages could be lost (https://sqlite.org/wal.html#walresetbug)."""

LITTLE_SPACE = 1024**3
HARDLY_ANY_SPACE = 64 * 1024**2
PROBE_TIMEOUT = 5.0
INTEGRITY_LIMIT = 5.0
"""Seconds for looking through the database."""


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
    findings += [
        Finding("channels", "warning", str(each), NO_SUCH_CHANNEL)
        for each in settings_of_no_channel(settings)
    ]
    findings += _data_directory(settings.storage.data_dir)
    findings.append(_free_space(settings.storage.data_dir))
    findings += await trio.to_thread.run_sync(
        lambda: [*exposure(settings), *_agents(settings), *transcriber_findings(settings)]
    )
    running = endpoints.find(settings)
    locked = running is not None or is_held(settings.storage.data_dir / LOCK)
    if running is not None:
        findings.append(await _instance(running))
        if findings[-1].state == "ok":
            findings.append(await trio.to_thread.run_sync(_readiness, running))
            findings += await media_disk(running)
    elif locked:
        text = "a process works on this data directory, and does not say where it listens"
        hint = "wait a moment if it is just starting or stopping; else look at its log"
        findings.append(Finding("runtime", "warning", text, hint))
    else:
        findings += _no_instance(settings)
        findings += _leftovers(settings.storage.data_dir)
    findings.append(await media_folder(settings, running=locked))
    findings += [finding async for finding in _database(settings, locked)]
    return findings


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
            request, timeout=PROBE_TIMEOUT, context=trusting(endpoint)
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
    yield from port_findings(settings.gateway)


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
            backlog = await readers.read(sql_figures.backlog) if version == known else None
            kept = await readers.read(sql_media.kept) if version == known else None
        integrity = await trio.to_thread.run_sync(look_for_damage, database, INTEGRITY_LIMIT)
    except (StoreError, OSError) as error:
        hint = "nothing was changed; put a backup in its place, or choose another --data-dir"
        yield Finding("database", "problem", _without_doctor(str(explain(error) or error)), hint)
        return
    if integrity.damage is not None:
        hint = "stop the runtime, keep the file, and put a backup in its place"
        yield Finding("database", "problem", f"damaged: {integrity.damage}", hint)
        return
    seen = "no damage" if integrity.whole else f"no damage found within {INTEGRITY_LIMIT:g} s"
    text = f"schema {version}, the newest that is known is {known}; {seen}"
    yield Finding("database", "ok", text)
    yield _last_start(recovery)
    if backlog is not None:
        yield _deliveries(backlog)
    if kept is not None:
        yield media_usage(settings, *kept)
    if not running:
        count = number_of(waiting.count, "message")
        text = f"{count} will run after the next start" if waiting.count else "no message waits"
        yield Finding("waiting", "ok", text)


def _agents(settings: Settings) -> Iterator[Finding]:
    """Each agent, as far as its kind can say something of it without starting it."""
    kinds = agent_kinds()
    for name, entry in settings.agents.items():
        kind = kinds.get(entry.kind)
        if kind is None or kind.examine is None or entry.options is None:
            continue
        for found in kind.examine(name, entry.options):
            yield Finding(f"agent {name}", found.state, found.text, found.hint)


def _leftovers(data_dir: Path) -> Iterator[Finding]:
    """What an earlier run that was killed has left."""
    count = sum(1 for _ in (data_dir / "processes").glob("child-*.json"))
    if count:
        text = f"{number_of(count, 'process', 'processes')} of the last run may still live"
        yield Finding("leftovers", "ok", f"{text}; the next start ends them")


def _deliveries(backlog: Backlog) -> Finding:
    given_up = backlog.failed + backlog.abandoned
    if given_up:
        text = f"{number_of(given_up, 'answer')} could not be delivered"
        return Finding("deliveries", "warning", text, "the log says why, as delivery_failed")
    text = number_of(backlog.pending + backlog.attempting, "answer")
    return Finding("deliveries", "ok", f"{text} to be delivered, none given up")


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
