"""One question to a server: what went wrong in words, and whether to try again."""

from __future__ import annotations

import io
import random
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..core import Progress, ServerError, SkinSegError, header_texts_unsaid
from .server import PASSWORD_VARIABLE, TOKEN_VARIABLE, USER_VARIABLE, Server, import_requests

T = TypeVar("T")

#: More than this is no answer to anything that is asked here.
MAX_BYTES = 2 * 1024**3
#: Status codes of what may work a little later (RFC 9110, RFC 6585).
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Pauses do not grow beyond, and a server that asks for a longer one is not waited for; seconds.
_LONGEST_S, _LONGEST_ASKED_S = 30.0, 120.0
_BLOCK = 256 * 1024


class AnswerError(ServerError):
    """The server said no. ``status``: of HTTP, 0 where there was none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class LaterError(AnswerError):
    """What may work a little later. ``after_s``: how many seconds the server asks to wait."""

    def __init__(self, text: str, status: int = 0, after_s: float = 0.0) -> None:
        super().__init__(text, status)
        self.after_s = after_s


def asked(question: Callable[[], T], server: Server, progress: Progress) -> T:
    """The answer to ``question()``, which may be asked again without harm.

    Raises ServerError once the attempts are used up, or at once where trying again is no use;
    Cancelled, also within a pause.
    """
    for attempt in range(1, server.attempts + 1):
        progress.check()
        try:
            return once(question)
        except LaterError as error:
            if attempt == server.attempts:
                raise
            pause(server, attempt, error.after_s, progress)
    raise AssertionError("a server is asked at least once")


def pause(server: Server, attempt: int, after_s: float, progress: Progress) -> None:
    """Wait after the ``attempt``-th failure: longer each time, and not all clients alike."""
    seconds = min(server.wait_s * 2 ** (attempt - 1), _LONGEST_S) * random.uniform(0.75, 1.25)
    end = time.monotonic() + max(seconds, after_s)
    while (left := end - time.monotonic()) > 0:
        progress.check()
        time.sleep(min(left, 0.1))


def once(question: Callable[[], T]) -> T:
    """The answer to ``question()``.

    Raises AnswerError in place of all that requests raises, LaterError where it may work later.
    """
    failures = import_requests().exceptions
    try:
        with header_texts_unsaid():  # of what the server says of its patients
            return question()
    except failures.SSLError as error:
        raise AnswerError(
            "The server's certificate cannot be trusted: it is not signed by a known authority, "
            "has expired, or is another host's; or this is no https at all. If your hospital signs "
            "its own, give its authority's file by --ca; otherwise ask who runs the server."
        ) from error
    except failures.TooManyRedirects as error:
        raise AnswerError(
            "The server sends elsewhere, where nothing of a patient is sent unasked. "
            "Give the address that it really has."
        ) from error
    except failures.Timeout as error:
        raise LaterError("The server does not answer in time. Try again later.") from error
    except failures.HTTPError as error:
        raise _by_status(error.response) from error
    except (failures.JSONDecodeError, failures.InvalidHeader) as error:
        raise _nonsense() from error
    except failures.RequestException as error:
        raise LaterError(
            "The server cannot be reached, or broke off. Check its address, and that it runs; "
            "then run this again, which goes on where it stopped."
        ) from error
    except SkinSegError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError) as error:
        raise _nonsense() from error


def _nonsense() -> AnswerError:
    return AnswerError(
        "The server's answer is not what it should be. Check that the address is that of the "
        "service (for Orthanc, it ends in /dicom-web)."
    )


def _by_status(response: Any) -> AnswerError:
    status = int(response.status_code)
    if status in (401, 403):
        return AnswerError(
            f"The server refuses ({status}). Check ${USER_VARIABLE} and ${PASSWORD_VARIABLE}, or "
            f"${TOKEN_VARIABLE}, and whether they give the right to do this.",
            status,
        )
    if status == 413:
        return AnswerError(
            "The server takes no request as large as this (413). Ask who runs it to raise the "
            "limit, or send fewer files at once (--group).",
            status,
        )
    if status in _LATER:
        after = _seconds(response.headers.get("Retry-After", ""))
        if after <= _LONGEST_ASKED_S:
            return LaterError(
                f"The server is busy or has a fault ({status}). Try again later.", status, after
            )
        return AnswerError(
            f"The server is busy ({status}) and asks to wait {after / 60:.0f} minutes. "
            "Run this again then; it goes on where it stopped.",
            status,
        )
    if status in (404, 405, 501):
        return AnswerError(
            f"The server does not know what was asked for ({status}). Check the address, and what "
            "the service offers.",
            status,
        )
    return AnswerError(f"The server refuses what was asked for ({status}).", status)


def _seconds(text: str) -> float:
    """Of Retry-After in seconds; a date is taken for none."""
    return float(text) if re.fullmatch(r"\d{1,9}", text.strip()) else 0.0


def bounded(answer_s: float) -> Callable[..., Any]:
    """A hook for a session: an answer that never ends, in time or in size, is broken off.

    requests bounds only the silence between two bytes.
    """
    requests = import_requests()

    def read(response: Any, *_: Any, **__: Any) -> Any:
        end, body, size = time.monotonic() + answer_s, io.BytesIO(), 0
        for block in response.iter_content(_BLOCK):
            size += len(block)
            if time.monotonic() > end:
                response.close()
                raise requests.exceptions.ReadTimeout("the answer takes too long")
            if size > MAX_BYTES:
                response.close()
                raise AnswerError("The server's answer is endless. Check the address.")
            body.write(block)
        body.seek(0)
        whole = requests.Response()
        for name in ("status_code", "headers", "url", "reason", "encoding", "request", "history"):
            setattr(whole, name, getattr(response, name))
        whole.raw = body
        return whole

    return read
