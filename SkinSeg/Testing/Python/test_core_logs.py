"""Logs tell where something failed and never whose scan it was."""

from __future__ import annotations

from SkinSegLib.core import OutputError, failure_text


def write_for(name: str) -> None:
    try:
        raise OSError(28, "No space left on device", f"/data/{name}/skin.stl")
    except OSError as error:
        raise OutputError(f"Cannot write /data/{name}/skin.stl.") from error


def test_types_and_places_without_messages():
    try:
        write_for("Doe^Jane")
    except OutputError as error:
        text = failure_text(error)
    assert "Doe" not in text
    assert "/data" not in text
    assert "SkinSegLib.core.errors.OutputError" in text
    assert "caused by builtins.OSError" in text
    assert "test_core_logs.py:" in text
    assert "write_for" in text
