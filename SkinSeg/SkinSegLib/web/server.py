"""Which server, how patiently, and as whom; no secret comes from an argument or goes to a log."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..core import MissingPackageError, ServerError

#: Where credentials are read from; arguments are in the list of processes, for everybody to see.
USER_VARIABLE = "SKINSEG_WEB_USER"
PASSWORD_VARIABLE = "SKINSEG_WEB_PASSWORD"
TOKEN_VARIABLE = "SKINSEG_WEB_TOKEN"


@dataclass(frozen=True)
class Server:
    """A server and how it is dealt with.

    ``url``: its root, such as ``https://host/dicom-web``. ``ca_file``: certificates (PEM) that its
    own must be signed by; None for the authorities that the package certifi knows.
    ``plain_http``: whether http without encryption may be used; to this computer it always may.
    ``connect_s``, ``silence_s``, ``answer_s``: seconds to wait for a connection, without a byte,
    and for a whole answer. ``attempts``: tries of what may work a little later; ``wait_s``: before
    the second one, doubled each time.

    Raises ServerError for an address that cannot be used.
    """

    url: str
    ca_file: Path | None = None
    plain_http: bool = False
    connect_s: float = 10.0
    silence_s: float = 60.0
    answer_s: float = 900.0
    attempts: int = 5
    wait_s: float = 1.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            named = parts.hostname
            _ = parts.port  # raises ValueError where it is none
        except ValueError:
            parts, named = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not named:
            raise ServerError(
                "That is no address of a server. Give it as https://host/path, with the port "
                "after the host if it needs one."
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ServerError(
                "The address holds more than host and path. Leave out names, passwords, ? and #; "
                f"credentials are read from ${USER_VARIABLE} and ${PASSWORD_VARIABLE} or "
                f"${TOKEN_VARIABLE}."
            )
        if parts.scheme == "http" and not (self.plain_http or _is_this_computer(named)):
            raise ServerError(
                "The address is http, which everybody between can read. Use https, or --plain-http "
                "if the network itself is safe."
            )
        if self.ca_file is not None and not self.ca_file.is_file():
            raise ServerError("The file of --ca is not there. Check its name.")
        object.__setattr__(self, "url", self.url.rstrip("/"))


@dataclass(frozen=True)
class Credentials:
    """Basic authentication (RFC 7617) or a bearer token (RFC 6750); empty for neither.

    Raises ServerError for characters that no header can hold.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.token and re.fullmatch(r"[!-~]+", self.token) is None:
            raise ServerError(
                "The token holds characters that no token has, such as spaces or line ends. "
                f"Set ${TOKEN_VARIABLE} again."
            )
        if ":" in self.user or any(ord(c) < 32 for c in self.user + self.password):
            raise ServerError(
                "The user's name holds a colon, or name or password a control character, which "
                "cannot be sent. Set them again."
            )


def read_credentials(ask: bool = False) -> Credentials:
    """From the variables above, or typed in: all of it if ``ask``, else a password that is missing.

    Raises ServerError where something has to be asked for and there is no terminal.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    user, password = os.environ.get(USER_VARIABLE, ""), os.environ.get(PASSWORD_VARIABLE, "")
    if token and not ask:
        return Credentials(token=token.strip())
    if not ask and (password or not user):
        return Credentials(user, password)
    if not sys.stdin.isatty():
        raise ServerError(
            f"A password is needed. Put it into ${PASSWORD_VARIABLE}, or a token into "
            f"${TOKEN_VARIABLE}, or run this in a terminal, which will ask for it."
        )
    import getpass

    if ask:
        print("User: ", end="", file=sys.stderr, flush=True)
        user = sys.stdin.readline().strip()
    return Credentials(user, getpass.getpass("Password: "))


def open_session(server: Server, credentials: Credentials) -> Any:
    """A requests.Session that goes to this server and nowhere else.

    The environment is not trusted for anything but proxies: ``REQUESTS_CA_BUNDLE`` would win over
    ``ca_file``, and ``.netrc`` would add credentials. Redirections are not followed: they could
    take a scan to another host, or out of https. Raises MissingPackageError, ServerError.
    """
    requests = import_requests()
    session = requests.Session()
    session.trust_env = False
    session.proxies = requests.utils.get_environ_proxies(server.url)
    session.max_redirects = 0
    if server.ca_file is not None:
        session.verify = str(server.ca_file)
    if credentials.token:
        session.auth = _Bearer(credentials.token)
    elif credentials.user:
        # As bytes: requests would encode them as latin-1, and fail where they are not.
        session.auth = (credentials.user.encode(), credentials.password.encode())
    return session


@dataclass(frozen=True)
class _Bearer:
    token: str = field(repr=False)

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def import_requests() -> Any:
    """The package requests. Raises MissingPackageError."""
    try:
        import requests
    except ImportError as error:
        raise missing_package() from error
    return requests


def missing_package() -> MissingPackageError:
    """The error where the extra ``web`` is not installed."""
    return MissingPackageError(
        "Servers need packages that are not installed. "
        "Install them with: pip install 'skinseg[web,privacy]'"
    )


def _is_this_computer(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
