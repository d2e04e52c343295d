"""Small scans with two markers, written by means that owe nothing to the readers under test."""

from __future__ import annotations

import io
import plistlib
import struct
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

NAME = "Doe^Secret"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
#: (i, j, k) and HU of the two markers; no symmetry of the grid maps one to the other.
BRIGHT, BRIGHT_HU = (2, 5, 1), 1500
DIM, DIM_HU = (8, 3, 4), 700


def rotation(degrees: float, axis: tuple[float, float, float]) -> np.ndarray:
    """Rodrigues' rotation matrix."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + s * cross + (1 - c) * cross @ cross


@dataclass(frozen=True)
class Grid:
    """A grid in LPS. ``axes``: unit directions of i, j, k as columns."""

    axes: np.ndarray = field(default_factory=lambda: np.eye(3))
    spacing: tuple[float, float, float] = (0.7, 0.9, 2.5)
    origin: tuple[float, float, float] = (-31.0, 17.0, 503.0)
    shape: tuple[int, int, int] = (6, 9, 11)

    def lps(self, ijk: tuple[float, float, float]) -> np.ndarray:
        return np.array(self.origin) + self.axes @ (np.array(self.spacing) * ijk)

    def ras(self, ijk: tuple[float, float, float]) -> np.ndarray:
        return self.lps(ijk) * [-1, -1, 1]


GRIDS = {
    "axial": Grid(),
    "oblique": Grid(axes=rotation(37, (1, 2, 3))),
    "negative": Grid(axes=np.diag([-1.0, 1.0, -1.0])),
    "left-handed": Grid(axes=np.diag([1.0, -1.0, 1.0])),
    "left-handed oblique": Grid(axes=rotation(-52, (3, 1, -1)) @ np.diag([1.0, 1.0, -1.0])),
    "coronal": Grid(axes=np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])),
}


def marked(grid: Grid, dtype: Any = np.int16) -> np.ndarray:
    """Air at -1000 with a little structure, and the two markers; (k, j, i) HU."""
    k, j, i = np.indices(grid.shape)
    voxels = (-1000 + (3 * i + 5 * j + 7 * k) % 11).astype(dtype)
    for (mi, mj, mk), value in ((BRIGHT, BRIGHT_HU), (DIM, DIM_HU)):
        if mk < grid.shape[0]:
            voxels[mk, mj, mi] = value
    return voxels


def assert_markers(volume: Any, grid: Grid, atol: float = 1e-3) -> None:
    """Each marker's grey value lies at the RAS point where it was put, and nowhere else."""
    for ijk, value in ((BRIGHT, BRIGHT_HU), (DIM, DIM_HU)):
        if ijk[2] >= grid.shape[0]:
            continue
        found = np.argwhere(np.abs(volume.voxels.astype(float) - value) < 0.6)
        assert len(found) == 1, f"{value} HU found {len(found)} times"
        point = volume.ijk_to_ras @ [*found[0][::-1], 1]
        np.testing.assert_allclose(point[:3], grid.ras(ijk), atol=atol)


def dicom_slice(
    pixels: np.ndarray, position: Any, axes: np.ndarray, spacing: Any, **changes: Any
) -> FileDataset:
    """One CT slice; ``changes`` set or (None) remove elements. 16 bit, sign as in ``pixels``."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = changes.pop("syntax", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = UID(changes.get("SOPClassUID", CT_IMAGE))
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = CT_IMAGE
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID = NAME, "S3cretID"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    data.Modality, data.SeriesNumber = "CT", 4
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.ImagePositionPatient = [f"{value:.8g}" for value in position]
    data.ImageOrientationPatient = [f"{value:.9g}" for value in [*axes[:, 0], *axes[:, 1]]]
    data.PixelSpacing = [spacing[1], spacing[0]]  # between rows first
    data.SliceThickness = spacing[2]
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    set_pixels(data, pixels)
    for name, value in changes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def save(data: FileDataset, path: Path) -> None:
    """As a DICOM file with its preamble, whatever pydicom's generation."""
    if hasattr(pydicom, "pixels"):
        data.save_as(path, enforce_file_format=True)
        return
    syntax = data.file_meta.TransferSyntaxUID  # pydicom 2.4
    data.is_little_endian, data.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    data.save_as(path, write_like_original=False)


def jpeg_2000(data: FileDataset) -> None:
    """Compress the pixels of one slice without loss (pydicom 2.4 has no encoder of its own)."""
    from openjpeg.utils import encode_array

    code = encode_array(data.pixel_array, bits_stored=data.BitsStored, photometric_interpretation=2)
    data.PixelData = encapsulate([code])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless


def set_pixels(data: Dataset, pixels: np.ndarray, stored: int = 16) -> None:
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, stored, stored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    data["PixelData"].VR = "OW"


