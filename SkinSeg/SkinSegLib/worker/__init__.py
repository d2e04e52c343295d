"""Heavy stages in a child process: what is said between it and its owner, and the child itself.

``Worker`` keeps one child, gives it one task at a time and watches over it; how bytes reach the
child is a ``Transport``: ``SubprocessTransport`` here, one by QProcess in ``widgets``.
"""

from .client import Task, Transport, Worker
from .exchange import Exchange, remove_leftovers
from .launch import command_line
from .process import SubprocessTransport, run

__all__ = [
    "Exchange",
    "SubprocessTransport",
    "Task",
    "Transport",
    "Worker",
    "command_line",
    "remove_leftovers",
    "run",
]
