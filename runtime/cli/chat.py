"""``chat``: talk to an agent from the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.options import load, settings_options

if TYPE_CHECKING:
    from runtime.sessions.permissions import PermissionPolicy


@click.command()
@click.option("--session", default="main", show_default=True, help="The key of the conversation.")
@click.option("--agent", help="Who answers; the default agent when it is not given.")
@click.option("--url", help="The runtime to talk to, as in ws://127.0.0.1:8765/acp.")
@click.option("--token", help="What to present there; better kept in RUNTIME_GATEWAY__TOKEN.")
@click.option("--workspace", metavar="FOLDER", help="Where the agent is to work.")
@click.option(
    "--permissions",
    type=click.Choice(["ask", "allow", "deny"]),
    help="What the agent may do when it asks: ask me (at a terminal), deny (in a pipe), or allow.",
)
@click.option("--thoughts", is_flag=True, help="Show the agent's reasoning as well.")
@settings_options
def chat(
    session: str,
    agent: str | None,
    url: str | None,
    token: str | None,
    workspace: str | None,
    permissions: PermissionPolicy | None,
    thoughts: bool,
    config: Path | None,
    data_dir: Path | None,
) -> int:
    """Talk to an agent; /help says how.

    Each line of piped input is a message, sent when the one before has been answered.
    """
    loaded = load(config, gateway__token=token, storage__data_dir=data_dir)
    import trio

    from runtime.cli.saying import Talk
    from runtime.cli.talking import talk

    folder = None if workspace is None else str(Path(workspace).expanduser().absolute())
    wish = Talk(session, agent, folder, thoughts=thoughts)
    return trio.run(talk, loaded, wish, permissions, url)
