"""``doctor``: is everything in order, and if not, what to do."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.options import json_option, settings_options


@click.command()
@settings_options
@json_option
def doctor(config: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Check settings, data directory, database and port. Exits with 1 if there is a problem."""
    import trio

    from runtime.cli.examination import examine
    from runtime.cli.findings import print_findings

    findings = trio.run(examine, config, data_dir)
    return print_findings(findings, as_json)
