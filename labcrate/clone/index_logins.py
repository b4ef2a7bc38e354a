"""Logins of package indexes that are not in their address: from ~/.netrc and the keyring.

pip and uv look them up on this machine, which builds and the lab cannot. So the address that they
get, in a secret, has the login of that index in it, and the other logins stay here.
"""

from __future__ import annotations

import netrc
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from labcrate import environment, process

KEYRING_S = 20.0
"""Seconds for the keyring's command: it may ask a server for a token."""


def without_login(address: str) -> str:
    """An address as it may be shown: without its user name and password."""
    return re.sub(r"//[^/@\s]*@", "//***@", address)


def read_logins(notes: list[str]) -> netrc.netrc | None:
    """The logins of $NETRC or ~/.netrc; None where there are none. notes: what to say of them."""
    path = Path(environment.variable("NETRC") or "~/.netrc").expanduser()
    if not path.is_file():
        return None
    try:
        return netrc.netrc(str(path))
    except netrc.NetrcParseError as error:
        # The message may show a password.
        notes.append(f"left out, because it cannot be read: {path}, line {error.lineno}")
    except (OSError, UnicodeDecodeError) as error:
        notes.append(f"left out, because it cannot be read: {path} ({type(error).__name__})")
    return None


def with_login(address: str, logins: netrc.netrc | None, keyring: bool) -> str:
    """The address of an index with the login that this host has for it, as pip looks for it.

    keyring: whether the keyring may be asked; it needs to be told the user.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.password is not None:
        return address
    user, password = unquote(parts.username or ""), ""
    place = parts.netloc.rpartition("@")[2]
    found = logins.authenticators(parts.hostname) if logins else None
    if found and user in ("", found[0]):
        user, password = found[0], found[2] or ""
    elif user and keyring and environment.command_path("keyring"):
        password = ask_keyring((parts._replace(netloc=place).geturl(), place), user)
    return add_login(address, user, password) if password else address


def add_login(address: str, user: str, password: str) -> str:
    """An address with this login in it, in place of what it has of one."""
    parts = urlsplit(address)
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()


def ask_keyring(services: Sequence[str], user: str) -> str:
    """A user's password for the first of these services that the keyring knows; "" for none."""
    for service in services:
        answer = process.ask(("keyring", "get", service, user), timeout_s=KEYRING_S)
        if answer.ok and answer.stdout.strip():
            return answer.stdout.strip("\r\n")
    return ""
