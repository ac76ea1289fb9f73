"""The option `--json` of all commands. It is apart from their other options, which need the stores."""

from __future__ import annotations

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
