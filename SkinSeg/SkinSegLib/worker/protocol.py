"""What goes between a worker and its owner: one JSON object per line, in both directions.

Owner to worker: ``run`` (task, arguments), ``cancel``, ``quit``. Worker to owner: ``hello`` (pid),
``alive``, ``progress`` (stage, fraction), ``done`` (result), ``cancelled``, ``failed`` (error,
message, trace). Arrays go through files, see :mod:`.exchange`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .. import core
from ..core import SkinSegError, WorkerError

#: Of one message. Findings are the longest, and there are dozens at most.
LONGEST_BYTES = 4 << 20


class ProtocolError(Exception):
    """Bytes that are no message. The other side cannot be trusted any more."""


def encode(kind: str, **content: Any) -> bytes:
    """One message as a line; ASCII, so that no encoding of any pipe can harm it."""
    return json.dumps({"kind": kind, **content}, ensure_ascii=True).encode("ascii") + b"\n"


class Decoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that ``data`` completes; each has a string ``kind``.

        Raises ProtocolError for a line that is no message.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_BYTES:
            raise ProtocolError("a line without end")
        return [_message(line) for line in lines]


def _message(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a line that is not JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise ProtocolError("JSON that is no message")
    for name, is_right in _CONTENT.get(found["kind"], {}).items():
        if not is_right(found.get(name)):
            raise ProtocolError(f"a message whose {name} makes no sense")
    return found


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_fraction(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # NaN is neither


def _is_process(value: Any) -> bool:
    # It is sent a signal later on: 0, 1 and negative numbers mean others than one child.
    return type(value) is int and 1 < value < 1 << 31


#: What must be in a message of each kind, for whoever gets it to be able to trust it.
_CONTENT: dict[str, dict[str, Callable[[Any], bool]]] = {
    "run": {"task": _is_text, "arguments": _is_table},
    "hello": {"pid": _is_process},
    "progress": {"stage": _is_text, "fraction": _is_fraction},
    "done": {"result": _is_table},
}


def error_from(message: dict[str, Any]) -> SkinSegError:
    """The error of a ``failed`` message, of the class it had in the worker if that is one of ours.

    An error that nobody foresaw comes without its words, which may name a patient.
    """
    found = getattr(core, str(message.get("error")), None)
    text = message.get("message")
    if isinstance(found, type) and issubclass(found, SkinSegError) and isinstance(text, str):
        return found(text)
    return WorkerError("Something went wrong that should not. The log has the details.")
