"""Other processes of this computer."""

from __future__ import annotations

import os
import sys


def is_running(pid: int) -> bool:
    """Whether there is a process of that number."""
    if sys.platform == "win32":
        return _windows_has(pid)  # os.kill(pid, 0) would end it there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # a number that no process has
        return False
    except PermissionError:
        return True
    return True


def _windows_has(pid: int) -> bool:
    import ctypes

    limited_information = 0x1000
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(limited_information, False, pid)
    if handle:
        kernel.CloseHandle(handle)
    return bool(handle)
