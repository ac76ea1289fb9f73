"""Finds the person that an operator names: by login, by GitHub id, or by either with a prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from oauth_core.store.records.users import UserStore

user_option = click.option(
    "--user", help="Only of this person: a login or a GitHub id, or login:NAME or id:NUMBER."
)


async def find_person(users: UserStore, text: str) -> int:
    """The GitHub id that `text` names. Raises `ClickException` unless it names exactly one person."""
    kind, _, name = text.partition(":") if ":" in text else ("", "", text)
    is_number = name.isascii() and name.isdecimal() and len(name) < 20  # noqa: PLR2004 - fits any id there is
    if kind == "id" and is_number:
        return int(name)
    if kind not in {"", "login"}:
        raise click.ClickException("write a login or a GitHub id, or login:NAME or id:NUMBER")
    logins = {known.user.github_id: known.user.login for known in await users.all()}
    # The login of a block finds a person without another record.
    logins = {block.github_id: block.login or "" for block in await users.blocks()} | logins
    found = [github_id for github_id, login in logins.items() if login.lower() == name.lower()]
    if kind == "" and is_number:
        if found:
            raise click.ClickException(f"{name} is also a login: write id:{name} or login:{name}")
        return int(name)
    if len(found) > 1:
        ids = ", ".join(map(str, sorted(found)))
        raise click.ClickException(f"several people had the login {name}; write one of their ids: {ids}")
    if not found:
        raise click.ClickException(f"no person with the login {name} signed in here; GitHub ids always work")
    return found[0]
