"""From a volume that Slicer's DICOM module loaded back to its files, to check its series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..scan import Survey, check_files
from .host import ensure_host

#: What DICOMScalarVolumePlugin sets on the nodes it loads: SOP Instance UIDs, blanks between.
INSTANCES = "DICOM.instanceUIDs"


def came_from_dicom(node: Any) -> bool:
    """Whether a volume node was loaded from DICOM, and there is a database that may know its files;
    much quicker than :func:`dicom_files`."""
    database = getattr(ensure_host(), "dicomDatabase", None)
    return bool(node.GetAttribute(INSTANCES)) and database is not None and database.isOpen


def dicom_files(node: Any) -> tuple[Path, ...]:
    """The files that a volume node was loaded from, in the order of its slices.

    By the node's attribute ``DICOM.instanceUIDs`` and ``slicer.dicomDatabase.fileForInstance``
    (ctkDICOMDatabase: an absolute path, or "" for an instance it does not know). Empty if the node
    was not loaded from DICOM, or there is no open database, as without the desktop application.
    Files that are gone are left out; a multi-frame file is named once.
    """
    if not came_from_dicom(node):
        return ()
    uids, database = node.GetAttribute(INSTANCES).split(), ensure_host().dicomDatabase
    names = dict.fromkeys(database.fileForInstance(uid) for uid in uids)
    return tuple(Path(name) for name in names if name and Path(name).is_file())


def dicom_survey(node: Any) -> Survey | None:
    """What is the matter with the series that a volume was loaded from; None where its files are
    not known. Raises ScanReadError for files that may not be read."""
    files = dicom_files(node)
    return check_files(files) if files else None
