"""How large a surface is."""

from __future__ import annotations

from dataclasses import dataclass

from ..core import SkinMesh
from .contour import without_unused
from .deviation import area_mm2

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class MeshMeasures:
    """Figures of a closed mesh.

    ``skin_area_cm2``: of the triangles that are skin; ``cut_area_cm2``: of those that are not,
    where the scan, a cut or a hole ends it. ``volume_ml``: enclosed. ``low_ras``, ``high_ras``:
    the smallest and the largest coordinates in RAS mm.
    """

    skin_area_cm2: float
    cut_area_cm2: float
    volume_ml: float
    low_ras: Vector
    high_ras: Vector

    @property
    def size_mm(self) -> Vector:
        """Extent along R, A and S."""
        r, a, s = (high - low for low, high in zip(self.low_ras, self.high_ras, strict=True))
        return r, a, s

    def as_dict(self) -> dict[str, float | list[float]]:
        """The figures for JSON, rounded to what float32 coordinates can say."""
        return {
            "skin_area_cm2": round(self.skin_area_cm2, 3),
            "cut_area_cm2": round(self.cut_area_cm2, 3),
            "volume_ml": round(self.volume_ml, 3),
            "low_ras_mm": [round(value, 3) for value in self.low_ras],
            "high_ras_mm": [round(value, 3) for value in self.high_ras],
            "size_mm": [round(value, 3) for value in self.size_mm],
        }


def measures(mesh: SkinMesh) -> MeshMeasures:
    """Areas, volume and extent of a mesh; vertices that no triangle uses do not count.

    The volume is by the divergence theorem.
    """
    if not len(mesh.triangles):
        zero = (0.0, 0.0, 0.0)
        return MeshMeasures(0.0, 0.0, 0.0, zero, zero)
    used, _ = without_unused(mesh.points, mesh.triangles)
    low, high = used.min(axis=0), used.max(axis=0)
    areas = area_mm2(mesh) / 100.0
    return MeshMeasures(
        skin_area_cm2=float(areas[~mesh.is_cut].sum()),
        cut_area_cm2=float(areas[mesh.is_cut].sum()),
        volume_ml=mesh.volume_ml,
        low_ras=(float(low[0]), float(low[1]), float(low[2])),
        high_ras=(float(high[0]), float(high[1]), float(high[2])),
    )
