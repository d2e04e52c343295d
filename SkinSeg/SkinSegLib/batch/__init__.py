"""Many scans at once: find them in an archive, segment each in a worker of Dask, keep what is done.

``find_scans(folder)`` lists what can be segmented, ``Ledger`` gives each scan a name that says
nothing of the patient, ``make_plan`` tells what is left to do, ``run_plan`` does it on this
computer or on a cluster. Dask is imported only once it is needed.
"""

from .cluster import Where
from .ledger import Ledger, locked
from .plan import BatchSettings, Plan, make_plan
from .record import CaseResult, Status
from .run import all_results, run_plan
from .scans import Archive, Scan, find_scans
from .summary import HEADINGS, row, write_map, write_summary

__all__ = [
    "HEADINGS",
    "Archive",
    "BatchSettings",
    "CaseResult",
    "Ledger",
    "Plan",
    "Scan",
    "Status",
    "Where",
    "all_results",
    "find_scans",
    "locked",
    "make_plan",
    "row",
    "run_plan",
    "write_map",
    "write_summary",
]
