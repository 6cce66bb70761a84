"""``acp``: be an agent for an editor, over standard input and output."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from runtime.cli.options import load, log_options, settings_options


@click.command()
@click.option("--agent", help="Who answers in new sessions; the default agent if not given.")
@click.option("--url", help="A runtime elsewhere, as in ws://127.0.0.1:8765/acp.")
@click.option("--token", help="What to present there; better kept in RUNTIME_GATEWAY__TOKEN.")
@settings_options
@log_options
def acp(
    agent: str | None,
    url: str | None,
    token: str | None,
    config: Path | None,
    data_dir: Path | None,
    log_level: str | None,
    log_format: str | None,
) -> int:
    """Serve an editor over standard input and output, as its agent.

    Leads to the runtime that works on the data directory; when none does, one is started here, for
    as long as the editor runs.
    """
    read = partial(
        load,
        config,
        gateway__token=token,
        storage__data_dir=data_dir,
        log__level=log_level,
        log__format=log_format,
    )
    loaded = read()
    import trio

    from runtime.cli.bridging import run
    from runtime.log import configure
    from runtime.settings import secrets_of

    logs = configure(loaded.settings.log, secrets=secrets_of(loaded.settings, os.environ))
    return trio.run(run, loaded, read, logs, agent, url)
