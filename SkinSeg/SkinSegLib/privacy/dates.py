"""Dates moved by whole days."""

from __future__ import annotations

import re
from datetime import date, timedelta

_DATE = re.compile(r"\s*(\d{4})[.]?(\d{2})?[.]?(\d{2})?(.*?)\s*", re.DOTALL)
#: Time of day and offset from UTC.
_REST = re.compile(r"((\d\d){1,2}|\d{6}(\.\d{1,6})?)?([+-]\d{4})?")


def shifted(value: str, vr: str, days: int) -> str:
    """A DICOM date (DA) or date and time (DT) moved by ``days``; empty where it is none.

    Of a DT that is cut short (a year, a month) as much is given back as was there; the time of day
    and the offset from UTC stay (PS3.5, 6.2).
    """
    found = _DATE.fullmatch(value.strip("\0"))
    if found is None:
        return ""
    year, month, day, rest = found.groups()
    if vr == "DA" and (day is None or rest):
        return ""
    if not _REST.fullmatch(rest) or (rest and day is None):
        return ""
    try:
        new = date(int(year), int(month or 1), int(day or 1)) + timedelta(days)
    except (ValueError, OverflowError):
        return ""
    parts = 1 + (month is not None) + (day is not None)
    return f"{new:%Y%m%d}"[: 2 + 2 * parts] + rest
