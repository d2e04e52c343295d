"""Messages about a scan without the names of its files, which are often patients'."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

#: Names of files and folders that name nobody; our messages need these words.
_COMMON = {
    *("scan", "scans", "head", "heads", "dicom", "series", "study", "volume", "volumes", "image"),
    *("images", "slice", "slices", "data", "file", "files", "folder", "patient", "patients"),
    *("nrrd", "nifti", "skin", "mask", "voxels", "test", "demo", "the"),
}
_SHORTEST = 3
_HIDDEN = (
    "The message names files, so it is not shown here. See it with skinseg info on the scan itself "
    "(--map tells which one it is)."
)


def without_names(text: str, files: Iterable[Path], root: Path) -> str:
    """A message about a scan, in which paths read "the scan".

    ``files``: the scan's; ``root``: the archive's folder. Where a name of them is left all the
    same, the whole message is held back: better to know too little than to tell who it was.
    """
    paths = list(files)
    for path in sorted({*paths, *(p.parent for p in paths)}, key=lambda p: -len(str(p))):
        for name in {str(path), str(path.resolve())}:
            text = text.replace(name, "the scan")
    if re.search(r"the scan[/\\]", text):  # a file beside it
        return _HIDDEN
    words = {
        word.lower()
        for path in paths
        for part in (*path.relative_to(root).parts, str(root))
        for word in (part, Path(part).stem, part.partition(".")[0], *re.split(r"[\W_]+", part))
        if len(word) >= _SHORTEST
    }
    low = text.lower()
    if any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", low) for word in words - _COMMON):
        return _HIDDEN
    return text[:1].upper() + text[1:]
