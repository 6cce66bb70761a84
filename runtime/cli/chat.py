"""``chat``: talk to an agent from the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.options import load, settings_options


@click.command()
@click.option("--session", default="main", show_default=True, help="The key of the conversation.")
@click.option("--agent", help="Who answers; the default agent when it is not given.")
@click.option("--url", help="The runtime to talk to, as in ws://127.0.0.1:8765/acp.")
@click.option("--token", help="What to present there; better kept in RUNTIME_GATEWAY__TOKEN.")
@settings_options
def chat(
    session: str,
    agent: str | None,
    url: str | None,
    token: str | None,
    config: Path | None,
    data_dir: Path | None,
) -> int:
    """Talk to an agent; /help says how.

    Each line of piped input is a message, sent when the one before has been answered.
    """
    loaded = load(config, gateway__token=token, storage__data_dir=data_dir)
    import trio

    from runtime.cli.talking import talk

    return trio.run(talk, loaded, session, agent, url)
