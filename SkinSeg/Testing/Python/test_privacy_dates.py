"""Dates that are moved by days: whole, cut short, with times, and no dates at all."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from SkinSegLib.privacy.dates import shifted


@pytest.mark.parametrize(
    ("value", "vr", "days", "expected"),
    [
        ("20240228", "DA", 2, "20240301"),
        ("20240101", "DA", -1, "20231231"),
        ("2024.02.28", "DA", 1, "20240229"),  # as it was written before DICOM 3
        (" 20240228\0", "DA", 1, "20240229"),
        ("20240228", "DT", 1, "20240229"),
        ("20240228235959.123456+0100", "DT", 1, "20240229235959.123456+0100"),
        ("20240228-0500", "DT", 1, "20240229-0500"),
        ("2024022812", "DT", 1, "2024022912"),
        ("2024", "DT", 30, "2024"),
        ("2024", "DT", 366, "2025"),
        ("2024", "DT", -1, "2023"),
        ("202402", "DT", 28, "202402"),
        ("202402", "DT", 29, "202403"),
    ],
)
def test_as_much_comes_back_as_was_there(value: str, vr: str, days: int, expected: str) -> None:
    assert shifted(value, vr, days) == expected


@pytest.mark.parametrize(
    ("value", "vr"),
    [
        ("", "DA"),
        ("Jane Doe", "DA"),
        ("2024", "DA"),
        ("202402", "DA"),
        ("20240228120000", "DA"),
        ("20241301", "DA"),
        ("20230229", "DA"),
        ("20240228 Doe", "DT"),
        ("20240228120", "DT"),
        ("20240228Doe", "DT"),
        ("202402+0100", "DT"),
        ("202402281200.5.5", "DT"),
        ("20240228-20240301", "DA"),
    ],
)
def test_what_is_no_date_does_not_come_through(value: str, vr: str) -> None:
    """It may be a name that was written into the wrong field."""
    assert shifted(value, vr, 3) == ""


def test_a_date_beyond_the_calendar_is_removed() -> None:
    assert shifted("99991231", "DA", 1) == ""


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.integers(-20000, 20000))
def test_distances_between_dates_stay(day: date, days: int) -> None:
    assert shifted(f"{day:%Y%m%d}", "DA", days) == f"{day + timedelta(days):%Y%m%d}"
