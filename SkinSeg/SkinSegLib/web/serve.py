"""The server's side of MONAI Label: a scan file in, a mask file and figures out.

What MONAI Label itself needs around it is in ``Resources/MONAILabel/skinseg``.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ..core import SkinSegError
from ..scan import read
from ..segmentation import SegmentOptions, segment
from ..segmentation.labelmap import FORMATS, write_labelmap

#: Names and values of what is in the mask.
LABELS = {"Head": 1}


def options_of(conf: dict[str, str]) -> SegmentOptions:
    """From ``--conf engine|model|device VALUE`` of ``monailabel start_server``.

    Raises SkinSegError for a value that is none.
    """
    chosen = {key: conf[key] for key in ("engine", "model", "device") if conf.get(key)}
    return SegmentOptions(**chosen)  # type: ignore[arg-type]


def infer(image: Path, extension: str, options: SegmentOptions) -> tuple[Path, dict[str, Any]]:
    """Segment the scan at ``image``, a file or a DICOM folder.

    Returns a new temporary labelmap (1: head) on the scan's own grid, which the caller removes, and
    figures for the client. ``extension``: of FORMATS; another one stands for .nrrd. Raises
    SkinSegError, without the file's name.
    """
    try:
        volume = read(image)
        mask = segment(volume, options)
        ending = extension if extension in FORMATS else ".nrrd"
        handle, name = tempfile.mkstemp(prefix="skinseg-", suffix=ending)
        os.close(handle)
        try:
            write_labelmap(mask.voxels, mask.ijk_to_ras, name)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except SkinSegError as error:
        raise type(error)(str(error).replace(str(image), "The scan")) from error
    return Path(name), {
        "label_names": dict(LABELS),
        "engine": mask.engine,
        "level_hu": round(mask.level_hu, 1),
        "volume_ml": round(mask.volume_ml, 1),
        "findings": [str(finding.kind) for finding in mask.findings],
        "latencies": {name: round(took, 2) for name, took in mask.seconds.items()},
    }
