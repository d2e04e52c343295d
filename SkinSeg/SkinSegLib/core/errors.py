"""Errors that a user can act on, and cancelling, which is not one of them."""

from __future__ import annotations

import errno


class SkinSegError(Exception):
    """Base of every error meant for the user: what is wrong, and what to do next.

    Messages name the file or node and never a patient's name, ID or date.
    """


class ScanReadError(SkinSegError):
    """A scan cannot be read, or what was read is no single 3D CT volume."""


class GeometryError(SkinSegError):
    """A grid has no usable geometry (zero spacing, singular or non-finite matrix)."""


class SegmentationError(SkinSegError):
    """No patient can be found in a scan that was read properly."""


class ModelError(SegmentationError):
    """A model is missing, altered, no model of ours, or one that cannot be used."""


class LabelError(SkinSegError):
    """A label was read, and is not the solid head of the scan that it was given for."""


class SurfaceError(SkinSegError):
    """No closed surface can be made from a mask."""


class LayerTooThinError(SurfaceError):
    """The scan's voxels are too coarse for a shell of the thickness that was asked for."""


class OutputError(SkinSegError):
    """A result cannot be written, or what was written does not read back as it should."""


class MissingPackageError(SkinSegError):
    """An optional package is needed for what was asked; the message says how to get it."""


class SceneError(SkinSegError):
    """A Slicer node lacks something that the job needs (image data, parent, scene)."""


class WorkerError(SkinSegError):
    """The child process that computes ended, hung or said nonsense; the next run starts another."""


class PrivacyError(SkinSegError):
    """What was asked for would not protect the patient, or a key or passphrase does not fit."""


class AlikeError(SkinSegError):
    """A scan that looks like one of the data set; whoever adds it can say that it is another."""


class ServerError(SkinSegError):
    """A server cannot be reached, cannot be trusted, refuses, or answers what it should not."""


class Cancelled(Exception):
    """The user cancelled. Deliberately no SkinSegError: it is not reported as a failure."""


#: What libraries and the system say of too little memory where they have no MemoryError for it.
_NO_MEMORY = (
    *("cannot allocate memory", "can't allocate memory", "failed to map segment"),
    *("can't start new thread", "bad_alloc", "bad allocation", "failed to allocate memory"),
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error comes of too little memory, whatever its kind."""
    if isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno == errno.ENOMEM
    ):
        return True
    said = str(error).lower()
    return isinstance(error, ImportError | RuntimeError) and any(w in said for w in _NO_MEMORY)
