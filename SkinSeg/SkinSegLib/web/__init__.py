"""Servers: cases to and from a DICOMweb archive, and masks from a MONAI Label server.

:mod:`.contribute` sends what :mod:`SkinSegLib.privacy.audit` has passed, :mod:`.fetch` lists and
brings cases, :mod:`.monai_label` asks a server for a mask. Nothing here is called unless
the user names a server. ``requests`` and ``dicomweb_client`` are imported only when needed.
"""

from .contribute import SendOptions, SendOutcome, send
from .fetch import FetchOutcome, fetch, list_series
from .monai_label import MonaiLabel
from .server import Credentials, Server, read_credentials

__all__ = [
    "Credentials",
    "FetchOutcome",
    "MonaiLabel",
    "SendOptions",
    "SendOutcome",
    "Server",
    "fetch",
    "list_series",
    "read_credentials",
    "send",
]
