"""Reading a scan from a file or a folder, and what there is to know about it.

``read(path)`` gives one :class:`~SkinSegLib.core.CTVolume` whatever the format; ``facts(volume)``
the figures for ``skinseg info`` and for reports; ``list_series(path)`` what a DICOM folder or zip
offers. pydicom and SimpleITK are imported only once they are needed.
"""

from .dicom_series import SeriesInfo
from .facts import ScanFacts, facts
from .reader import list_series, read

__all__ = ["ScanFacts", "SeriesInfo", "facts", "list_series", "read"]
