"""Edit: Slicer's segment editor with what serves here, a brush that paints only tissue."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from ..core import SceneError
from ..mrml import HEAD
from ..mrml.editing import EFFECTS, IntensityRanges, StrokeFiller, editor_node
from ..mrml.jobs import MendJob, OutlineJob, RemeshJob
from ..mrml.layers import LayerJob
from ..mrml.outline import hide_level, show_level
from ..mrml.rebuild import scan_of
from .panel import Panel, failure_message, show_text
from .scan_section import ScanSection

#: How long nothing must have been edited before our surface is made again.
IDLE_MS = 1500
#: How long the level slider must rest before its outline is drawn.
_SLIDER_MS = 150
#: How far the slider goes either way.
_SLIDER_HU = 600
#: Range of the parameter.
_LOWEST, _HIGHEST = -100000.0, 100000.0
#: Radius of "Smooth here".
SMOOTH_MM = 10.0


class EditSection:
    """The editor, the range of its brush, the level, and one-click edits."""

    def __init__(self, panel: Panel, scan: ScanSection) -> None:
        self._panel, self._scan, ui = panel, scan, panel.ui
        self._editor: Any = None
        self._ranges: IntensityRanges | None = None
        self._filler: StrokeFiller | None = None
        self._watched: tuple[Any, list[int]] | None = None
        self._level_of: tuple[Any, ...] | None = None
        self._changing, self._is_down = False, False
        self._narrowed = False
        self._idle, self._slider = qt.QTimer(), qt.QTimer()
        for timer, then in ((self._idle, self._on_idle), (self._slider, self._show_outline)):
            timer.setSingleShot(True)
            timer.connect("timeout()", then)
        ui.editCollapsibleButton.connect("contentsCollapsed(bool)", self._on_collapsed)
        ui.anywhereBox.connect("toggled(bool)", self._on_anywhere)
        ui.fillStrokesBox.connect("toggled(bool)", self._on_fill_strokes)
        ui.levelSlider.connect("valueChanged(double)", self._on_level)
        ui.outlineBox.connect("toggled(bool)", self._on_outline)
        ui.keepButton.connect("clicked()", lambda: self._mend("keep"))
        ui.fillButton.connect("clicked()", lambda: self._mend("fill"))
        ui.smoothButton.connect("clicked()", lambda: self._mend("smooth"))

    # Slicer's editor

    def _on_collapsed(self, collapsed: bool) -> None:
        if collapsed:
            self.leave()
        else:
            self._connect_editor()
        self._panel.update()

    def enter(self) -> None:
        """The panel is shown: keyboard shortcuts work, and an edit made elsewhere is noticed."""
        if not self._panel.ui.editCollapsibleButton.collapsed:
            self._connect_editor()
        self._idle.start(0)

    def leave(self) -> None:
        """Put the tools down: nothing is painted by mistake in another module."""
        if self._editor is not None:
            self._editor.setActiveEffect(None)
            self._editor.uninstallKeyboardShortcuts()
            self._editor.removeViewObservations()

    def scene_closes(self) -> None:
        """Let go of the nodes that are about to go."""
        self._unwatch()
        if self._ranges is not None:
            self._ranges.close()
            self._ranges = None
        if self._editor is not None:
            self._editor.setSegmentationNode(None)
            self._editor.removeViewObservations()
        self._level_of = None

    def _make_editor(self) -> Any:
        """Slicer's widget, when it is first needed: it takes a while to make."""
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMaximumNumberOfUndoStates(10)
        editor.setEffectNameOrder(list(EFFECTS))
        editor.unorderedEffectsVisible = False
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.switchToSegmentationsButtonVisible = False
        editor.setMRMLSegmentEditorNode(editor_node())
        editor.setMRMLScene(slicer.mrmlScene)
        self._panel.ui.editorFrame.layout().addWidget(editor)
        return editor

    def _connect_editor(self) -> None:
        node, volume = self._panel.segmentation, self._panel.volume
        if node is None:
            return
        if self._editor is None:
            self._editor = self._make_editor()
        self._editor.setMRMLSegmentEditorNode(editor_node())
        if self._ranges is None:
            self._ranges = IntensityRanges(editor_node())
            self._level_of = None
        self._editor.setSegmentationNode(node)
        self._editor.setSourceVolumeNode(scan_of(node) or volume)
        if node.GetSegmentation().GetSegment(HEAD.segment_id) is not None:
            self._editor.setCurrentSegmentID(HEAD.segment_id)
        self._editor.installKeyboardShortcuts()
        self._set_range()

    # The brush's range, and the level

    def parameters_changed(self) -> None:
        """Another parameter node, or the same again: its slider has its whole range."""
        self._narrowed = False

    def update(self) -> None:
        """What can be used now, and why not."""
        panel, ui = self._panel, self._panel.ui
        node, scan = panel.segmentation, self._scan
        self._watch(node)
        ready = node is not None and not panel.is_busy
        self._put_down_while_busy()
        why = panel.why_no_result() or _("Wait until the job is done.")
        tips = {
            ui.keepButton: _("Remove every part of the head that hangs together with nothing."),
            ui.fillButton: _("Fill all air that the head encloses."),
            ui.smoothButton: _(
                "Smooth the head within 10 mm of where the slice views cross. Put the place into "
                "the centre of the views first: hold Shift and move the mouse."
            ),
        }
        for button, tip in tips.items():
            button.enabled, button.toolTip = ready, tip if ready else why
        ui.editorFrame.enabled = ready
        show_text(ui.editHintLabel, panel.why_no_result())
        ui.levelSlider.enabled = ui.outlineBox.enabled = panel.volume is not None
        if scan.hu_range is not None and scan.level is not None:
            self._show_level(scan.level, scan.hu_range)

    def _put_down_while_busy(self) -> None:
        """No stroke goes into what a job is about to replace: neither mouse nor shortcut."""
        is_open = not self._panel.ui.editCollapsibleButton.collapsed
        if self._panel.is_busy and not self._is_down:
            self._is_down = True
            self.leave()
        elif not self._panel.is_busy and self._is_down:
            self._is_down = False
            if is_open:
                self._connect_editor()

    def _show_level(self, level: float, hu_range: tuple[float, float]) -> None:
        """Once for each volume and result: afterwards the slider is the user's."""
        panel = self._panel
        if panel.parameters is None:
            return
        key = (panel.parameters.parameterNode, panel.volume, panel.segmentation)
        is_new = key != self._level_of
        if not is_new and self._narrowed:
            return
        self._level_of, self._narrowed = key, True
        slider, (low, high) = panel.ui.levelSlider, hu_range
        keep = panel.parameters.manualLevel or not is_new
        chosen = min(max(panel.parameters.level if keep else level, _LOWEST), _HIGHEST)
        self._changing = True
        try:
            # Whole HU, as fine as a hand can set them; a scan of other units has its own steps.
            fine = high - low < 50
            slider.decimals, slider.singleStep = (3, (high - low) / 100) if fine else (0, 10)
            slider.minimum = max(low, _LOWEST, chosen - _SLIDER_HU)
            slider.maximum = min(max(high, chosen), _HIGHEST, chosen + _SLIDER_HU)
            panel.parameters.level = float(chosen)
        finally:
            self._changing = False
        self._set_range()

    def _set_range(self) -> None:
        parameters, hu_range = self._panel.parameters, self._scan.hu_range
        if self._ranges is not None and parameters is not None and hu_range is not None:
            self._ranges.set_level(self._panel.ui.levelSlider.value, hu_range[1])
            self._ranges.set_anywhere(parameters.paintAnywhere)

    def _on_anywhere(self, checked: bool) -> None:
        if self._ranges is not None:
            self._ranges.set_anywhere(checked)

    def _on_level(self, value: float) -> None:
        parameters = self._panel.parameters
        if parameters is None:
            return
        self._set_range()
        if not self._changing and self._panel.ui.outlineBox.checked:
            self._slider.start(_SLIDER_MS)

    def _on_outline(self, checked: bool) -> None:
        if checked:
            self._slider.start(_SLIDER_MS)
        else:
            hide_level()

    def _show_outline(self) -> None:
        panel = self._panel
        if panel.closed or panel.volume is None or not panel.ui.outlineBox.checked:
            return
        level, volume = panel.ui.levelSlider.value, panel.volume

        def done(mesh: Any) -> None:
            if panel.ui.outlineBox.checked and panel.volume is volume:
                show_level(mesh)
                if panel.ui.levelSlider.value != level:
                    self._slider.start(_SLIDER_MS)

        if not panel.run(OutlineJob(panel.volume, level), done):
            self._slider.start(2 * _SLIDER_MS)

    def volume_changed(self) -> None:
        """The outline was that of another volume."""
        hide_level()
        if self._panel.ui.outlineBox.checked:
            self._slider.start(_SLIDER_MS)

    # After edits

    def _watch(self, node: Any) -> None:
        """Notice when the voxels of the segmentation change."""
        if self._watched is not None and self._watched[0] is node:
            return
        self._unwatch()
        if self._editor is not None:  # no stroke goes into the head of another scan
            self.leave()
            self._editor.setSegmentationNode(None)
        if node is None:
            return
        kind = slicer.vtkSegmentation
        segmentation = node.GetSegmentation()
        events = (kind.SourceRepresentationModified, kind.SegmentModified)
        tags = [segmentation.AddObserver(event, self._on_edited) for event in events]
        self._watched = (node, tags)
        self._start_filler()
        if not self._panel.ui.editCollapsibleButton.collapsed and not self._panel.is_busy:
            self._connect_editor()
        self._idle.start(0)  # what it lacks: a surface, the layer

    def _unwatch(self) -> None:
        if self._watched is not None:
            node, tags = self._watched
            for tag in tags:
                node.GetSegmentation().RemoveObserver(tag)
            self._watched = None
        self._filler = None
        self._idle.stop()

    def _on_fill_strokes(self, checked: bool) -> None:
        self._start_filler()

    def _start_filler(self) -> None:
        node = self._panel.segmentation
        # The box, not the parameter: which of the two is told of a click first is open.
        wanted = self._panel.ui.fillStrokesBox.checked and node is not None
        self._filler = StrokeFiller(node) if wanted else None
        if self._filler is not None:
            try:
                self._filler.before()
            except SceneError:  # there is no head to paint on
                self._filler = None

    def _on_edited(self, *_args: Any) -> None:
        if not self._panel.closed:
            self._idle.start(IDLE_MS)

    def _on_idle(self) -> None:
        """The user pauses: fill what the stroke encloses, and have our surface back."""
        panel, node = self._panel, self._panel.segmentation
        if panel.closed or node is None:
            return
        if panel.running:
            self._idle.start(IDLE_MS)
            return
        try:
            if self._filler is not None and self._filler.fill():
                self._idle.start(IDLE_MS)
                return
            self._rebuild()
        except Exception as error:
            panel.say(failure_message(error))

    def follow_up(self) -> None:
        """What the head that is there now needs: its surface, then the layer."""
        self._idle.start(0)

    def _rebuild(self) -> None:
        """Make our surface of the head again if it was edited, and then the layer."""
        panel, node = self._panel, self._panel.segmentation
        job: RemeshJob | LayerJob
        if RemeshJob.is_needed(node):
            job, said = RemeshJob(node), _("The head was edited: its surface was made again.")
        elif LayerJob.is_needed(node):
            job, said = LayerJob(node), _("The segment Skin was made of the head.")
        else:
            return

        def done(put: bool) -> None:
            if put:
                panel.note(said)
            self._idle.start(0 if put else IDLE_MS)

        def failed(error: Exception) -> None:
            what = _("The surface or the layer could not be made again: {why}")
            panel.note(what.format(why=failure_message(error)))

        again = partial(self._idle.start, IDLE_MS)
        if not panel.run(job, done, failed=failed, cancelled=again):
            self._idle.start(IDLE_MS)

    def _mend(self, how: str) -> None:
        panel, node = self._panel, self._panel.segmentation
        if node is None or panel.is_busy:
            return
        if self._editor is None or self._editor.segmentationNode() is not node:
            self._connect_editor()

        def done(changed: tuple[int, int]) -> None:
            added, removed = changed
            if added or removed:
                text = _("{added} voxels added, {removed} removed. Undo is in the editor.")
            else:
                text = _("There was nothing to change.")
            panel.say(text.format(added=added, removed=removed))

        try:
            place = slice_centre() if how == "smooth" else None
        except SceneError as error:
            panel.say(failure_message(error))
            return
        self._editor.saveStateForUndo()
        stopped = partial(panel.say, _("Cancelled. Nothing was changed."))
        panel.run(MendJob(node, HEAD.segment_id, how, place, SMOOTH_MM), done, cancelled=stopped)

    def close(self) -> None:
        self._slider.stop()
        self.leave()
        self.scene_closes()
        hide_level()


def slice_centre() -> tuple[float, float, float]:
    """Where the axial, sagittal and coronal views cross, RAS mm; they may be oblique.

    Raises SceneError if there are not these three, or they do not cross in a point.
    """
    normals, offsets = [], []
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if node.GetLayoutName() in ("Red", "Yellow", "Green"):
            matrix = node.GetSliceToRAS()
            normal = np.array([matrix.GetElement(row, 2) for row in range(3)])
            origin = np.array([matrix.GetElement(row, 3) for row in range(3)])
            normals.append(normal)
            offsets.append(normal @ origin)
    if len(normals) != 3 or abs(np.linalg.det(normals)) < 0.1:
        raise SceneError("The slice views do not cross in a point. Choose the layout Four-Up.")
    r, a, s = np.linalg.solve(normals, offsets)
    return float(r), float(a), float(s)
