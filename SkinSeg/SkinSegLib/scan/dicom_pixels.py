"""Pixels of DICOM slices as HU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import MissingPackageError, Progress, ScanReadError
from .dicom_codes import require_sizes
from .dicom_header import Frame, read_dataset
from .dicom_stack import Stack

_PACKAGES = "pylibjpeg[openjpeg,libjpeg,rle]"
#: A series of more voxels is refused: as float32 it would take 8 GB.
MAX_VOXELS = 2**31
#: No lossless code of a CT slice is this much smaller than its pixels.
_LARGEST_RATIO = 2000


def no_decoder(syntax: str) -> str:
    """The message where nothing can decompress a transfer syntax of this name."""
    return (
        f"The scan is compressed ({syntax}) and nothing here can decompress it. "
        f'Install the decoders with: pip install "{_PACKAGES}"'
    )


def decodable(frame: Frame) -> bool:
    """Whether the pixels of a file can be decoded here, going by its transfer syntax."""
    from pydicom.uid import UID

    syntax = UID(frame.details.syntax)
    try:
        if not syntax.is_compressed:
            return True
    except ValueError:  # no transfer syntax; pydicom then takes it for the default one
        return True
    if _pydicom_decodes(syntax):
        return True
    return frame.index is None and importlib.util.find_spec("SimpleITK") is not None


def slices(
    stack: Stack, progress: Progress | None = None
) -> tuple[NDArray[Any], tuple[float, ...]]:
    """HU of all slices in the stack's order, (n, j, i), and the padding values the files declare.

    int16 while every slice's rescale slope and intercept are whole and the values fit, else
    float32. Voxels that the files call padding all hold the one value returned.

    Raises MissingPackageError if nothing here can decompress the files, ScanReadError if a slice
    is damaged.
    """
    frames = stack.frames
    rows, columns = frames[0].shape
    _require_plausible(frames)
    whole = all(frame.slope.is_integer() and frame.intercept.is_integer() for frame in frames)
    voxels: NDArray[Any] = np.empty(
        (len(frames), rows, columns), dtype=np.int16 if whole else np.float32
    )
    padding: float | None = None
    for number, (frame, stored, padded) in enumerate(_stored(frames)):
        if progress is not None:
            progress.update(0.5 + 0.45 * number / len(frames))
        if stored.shape != (rows, columns):
            raise _damaged(number, len(frames))
        values: NDArray[Any] = stored
        if (frame.slope, frame.intercept) != (1.0, 0.0):
            kind = int if whole else float
            values = stored.astype(np.int64 if whole else np.float64)
            values = values * kind(frame.slope) + kind(frame.intercept)
        if padded is not None:
            if padding is None:
                # Padding is often the lowest stored number: after rescaling it need not fit int16.
                padding = min(max(float(values[padded][0]), -32768.0), 32767.0)
            values = np.where(padded, np.asarray(padding, values.dtype), values)
        if voxels.dtype == np.int16 and (values.min() < -32768 or values.max() > 32767):
            voxels = voxels.astype(np.float32)
        voxels[number] = values
    return voxels, () if padding is None else (padding,)


def _require_plausible(frames: tuple[Frame, ...]) -> None:
    """Before memory is taken for what headers claim: the files must be large enough to hold it."""
    rows, columns = frames[0].shape
    voxels = len(frames) * rows * columns
    held = sum(path.stat().st_size for path in {frame.path for frame in frames})
    if voxels > MAX_VOXELS:
        raise ScanReadError(
            f"The series claims {len(frames)} slices of {columns} x {rows}, more than can be read "
            f"({MAX_VOXELS / 1e9:.1f} billion voxels). Export it at a lower resolution."
        )
    if voxels > _LARGEST_RATIO * held:
        raise ScanReadError(
            f"The series claims {len(frames)} slices of {columns} x {rows}, which its files are "
            "too small to hold. Copy or export it again."
        )


def interpolated(
    voxels: NDArray[Any], source: NDArray[np.float64], padding: tuple[float, ...]
) -> NDArray[Any]:
    """Slices at fractional places between slices, linear; in-plane nothing changes.

    ``voxels``: (n, j, i); ``source``: (m,) in 0..n-1. Where either neighbour is padding the nearer
    one is taken, since there is nothing to mix.
    """
    result = np.empty((len(source), *voxels.shape[1:]), dtype=voxels.dtype)
    for number, place in enumerate(source):
        low = min(int(np.floor(place)), len(voxels) - 1)
        share = float(place - low)
        if share == 0.0:
            result[number] = voxels[low]
            continue
        a, b = voxels[low], voxels[low + 1]
        mixed = a * np.float32(1 - share) + b * np.float32(share)
        if voxels.dtype == np.int16:
            mixed = np.rint(mixed)
        for value in padding:
            mixed = np.where((a == value) | (b == value), a if share < 0.5 else b, mixed)
        result[number] = mixed
    return result


def _stored(
    frames: tuple[Frame, ...],
) -> Iterator[tuple[Frame, NDArray[Any], NDArray[np.bool_] | None]]:
    """Each frame with its stored values (j, i) and where they are padding (None: nowhere)."""
    opened: Path | None = None
    dataset: Any = None
    pixels: NDArray[Any] | None = None
    for number, frame in enumerate(frames):
        if frame.path != opened:
            try:
                dataset = read_dataset(frame.path)
                pixels = _decoded(dataset, frame)
            except (MissingPackageError, ScanReadError):
                raise
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                # Decoders raise whatever they like for damaged data; a panic of the one for RLE,
                # which is written in Rust, is no Exception.
                raise _damaged(number, len(frames)) from error
            opened = frame.path
        assert pixels is not None
        stored = pixels if frame.index is None else pixels[frame.index]
        padded = _padded(stored, dataset)
        yield frame, stored, padded if padded is not None and padded.any() else None


def _decoded(dataset: Any, frame: Frame) -> NDArray[Any]:
    if "ModalityLUTSequence" in dataset:
        raise ScanReadError(
            "The series keeps its grey values in a lookup table, not in HU. "
            "Export it again as CT images with rescale slope and intercept."
        )
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is not None and syntax.is_encapsulated:
        require_sizes(dataset, frame.shape)
    if syntax is None or not syntax.is_compressed or _pydicom_decodes(syntax):
        pixels = _clean(np.asarray(dataset.pixel_array), dataset)
        if frame.index is not None and pixels.ndim == 2:
            return pixels[None]
        return pixels
    return _decoded_by_gdcm(frame, syntax.name)


def _pydicom_decodes(syntax: Any) -> bool:
    try:
        from pydicom.pixels import get_decoder
    except ImportError:  # pydicom 2.4, which Slicer 5.10 ships
        import pydicom

        handlers = pydicom.config.pixel_data_handlers
        return any(
            handler.is_available() and handler.supports_transfer_syntax(syntax)
            for handler in handlers
        )
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _decoded_by_gdcm(frame: Frame, syntax: str) -> NDArray[Any]:
    """Stored values through SimpleITK, which brings GDCM's decoders (all that Slicer has)."""
    import SimpleITK as sitk

    missing = MissingPackageError(no_decoder(syntax))
    if frame.index is not None or importlib.util.find_spec("SimpleITK") is None:
        raise missing
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(frame.path))
    try:
        hounsfield = sitk.GetArrayFromImage(reader.Execute())[0]
    except RuntimeError as error:
        raise missing from error
    # GDCM applies slope and intercept; the caller expects what the file stores.
    stored = np.rint((hounsfield.astype(np.float64) - frame.intercept) / (frame.slope or 1.0))
    return np.asarray(stored, dtype=np.int32)


