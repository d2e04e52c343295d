"""A task that leaves the computing to a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core import Progress, ServerError
from ..pipeline import JobOptions, compute
from .messages import put_result, scan_from

#: Longest silence of a server that segments, in seconds.
_SILENCE_S = 600.0
#: The server makes the mask, this computer its surfaces.
_ASK = 0.6


def ask(arguments: Mapping[str, Any], progress: Progress, options: JobOptions) -> dict[str, Any]:
    """The whole job on ``scan``, its mask made by the MONAI Label server at ``server``.

    Credentials are those of the environment; none is an argument. Raises ServerError, and whatever
    says that the answer cannot be taken.
    """
    from ..web import MonaiLabel, Server, read_credentials

    scan = scan_from(arguments["scan"])
    try:
        server = Server(str(arguments["server"]), silence_s=_SILENCE_S)
        label = MonaiLabel(server, read_credentials())
        mask = label.ask(scan, progress=progress.part(0.0, _ASK))
    except ServerError as error:
        raise ServerError(str(error)) from error  # its owner knows no finer kinds
    result = compute(scan, options, progress.part(_ASK, 1.0 - _ASK), mask=mask)
    return put_result(result, Path(arguments["folder"]))
