"""The child process that :mod:`SkinSegLib.surface.preview` renders in.

``python -m SkinSegLib.surface.preview_child HEIGHT``, with points, triangles, is_cut, label and,
for coloured vertices, rgb, table, range and words as an npz file on standard input, and the PNG on
standard output.
"""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SKIN_RGB = (177, 122, 101)
CUT_RGB = (96, 134, 165)
BACKGROUND_RGB = (255, 255, 255)
TEXT_RGB = (40, 40, 40)

#: Free space around the head in each view, as a share of its largest extent.
_MARGIN = 0.14
#: The strip under each view that holds its title, as a share of the picture's height.
_TITLE = 0.09
#: The strip on the right that holds the scale of colours, as a share of the picture's height.
_SCALE = 0.36


@dataclass(frozen=True)
class View:
    """Where the eye is (seen from the head, RAS), what is up, the letters at the sides."""

    title: str
    eye: tuple[float, float, float]
    up: tuple[float, float, float]
    image_left: str
    image_right: str


VIEWS = (
    View("Front", (0, 1, 0), (0, 0, 1), "R", "L"),
    View("Left", (-1, 0, 0), (0, 0, 1), "A", "P"),
    View("Back", (0, -1, 0), (0, 0, 1), "L", "R"),
    View("Below", (0, 0, -1), (0, 1, 0), "R", "L"),
)


def _polydata(points: NDArray[np.float32], triangles: NDArray[np.int32]) -> Any:
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    coordinates = vtkPoints()
    coordinates.SetData(numpy_to_vtk(np.ascontiguousarray(points), deep=True))
    offsets = np.arange(0, 3 * len(triangles) + 1, 3, dtype=np.int64)
    cells = vtkCellArray()
    cells.SetData(
        numpy_to_vtk(offsets, deep=True),
        numpy_to_vtk(triangles.astype(np.int64).ravel(), deep=True),
    )
    data = vtkPolyData()
    data.SetPoints(coordinates)
    data.SetPolys(cells)
    return data


@dataclass(frozen=True)
class Scale:
    """Colours for the vertices, and the scale that explains them; see preview.VertexColors."""

    rgb: NDArray[np.uint8]
    table: NDArray[np.uint8]
    low: float
    high: float
    title: str
    note: str


def _actor(
    points: NDArray[np.float32],
    triangles: NDArray[np.int32],
    rgb: tuple[int, int, int],
    smooth: bool,
    scale: Scale | None = None,
) -> Any:
    from vtkmodules.vtkFiltersCore import vtkPolyDataNormals
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    normals = vtkPolyDataNormals()
    data = _polydata(points, triangles)
    if scale is not None:
        from vtkmodules.util.numpy_support import numpy_to_vtk

        data.GetPointData().SetScalars(numpy_to_vtk(scale.rgb, deep=True))
    normals.SetInputData(data)
    normals.SetSplitting(not smooth)
    normals.SetConsistency(False)
    mapper = vtkPolyDataMapper()
    mapper.SetInputConnection(normals.GetOutputPort())
    mapper.SetScalarVisibility(scale is not None)
    actor = vtkActor()
    actor.SetMapper(mapper)
    look = actor.GetProperty()
    look.SetColor(*(value / 255 for value in rgb))
    # Colours that mean something must not drown in shadow, or they do not match their scale.
    look.SetAmbient(0.12 if scale is None else 0.45)
    look.SetDiffuse(0.92 if scale is None else 0.55)
    look.SetSpecular(0.08 if scale is None else 0.0)
    look.SetSpecularPower(15)
    return actor


def _text(words: str, x: float, y: float, size: int, align: str) -> Any:
    """Text at (x, y), both shares of its viewport."""
    from vtkmodules.vtkRenderingCore import vtkTextActor

    actor = vtkTextActor()
    actor.SetInput(words)
    place = actor.GetPositionCoordinate()
    place.SetCoordinateSystemToNormalizedViewport()
    place.SetValue(x, y)
    style = actor.GetTextProperty()
    style.SetFontSize(size)
    style.SetColor(*(value / 255 for value in TEXT_RGB))
    style.BoldOn()
    getattr(style, f"SetJustificationTo{align}")()
    style.SetVerticalJustificationToCentered()
    return actor


