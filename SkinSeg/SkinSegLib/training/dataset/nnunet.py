"""A data set in the raw layout of nnU-Net v2 (its documentation/dataset_format.md)."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path

from SkinSegLib.core import OutputError, SkinSegError

from .folder import CaseFolder

_NAME = "SkinSeg"


def to_nnunet(cases: CaseFolder, raw: Path, number: int = 501) -> Path:
    """Copy the labelled cases to ``raw``/DatasetNNN_SkinSeg and return that folder.

    ``raw``: what $nnUNet_raw names. ``number``: 1 to 999. Files are linked where the disk allows.
    Raises OutputError where a data set of that number is there or it cannot be written,
    SkinSegError without training cases or for an impossible number. Nothing is left of a failure.
    """
    if not 1 <= number <= 999:
        raise SkinSegError("nnU-Net numbers its data sets from 1 to 999. Choose another number.")
    taken = [p.name for p in raw.glob(f"Dataset{number:03}_*")] if raw.is_dir() else []
    if taken:
        raise OutputError(f"{raw} holds {taken[0]} already. Choose another number with --id.")
    records = cases.records()
    train = [record for record in records if record.split == "train"]
    if not train:
        raise SkinSegError("The data set has no cases for training. Add some first.")
    name = f"Dataset{number:03}_{_NAME}"
    draft = raw / f".{name}-{secrets.token_hex(4)}"
    try:
        with cases.locked():
            for record in records:
                if record.labelled:
                    _link(cases.folder / record.image, draft, "_0000")
                    _link(cases.folder / record.label, draft, "")
        index = {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, "head": 1},
            "numTraining": len(train),
            "file_ending": ".nii.gz",
            "name": _NAME,
        }
        (draft / "dataset.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        draft.rename(raw / name)
    except OSError as error:
        raise OutputError(
            f"The data set cannot be written to {raw} ({error.strerror}). Choose another folder."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return raw / name


def _link(source: Path, draft: Path, channel: str) -> None:
    name = source.name.removesuffix(".nii.gz")
    target = draft / source.parent.name / f"{name}{channel}.nii.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
