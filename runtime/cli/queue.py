"""``queue status | clear``: what waits in a session, and taking it back (Q5)."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.options import json_option, load, settings_options


@click.group()
def queue() -> None:
    """Look at what waits in a session.

    While a runtime runs it is asked; else the data directory is looked into.
    """


@queue.command()
@click.argument("session")
@settings_options
@json_option
def status(session: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Say how many messages wait in a session, and what runs.

    The session is named by its id or its key.
    """
    loaded = load(config, storage__data_dir=data_dir)
    import trio

    from runtime.cli.looking import print_queue

    trio.run(print_queue, loaded.settings, session, as_json)


@queue.command()
@click.argument("session")
@settings_options
@json_option
def clear(session: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Withdraw what waits in a session; a turn that has begun goes on."""
    loaded = load(config, storage__data_dir=data_dir)
    import trio

    from runtime.cli.looking import clear_queue

    trio.run(clear_queue, loaded.settings, session, as_json)
