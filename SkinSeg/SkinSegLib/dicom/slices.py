"""The slices that an object refers to: what they must state, and a mask on them."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import OutputError, header_texts_unsaid

#: Without these nothing can refer to an image, or be in its study and place.
_NEEDED = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"),
    "FrameOfReferenceUID",
)
#: Of the modules Patient and General Study (PS3.3, C.7.1.1, C.7.2.1): must be there, if empty.
MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
_SEXES = ("M", "F", "O")
_HOW_REMOVED = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")


def require_referable(headers: Sequence[Any]) -> None:
    """Raise OutputError unless a DICOM object can refer to these images.

    ``headers``: pydicom datasets of one series, one for each file. They must state their study,
    series, instance and frame of reference (PS3.3, C.12.1, C.7.2.1, C.7.3.1, C.7.4.1), and be of
    one study and one frame of reference.
    """
    with header_texts_unsaid():
        values = {name: [str(h.get(name) or "") for h in headers] for name in _NEEDED}
    missing = [name for name in _NEEDED if not all(values[name])]
    if missing:
        raise OutputError(
            f"The scan's files lack {', '.join(missing)}, so no DICOM object can refer to them. "
            "Export the scan again from its source, or write a surface or mask file instead."
        )
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if len(set(values[name])) > 1:
            raise OutputError(
                f"The scan's files differ in {name}: they are not of one series. "
                "Choose one series, or export it again from its source."
            )


def completed(headers: Sequence[Any]) -> list[Any]:
    """Copies of headers whose patient and study can be taken over into a valid object.

    Files that were anonymised often lack elements that must be there (MAY_BE_EMPTY), or have words
    in place of codes. Patient's Sex is cut to its code or left empty, an age in no valid form left
    out, and where identity is said to be removed and not how, that is said (PS3.3, C.7.1.1).
    """
    result = []
    for header in headers:
        whole = copy.deepcopy(header)
        for name in MAY_BE_EMPTY:
            if name not in whole:
                setattr(whole, name, None)
        sex = str(whole.PatientSex or "").strip().upper()[:1]
        whole.PatientSex = sex if sex in _SEXES else None
        if not re.fullmatch(r"\d{3}[DWMY]", str(whole.get("PatientAge") or "")):
            whole.pop("PatientAge", None)
        removed = str(whole.get("PatientIdentityRemoved") or "").strip().upper() == "YES"
        if removed and not any(whole.get(name) for name in _HOW_REMOVED):
            whole.DeidentificationMethod = "NOT STATED"
        result.append(whole)
    return result


def on_slices(mask: NDArray[np.uint8], places: Sequence[float]) -> NDArray[np.uint8]:
    """A mask on the slices that its scan was read from.

    ``mask``: (k, j, i), 0 and 1, on the scan's regular grid. ``places``: for each slice its place
    along k, fractional where uneven slices were resampled; NaN for a slice that is not of the scan,
    which stays empty. Between two slices of the grid the mask is interpolated linearly and cut at
    one half. Returns (n, j, i) uint8, 0 and 1.
    """
    result = np.zeros((len(places), *mask.shape[1:]), np.uint8)
    for number, place in enumerate(places):
        if np.isnan(place):
            continue
        place = min(max(place, 0.0), len(mask) - 1.0)
        low = min(int(place), len(mask) - 1)
        share = place - low
        if share < 1e-3:
            result[number] = mask[low]
        elif share > 1 - 1e-3:
            result[number] = mask[low + 1]
        else:
            mixed = (1 - share) * mask[low].astype(np.float32) + share * mask[low + 1]
            result[number] = mixed >= 0.5
    return result