def write_dicom(
    folder: Path, grid: Grid, voxels: np.ndarray, places: Any = None, **changes: Any
) -> list[Path]:
    """A series whose file names and instance numbers tell nothing about the order of slices.

    ``places``: position of each slice along k in units of the slice spacing, default 0, 1, 2...
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = range(len(voxels)) if places is None else places
    shuffled = np.random.default_rng(5).permutation(len(voxels))
    paths = []
    for number, (place, pixels) in enumerate(zip(places, voxels, strict=True)):
        data = dicom_slice(pixels, grid.lps((0, 0, place)), grid.axes, grid.spacing, **changes)
        data.InstanceNumber = int(shuffled[-1 - number]) + 1
        path = folder / f"IM{shuffled[number]:04d}"
        save(data, path)
        paths.append(path)
    return paths


def write_enhanced(path: Path, grid: Grid, voxels: np.ndarray, **changes: Any) -> None:
    """An Enhanced CT with frames in a shuffled order and rescale values per frame."""
    order = np.random.default_rng(3).permutation(len(voxels))
    stored = np.stack([voxels[k] - (10 * k - 1000) for k in order]).astype(np.int16)
    data = dicom_slice(stored, (0, 0, 0), grid.axes, grid.spacing, SOPClassUID=ENHANCED_CT)
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(data, name)
    data.NumberOfFrames = len(voxels)
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [grid.spacing[1], grid.spacing[0]], 1
    plane.ImageOrientationPatient = [f"{v:.9g}" for v in [*grid.axes[:, 0], *grid.axes[:, 1]]]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([plane])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in order:
        place, rescale, own = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [f"{value:.8g}" for value in grid.lps((0, 0, k))]
        rescale.RescaleSlope, rescale.RescaleIntercept = 1, 10 * int(k) - 1000
        own.PlanePositionSequence = Sequence([place])
        own.PixelValueTransformationSequence = Sequence([rescale])
        frames.append(own)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for name, value in changes.items():
        setattr(data, name, value)
    save(data, path)


def write_nifti(path: Path, grid: Grid, voxels: np.ndarray, **changes: Any) -> None:
    """A NIfTI-1 file by hand (nifti1.h): sform in RAS, no qform."""
    codes = {"int16": 4, "float32": 16, "uint16": 512, "uint8": 2}
    header = bytearray(352)
    nk, nj, ni = voxels.shape
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, ni, nj, nk, 1, 1, 1, 1)
    kind = (codes[str(voxels.dtype)], 8 * voxels.dtype.itemsize)
    struct.pack_into("<2h", header, 70, *kind)
    struct.pack_into("<8f", header, 76, 1, *changes.get("pixdim", grid.spacing), 0, 0, 0, 0)
    slope, intercept = changes.get("scale", (1.0, 0.0))
    struct.pack_into("<3f", header, 108, 352, slope, intercept)
    header[123] = 2  # mm
    struct.pack_into("<2h", header, 252, 0, changes.get("sform_code", 1))
    matrix = np.diag([-1.0, -1, 1]) @ np.column_stack(
        [grid.axes * np.array(grid.spacing), np.array(grid.origin)]
    )
    struct.pack_into("<12f", header, 280, *changes.get("sform", matrix).ravel())
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + voxels.tobytes())


def write_nrrd(path: Path, grid: Grid, voxels: np.ndarray, space: str, *extra: str) -> None:
    """A NRRD by hand, its axes in the space asked for."""
    flips = {"RAS": (-1, -1, 1), "LAS": (1, -1, 1), "LPS": (1, 1, 1)}
    full = {"right-anterior-superior": "RAS", "left-posterior-superior": "LPS"}
    flip = np.array(flips[full.get(space, space)])
    columns = (flip[:, None] * grid.axes * np.array(grid.spacing)).T
    nk, nj, ni = voxels.shape
    lines = [
        "NRRD0005",
        f"type: {voxels.dtype}",
        "dimension: 3",
        f"sizes: {ni} {nj} {nk}",
        "encoding: raw",
        "endian: little",
        f"space: {space}",
        "space directions: " + " ".join(f"({x:.17g},{y:.17g},{z:.17g})" for x, y, z in columns),
        "space origin: ({:.17g},{:.17g},{:.17g})".format(*(flip * np.array(grid.origin))),
        *extra,
    ]
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + voxels.tobytes())


def write_inv3(path: Path, voxels: np.ndarray, spacing: Any, **changes: Any) -> None:
    """An InVesalius project that holds ``voxels`` as they are; ``changes`` go into its plist."""
    project = {
        "format_version": 1,
        "invesalius_version": "3.1",
        "name": NAME,
        "modality": "CT",
        "orientation": 1,
        "spacing": [float(value) for value in spacing],
        "matrix": {
            "filename": "matrix.dat",
            "shape": list(voxels.shape),
            "dtype": str(voxels.dtype),
        },
        **changes,
    }
    mode = "w:gz" if changes.get("compress", True) else "w"
    with tarfile.open(path, mode) as archive:
        for name, content in (
            ("matrix.dat", voxels.tobytes()),
            ("main.plist", plistlib.dumps(project)),
        ):
            item = tarfile.TarInfo(f"tmp123/{name}")
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))


def load(path: Path) -> FileDataset:
    return pydicom.dcmread(path)
