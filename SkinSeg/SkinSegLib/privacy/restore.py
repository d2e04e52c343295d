"""The removed face put back, from the file that was kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core import PrivacyError, Progress, SkinSegError, replacing_together
from ..scan import read
from ..scan.dicom_header import read_dataset
from ..scan.images import image_suffix
from .deface import DefaceOptions
from .deface_files import (
    VISUAL,
    DefaceJob,
    alone,
    check_target,
    made_folder,
    read_image,
    save_image,
)
from .objects import as_file
from .pixels import frames_of, set_frames
from .pseudonyms import random_pseudonyms
from .side_file import SideFile


def restore(source: Path, side: Path, passphrase: str, target: Path, progress: Progress) -> int:
    """Put the face back: ``source`` as ``deface_scan`` wrote it, ``side`` what it kept.

    The voxels become what they were, bit for bit; headers stay those of ``source``, with new UIDs.
    Returns the number of files written, all or none. Raises PrivacyError, ScanReadError,
    OutputError, Cancelled.
    """
    kept = SideFile.load(side, passphrase)
    suffix = image_suffix(source)
    check_target(DefaceJob(source, target, DefaceOptions()), suffix)
    if suffix is not None:
        if "" not in kept.pieces:
            raise _other_scan()
        with progress.stage("Restore", 1.0), replacing_together() as files:
            volume = read(source)  # first: it tells in words why a file cannot be read
            image, array = read_image(source, suffix)
            old = kept.put_back("", array)
            save_image(image, old, target, suffix, files, volume, bare=False)
            progress.finish()
        return 1
    if not source.is_dir():
        raise PrivacyError(f"There is no folder {source}. Check its name.")
    paths, found = sorted(source.glob("*.dcm")), set()
    for path in paths:
        with _damage_told(path):
            header = read_dataset(path, stop_before_pixels=True)
            found.add(str(header.get("SOPInstanceUID", "")))
    if not paths or kept.pieces.keys() != found:
        raise _other_scan()
    with progress.stage("Restore", 1.0), made_folder(target), replacing_together() as files:
        names = random_pseudonyms()
        for number, path in enumerate(paths):
            progress.update(number / len(paths))
            with _damage_told(path):
                dataset = read_dataset(path)
                left = alone(frames_of(dataset))
            old = kept.put_back(str(dataset.SOPInstanceUID), left)
            set_frames(dataset, old)
            _undone(dataset, names.uid)
            with files.add(target / f"{dataset.SOPInstanceUID}.dcm") as temporary:
                temporary.write_bytes(as_file(dataset))
        progress.finish()
    return len(paths)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Whatever reading a file raises, told in words."""
    try:
        yield
    except (SkinSegError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever they like
        raise PrivacyError(
            f"{path.name} is damaged. Give the defaced scan as it was written."
        ) from error


def _undone(dataset: Any, new: Callable[[str], str]) -> None:
    """The header no longer says that the face is gone."""
    dataset.SOPInstanceUID = new(f"instance {dataset.SOPInstanceUID}")
    dataset.SeriesInstanceUID = new(f"series {dataset.SeriesInstanceUID}")
    dataset.RecognizableVisualFeatures = "YES"
    dataset.DerivationDescription = "Removed face put back"
    if "DeidentificationMethodCodeSequence" in dataset:
        from pydicom.sr.codedict import codes

        code = getattr(codes.cid7050, VISUAL).value
        items = dataset.DeidentificationMethodCodeSequence
        dataset.DeidentificationMethodCodeSequence = [i for i in items if i.CodeValue != code]


def _other_scan() -> PrivacyError:
    return PrivacyError("The removed face belongs to another scan. Give the one it came from.")