def _clean(pixels: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Without what old scanners keep in the unused high bits (overlays)."""
    stored, high = int(dataset.BitsStored), int(dataset.get("HighBit", dataset.BitsStored - 1))
    unused = 8 * pixels.dtype.itemsize - stored
    if pixels.dtype.kind not in "iu" or unused <= 0 or high != stored - 1:
        return pixels
    if pixels.dtype.kind == "u":
        return np.asarray(pixels & pixels.dtype.type((1 << stored) - 1))
    return np.asarray((pixels << unused) >> unused)


def _padded(stored: NDArray[Any], dataset: Any) -> NDArray[np.bool_] | None:
    """Where stored values are Pixel Padding Value or up to its Range Limit (PS3.3, C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [_as_stored(value, dataset)]
    if limit is not None:
        ends.append(_as_stored(limit, dataset))
    if len(ends) == 1:
        return np.asarray(stored == ends[0])
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _as_stored(value: Any, dataset: Any) -> int:
    """A US or SS header value as a number of the pixels' own sign: 63536 means -2000 there."""
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    if int(dataset.get("PixelRepresentation", 0)) == 1:
        return number - 65536 if number > 32767 else number
    return number + 65536 if number < 0 else number


def _damaged(number: int, count: int) -> ScanReadError:
    return ScanReadError(
        f"Slice {number + 1} of {count}, counted from the first along the stack, is damaged or "
        "truncated. Copy or export the series again."
    )
