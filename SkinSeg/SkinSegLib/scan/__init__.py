"""Reading a scan from a file or a folder, and what there is to know about it.

``read(path)`` gives one :class:`~SkinSegLib.core.CTVolume` whatever the format; ``facts(volume)``
the figures for ``skinseg info`` and for reports; ``list_series(path)`` the CT series that a DICOM
folder or zip offers; ``survey(path)`` all that is in it, with what is the matter with each series;
``read_files(files)`` a series whose files are known; ``read_source(path)`` a scan with the headers
of its slices, to write DICOM that refers to them.
pydicom and SimpleITK are imported only once they are needed.
"""

from .dicom_checks import OtherSeries, SeriesInfo, Survey, check_files
from .dicom_folder import Source
from .dicom_issues import Issue, IssueKind, Outcome
from .facts import ScanFacts, facts
from .reader import list_series, read, read_files, read_source, survey

__all__ = [
    "Issue",
    "IssueKind",
    "OtherSeries",
    "Outcome",
    "ScanFacts",
    "SeriesInfo",
    "Source",
    "Survey",
    "check_files",
    "facts",
    "list_series",
    "read",
    "read_files",
    "read_source",
    "survey",
]
