"""``serve``: run the runtime until it is told to stop."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from runtime.cli.options import load, log_options, settings_options


@click.command()
@click.option("--host", help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="The port to listen on; 0 takes a free one."
)
@settings_options
@log_options
def serve(
    host: str | None,
    port: int | None,
    config: Path | None,
    data_dir: Path | None,
    log_level: str | None,
    log_format: str | None,
) -> int:
    """Run the runtime. Ctrl-C or SIGTERM stops it gracefully, a second one at once."""
    read = partial(
        load,
        config,
        gateway__host=host,
        gateway__port=port,
        storage__data_dir=data_dir,
        log__level=log_level,
        log__format=log_format,
    )
    loaded = read()
    import trio

    from runtime.cli.serving import run
    from runtime.log import configure
    from runtime.settings import secrets_of

    logs = configure(loaded.settings.log, secrets=secrets_of(loaded.settings, os.environ))
    return trio.run(run, loaded, read, logs)
