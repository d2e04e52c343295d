"""What every other part of SkinSeg shares. Imports none of them."""

from .about import NOTICE, versions
from .boxes import Box, bounding_box
from .distance import components, distance_to, largest_component
from .errors import (
    AlikeError,
    Cancelled,
    GeometryError,
    LabelError,
    LayerTooThinError,
    MissingPackageError,
    ModelError,
    OutputError,
    PrivacyError,
    ScanReadError,
    SceneError,
    SegmentationError,
    ServerError,
    SkinSegError,
    SurfaceError,
    WorkerError,
    lacks_memory,
)
from .files import (
    Replacements,
    cannot_write,
    replacing,
    replacing_together,
    require_writable,
)
from .geometry import LPS_RAS, checked_matrix, spacing_of, transform_points
from .logs import failure_text, header_texts_unsaid
from .processes import is_running
from .progress import Progress
from .resources import resource_path
from .temporary import is_temporary
from .threads import at_most, beside, cores, in_pieces
from .types import (
    FACES,
    CTVolume,
    Finding,
    FindingKind,
    SkinMask,
    SkinMesh,
    as_hounsfield,
    severest_first,
)

__all__ = [
    "FACES",
    "LPS_RAS",
    "NOTICE",
    "AlikeError",
    "Box",
    "CTVolume",
    "Cancelled",
    "Finding",
    "FindingKind",
    "GeometryError",
    "LabelError",
    "LayerTooThinError",
    "MissingPackageError",
    "ModelError",
    "OutputError",
    "PrivacyError",
    "Progress",
    "Replacements",
    "ScanReadError",
    "SceneError",
    "SegmentationError",
    "ServerError",
    "SkinMask",
    "SkinMesh",
    "SkinSegError",
    "SurfaceError",
    "WorkerError",
    "as_hounsfield",
    "at_most",
    "beside",
    "bounding_box",
    "cannot_write",
    "checked_matrix",
    "components",
    "cores",
    "distance_to",
    "failure_text",
    "header_texts_unsaid",
    "in_pieces",
    "is_running",
    "is_temporary",
    "lacks_memory",
    "largest_component",
    "replacing",
    "replacing_together",
    "require_writable",
    "resource_path",
    "severest_first",
    "spacing_of",
    "transform_points",
    "versions",
]
