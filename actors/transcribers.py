"""The transcribers of the settings: a command, and a service that is asked over HTTP (H5)."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from actors.disk import Disk
from actors.web import client_for, ssl_context
from runtime.ports.transcriber import Transcriber, TranscriptionFailed
from runtime.processes import ChildProcess, Processes, ProcessGone, ProcessSpec
from runtime.settings import TranscriberSettings
from runtime.settings.problems import shown
from runtime.storage.media_errors import NoAnswer

if TYPE_CHECKING:
    import httpx2

FILE = "{file}"
"""What stands for the file in a command."""

MOST_TEXT = 64 * 1024
"""Bytes of the text of one voice note: hours of talk."""

MOST_WORDS = 300
"""Characters that are shown of what a service says about an error."""


class _Answer(msgspec.Struct):
    """The part of a service's answer that counts."""

    text: str


def configured_transcriber(
    settings: TranscriberSettings, processes: Processes, disk: Disk
) -> Transcriber | None:
    """The transcriber of the settings; None when there is none.

    Args:
        settings: checked ones.
        processes: where a command is started.
        disk: where files are read, and folders made.
    """
    if settings.url is not None:
        return HttpTranscriber(settings.url, model=settings.model, token=settings.token, disk=disk)
    if settings.command:
        return CommandTranscriber(settings.command, processes, disk)
    return None


class CommandTranscriber(Transcriber):
    """A program that prints the text.

    It runs in an empty folder of its own, which is removed afterwards with whatever it wrote there,
    with nothing to read, and is ended with all that it started when nobody waits for it any more
    (P1, P5).

    Args:
        command: the program and its arguments; ``{file}`` stands for the file, which is the last
            argument when nothing does.
        processes: where it is started.
        disk: where its folder is made and removed.
    """

    def __init__(self, command: tuple[str, ...], processes: Processes, disk: Disk) -> None:
        self._command = command
        self._processes = processes
        self._disk = disk

    async def transcribe(self, file: Path, mime_type: str | None) -> str:
        async with _scratch(self._disk) as folder:
            spec = ProcessSpec(_with_file(self._command, file), folder)
            try:
                async with self._processes.run(spec) as process:
                    return await self._printed(process)
            except ProcessGone as error:
                raise TranscriptionFailed(str(error)) from error

    async def _printed(self, process: ChildProcess) -> str:
        process.close_stdin()
        text = await _bounded(_output(process), Path(self._command[0]).name)
        status = await process.wait()
        if status.code or status.signal:
            raise TranscriptionFailed(process.describe_exit())
        return text.decode("utf-8", "replace")


class HttpTranscriber(Transcriber):
    """A service with the form of OpenAI's ``/v1/audio/transcriptions``.

    The file is sent as the field ``file`` of a form; the answer is JSON with ``text``, or plain
    text. A redirect is not followed: the file goes where the settings say, and nowhere else.

    Args:
        url: where to send it.
        model: the field ``model``, left out when it is None.
        token: sent as ``Authorization: Bearer``; in no error and no representation.
        disk: where files are read.
    """

    def __init__(
        self, url: str, *, disk: Disk, model: str | None = None, token: str | None = None
    ) -> None:
        self._url = url
        self._disk = disk
        self._model = model
        self._token = token

    async def transcribe(self, file: Path, mime_type: str | None) -> str:
        # Both take long, the first time most of all. Nothing else of the runtime needs the library.
        try:
            context = await self._disk(ssl_context, abandon=True)
            data = await self._disk(partial(_read, file), abandon=True)
        except NoAnswer as error:
            raise TranscriptionFailed(str(error)) from error
        except OSError as error:
            raise TranscriptionFailed(f"the file cannot be read: {error.strerror}") from error
        import httpx2

        headers = {"Accept": "application/json, text/plain", "Accept-Encoding": "identity"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            async with (
                client_for(self._url, context) as client,
                client.stream(
                    "POST",
                    self._url,
                    headers=headers,
                    data={} if self._model is None else {"model": self._model},
                    files={"file": (file.name, data, mime_type or "application/octet-stream")},
                ) as response,
            ):
                return await self._text_of(response)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            words = str(error) or type(error).__name__
            raise TranscriptionFailed(f"the service does not answer: {words}") from error

    async def _text_of(self, response: httpx2.Response) -> str:
        # As it comes: what is packed may become any size.
        said = await _bounded(response.aiter_raw(), "the service")
        if not response.is_success:
            words = " ".join(said.decode("utf-8", "replace").split())
            if self._token is not None:
                words = words.replace(self._token, "***")
            status = f"{response.status_code} {response.reason_phrase}"
            raise TranscriptionFailed(f"the service answered {status}: {words[:MOST_WORDS]}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise TranscriptionFailed("the service packs its answer, although it was asked not to")
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        try:
            if kind == "application/json":
                return msgspec.json.decode(said, type=_Answer).text
            if kind == "text/plain":
                return said.decode()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TranscriptionFailed(
                f"there is no text in the service's answer: {error}"
            ) from error
        raise TranscriptionFailed(
            f"the service answers with {shown(kind)}, and not with JSON or plain text"
        )


def _with_file(command: tuple[str, ...], file: Path) -> tuple[str, ...]:
    program, *arguments = command
    if not any(FILE in argument for argument in arguments):
        arguments.append(FILE)
    return (program, *(argument.replace(FILE, str(file)) for argument in arguments))


async def _output(process: ChildProcess) -> AsyncIterator[bytes]:
    while data := await process.read_some():
        yield data


async def _bounded(source: AsyncIterator[bytes], who: str) -> bytes:
    """All that comes. Raises TranscriptionFailed when that is too much."""
    text = bytearray()
    # Cancelled rather than left: the generators below it then end from the innermost outwards.
    with trio.CancelScope() as enough:
        async for piece in source:
            text += piece
            if len(text) > MOST_TEXT:
                enough.cancel()
    if len(text) > MOST_TEXT:
        raise TranscriptionFailed(f"{who} said more than {MOST_TEXT // 1024} KiB")
    return bytes(text)


@asynccontextmanager
async def _scratch(disk: Disk) -> AsyncIterator[Path]:
    """A folder that is gone in the end, with all that is in it."""
    made: list[str] = []  # what is made late is removed where it was made
    remove = partial(_remove, made)
    try:
        await disk(lambda: made.append(tempfile.mkdtemp(prefix="greenroom-")), after=remove)
    except NoAnswer as error:
        raise TranscriptionFailed(str(error)) from error
    except OSError as error:
        raise TranscriptionFailed(f"there is no folder to run it in: {error.strerror}") from error
    try:
        yield Path(made[0])
    finally:
        with suppress(NoAnswer):  # which is logged; the thread goes on with it
            await disk(remove)


def _remove(folders: list[str]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _read(file: Path) -> bytes:
    """The bytes of a file. What is no file of ours is not sent anywhere (M2)."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        return opened.read()