def render(
    points: NDArray[np.float32],
    triangles: NDArray[np.int32],
    is_cut: NDArray[np.bool_],
    height: int,
    label: str = "",
    scale: Scale | None = None,
) -> bytes:
    """The four views as a PNG; arrays as in SkinMesh (RAS mm), ``height`` in pixels."""
    # These two register VTK's OpenGL and font back ends; without them nothing is drawn.
    import vtkmodules.vtkRenderingFreeType
    import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOImage import vtkPNGWriter
    from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow, vtkWindowToImageFilter

    used = points[np.unique(triangles)]
    low, high = used.min(axis=0), used.max(axis=0)
    center = (low + high) / 2
    extent = float((high - low).max()) * (1 + 2 * _MARGIN)
    actors = [
        _actor(points, triangles[chosen], rgb, smooth, scale if smooth else None)
        for chosen, rgb, smooth in ((~is_cut, SKIN_RGB, True), (is_cut, CUT_RGB, False))
        if chosen.any()
    ]
    title = round(height * _TITLE)
    side = height - title
    window = vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetMultiSamples(0)
    width = side * len(VIEWS) + (0 if scale is None else round(height * _SCALE))
    window.SetSize(width, height)
    for column, view in enumerate(VIEWS):
        renderer = vtkRenderer()
        renderer.SetBackground(*(value / 255 for value in BACKGROUND_RGB))
        renderer.SetViewport(column * side / width, 0, (column + 1) * side / width, 1)
        renderer.UseFXAAOn()
        for actor in actors:
            renderer.AddActor(actor)
        _add_light(renderer, view)
        middle = 0.5 * (1 + title / height)
        size = max(12, round(height * 0.036))
        words = f"{view.title} ({label})" if label else view.title
        renderer.AddActor2D(_text(words, 0.5, 0.5 * title / height, size, "Centered"))
        renderer.AddActor2D(_text(view.image_left, 0.05, middle, size, "Left"))
        renderer.AddActor2D(_text(view.image_right, 0.95, middle, size, "Right"))
        camera = renderer.GetActiveCamera()
        camera.ParallelProjectionOn()
        # The views stand above their titles: the focal point is lower than the head's centre.
        drop = 0.5 * extent * title / side
        focus = center - drop * np.asarray(view.up)
        camera.SetFocalPoint(*focus)
        camera.SetPosition(*(focus + 2 * extent * np.asarray(view.eye)))
        camera.SetViewUp(*view.up)
        camera.SetParallelScale(0.5 * extent * height / side)
        renderer.ResetCameraClippingRange()
        window.AddRenderer(renderer)
    if scale is not None:
        window.AddRenderer(_scale_bar(scale, side * len(VIEWS) / width, height))
    window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGB()
    grab.ReadFrontBufferOff()
    writer = vtkPNGWriter()
    writer.WriteToMemoryOn()
    writer.SetInputConnection(grab.GetOutputPort())
    writer.Write()
    return bytes(vtk_to_numpy(writer.GetResult()))


def _scale_bar(scale: Scale, left: float, height: int) -> Any:
    """A renderer for the strip from ``left`` (a share of the width) on, with the scale."""
    import vtkmodules.vtkRenderingAnnotation
    from vtkmodules.vtkCommonCore import vtkLookupTable
    from vtkmodules.vtkRenderingCore import vtkRenderer

    table = vtkLookupTable()
    table.SetNumberOfTableValues(len(scale.table))
    table.SetTableRange(scale.low, scale.high)
    for n, color in enumerate(scale.table / 255):
        table.SetTableValue(n, (*color, 1.0))
    bar = vtkmodules.vtkRenderingAnnotation.vtkScalarBarActor()
    bar.SetLookupTable(table)
    bar.SetNumberOfLabels(5)
    bar.SetLabelFormat("%g")
    bar.UnconstrainedFontSizeOn()
    bar.SetMaximumNumberOfColors(len(scale.table))
    bar.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    bar.SetPosition(0.12, 0.22)
    bar.SetPosition2(0.5, 0.58)
    size = max(10, round(height * 0.03))
    style = bar.GetLabelTextProperty()
    style.SetFontSize(size)
    style.SetColor(*(value / 255 for value in TEXT_RGB))
    style.ItalicOff()
    style.ShadowOff()
    style.BoldOff()
    renderer = vtkRenderer()
    renderer.SetBackground(*(value / 255 for value in BACKGROUND_RGB))
    renderer.SetViewport(left, 0, 1, 1)
    renderer.AddActor2D(bar)
    renderer.AddActor2D(_text(scale.title, 0.08, 0.9, size, "Left"))
    renderer.AddActor2D(_text(scale.note, 0.08, 0.11, size, "Left"))
    return renderer


def _add_light(renderer: Any, view: View) -> None:
    """A main light above the eye's left shoulder and a weak one from the other side.

    From the eye itself, every slope towards it would look alike and the face flat.
    """
    from vtkmodules.vtkRenderingCore import vtkLight

    eye, up = np.asarray(view.eye, dtype=float), np.asarray(view.up, dtype=float)
    right = np.cross(-eye, up)
    renderer.AutomaticLightCreationOff()
    for direction, strength in (
        (eye - 0.4 * right + 0.5 * up, 0.82),
        (eye + 0.9 * right - 0.1 * up, 0.40),
    ):
        light = vtkLight()
        light.SetLightTypeToSceneLight()
        light.SetPositional(False)
        light.SetFocalPoint(0, 0, 0)
        light.SetPosition(*direction)
        light.SetIntensity(strength)
        renderer.AddLight(light)


def main() -> None:
    """Read the mesh from standard input, write the picture to standard output."""
    # Drivers may print to descriptor 1, which would spoil the picture: they get stderr instead.
    picture_out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    arrays = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    scale = None
    if "rgb" in arrays:
        (low, high), (title, note) = arrays["range"].tolist(), arrays["words"].tolist()
        scale = Scale(arrays["rgb"], arrays["table"], low, high, title, note)
    picture = render(
        arrays["points"],
        arrays["triangles"],
        arrays["is_cut"],
        int(sys.argv[1]),
        str(arrays["label"]),
        scale,
    )
    with picture_out:
        picture_out.write(picture)


if __name__ == "__main__":
    main()
