"""What kind of label a file or folder is, by its content."""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from enum import StrEnum
from pathlib import Path

from SkinSegLib.core import ScanReadError
from SkinSegLib.scan.dicom_files import files_below
from SkinSegLib.scan.images import image_suffix


class Kind(StrEnum):
    """Kinds of labels; the value is what the command calls them."""

    SEGMENTS = "seg.nrrd"
    LABELMAP = "labelmap"
    DICOM_SEG = "dicom-seg"
    RTSTRUCT = "rtstruct"
    LABELME = "labelme"
    PNG = "png"
    INVESALIUS = "inv3"


#: Endings that SimpleITK's readers are chosen by, for each beginning of a file.
_ENDINGS = {
    "NRRD": (".nrrd", ".nhdr"),
    "NIfTI": (".nii", ".nii.gz"),
    "MetaImage": (".mha", ".mhd"),
}
_ALL = (
    "a Slicer segmentation (.seg.nrrd), NRRD, NIfTI or MetaImage labelmap, DICOM Segmentation, "
    "RT Structure Set, folder of labelme JSON files or of PNG slices, or InVesalius project (.inv3)"
)


def recognised(path: Path) -> tuple[Kind, Path]:
    """The kind of a label, and the file or folder that holds it (in a folder, its DICOM object).

    Raises ScanReadError for anything else, and where a folder holds several DICOM labels.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise ScanReadError(f"{path} does not exist. Check the path.")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
        return _file(path, head), path
    except OSError as error:
        raise ScanReadError(
            f"{path} cannot be read ({error.strerror or 'input error'}). Check its permissions."
        ) from error


def _file(path: Path, head: bytes) -> Kind:
    if not head:
        raise ScanReadError(f"{path} is empty. Copy or download it again.")
    if head[128:132] == b"DICM":
        return _dicom(path)
    if head.startswith(b"\x89PNG"):
        raise ScanReadError(f"{path} is one slice. Give the folder with all of them.")
    image = _image(head)
    if image is None and head[:2] == b"\x1f\x8b":
        image = "NIfTI" if _nifti(_unpacked(path)) else None
        if image is None and tarfile.is_tarfile(path):
            return Kind.INVESALIUS
    if image is not None:
        if image_suffix(path) not in _ENDINGS[image]:
            raise ScanReadError(
                f"{path} holds {image}, and its name says otherwise. "
                f"Rename it to end in {' or '.join(_ENDINGS[image])}."
            )
        named = path.name.lower().endswith((".seg.nrrd", ".seg.nhdr"))
        return Kind.SEGMENTS if named or b"Segment0_ID" in _header(path) else Kind.LABELMAP
    if head[257:262] == b"ustar" or tarfile.is_tarfile(path):
        return Kind.INVESALIUS
    if head.lstrip()[:1] == b"{":
        raise ScanReadError(
            f"{path} may be one slice of labelme. Give the folder with the files of all slices."
        )
    if image_suffix(path) is not None:
        raise ScanReadError(f"{path} is damaged, or not what its name says. Copy it again.")
    raise ScanReadError(f"{path} is no label of a kind that can be read. Give {_ALL}.")


def _header(path: Path) -> bytes:
    """As much of a file as a NRRD header needs to name its first segment."""
    with open(path, "rb") as file:
        return file.read(1 << 16).partition(b"\n\n")[0]


def _image(head: bytes) -> str | None:
    if head.startswith(b"NRRD000"):
        return "NRRD"
    if _nifti(head):
        return "NIfTI"
    return "MetaImage" if head.startswith((b"ObjectType", b"NDims")) else None


def _nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def _unpacked(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(512)
    except (OSError, EOFError, zlib.error):
        return b""


def _dicom(path: Path) -> Kind:
    from SkinSegLib.dicom.label_objects import SEGMENTATIONS, STRUCTURE_SET

    kind = _sop_class(path)
    if kind in SEGMENTATIONS:
        return Kind.DICOM_SEG
    if kind == STRUCTURE_SET:
        return Kind.RTSTRUCT
    raise ScanReadError(
        f"{path} is DICOM, but neither a Segmentation nor an RT Structure Set. Choose another file."
    )


def _sop_class(path: Path) -> str:
    from pydicom.filereader import read_file_meta_info

    from SkinSegLib.core import header_texts_unsaid

    with header_texts_unsaid():
        try:
            return str(read_file_meta_info(path).get("MediaStorageSOPClassUID", ""))
        except OSError:
            raise
        except Exception:  # a header may be damaged in any way; then it is no label
            return ""


def _folder(path: Path) -> tuple[Kind, Path]:
    from SkinSegLib.dicom.label_objects import SEGMENTATIONS, STRUCTURE_SET

    if any(is_labelme(file) for file in sorted(path.glob("*.json"))):
        return Kind.LABELME, path
    if any(path.glob("*.png")) or any(path.glob("*.PNG")):
        return Kind.PNG, path
    found = [
        (Kind.RTSTRUCT if kind == STRUCTURE_SET else Kind.DICOM_SEG, file)
        for file in files_below(path)
        if (kind := _sop_class(file)) in (*SEGMENTATIONS, STRUCTURE_SET)
    ]
    if len(found) > 1:
        raise ScanReadError(
            f"{path} holds {len(found)} DICOM Segmentations or structure sets. Give one file."
        )
    if not found:
        raise ScanReadError(f"{path} holds no label. Give {_ALL}.")
    return found[0]


def is_labelme(path: Path) -> bool:
    """Whether a JSON file is one of labelme's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get("shapes"), list)
