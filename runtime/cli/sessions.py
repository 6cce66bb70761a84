"""``sessions list | show | tail``: which conversations there are, and what is said in them."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.options import json_option, load, settings_options


@click.group()
def sessions() -> None:
    """Look at conversations.

    While a runtime runs it is asked; else the data directory is looked into.
    """


@sessions.command("list")
@click.option(
    "--limit",
    "-n",
    default=50,
    type=click.IntRange(1, 100_000),
    show_default=True,
    help="How many at most.",
)
@settings_options
@json_option
def list_sessions(limit: int, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List sessions, most recently active first."""
    loaded = load(config, storage__data_dir=data_dir)
    import trio

    from runtime.cli.looking import print_list

    trio.run(print_list, loaded.settings, limit, as_json)


@sessions.command()
@click.argument("session")
@settings_options
@json_option
def show(session: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show one session, named by its id or its key, and what waits in it."""
    loaded = load(config, storage__data_dir=data_dir)
    import trio

    from runtime.cli.looking import print_session

    trio.run(print_session, loaded.settings, session, as_json)


@sessions.command()
@click.argument("session")
@click.option(
    "--lines",
    "-n",
    default=20,
    type=click.IntRange(0, 1_000),
    show_default=True,
    help="How many at most.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens from now on.")
@settings_options
@json_option
def tail(
    session: str,
    lines: int,
    follow: bool,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Print the newest lines of a transcript.

    The session is named by its id or its key. With --json each line is an object.
    """
    loaded = load(config, storage__data_dir=data_dir)
    import trio

    from runtime.cli.looking import print_tail

    trio.run(print_tail, loaded.settings, session, lines, follow, as_json)
