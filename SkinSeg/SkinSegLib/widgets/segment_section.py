"""Segment: with what, into what, and the button that starts and cancels."""

from __future__ import annotations

import time
from typing import Any

from slicer.i18n import tr as _

from ..core import SceneError
from ..mrml import HEAD, SegmentsBackup
from ..mrml.choices import LIVE_MODEL, JobOptions, SegmentOptions, live_name, model_names
from ..mrml.jobs import AskJob, SegmentJob
from ..mrml.keepers import labelmap_fingerprint
from ..mrml.layers import want_layer
from ..mrml.rebuild import scan_of
from .packages import Packages
from .panel import Panel, ask, failure_message, present, show_text


class SegmentSection:
    """The main button, model and device, and undoing a run."""

    def __init__(self, panel: Panel, packages: Packages) -> None:
        self._panel, self._packages, ui = panel, packages, panel.ui
        self._started = 0.0
        self._undo: Any = None
        self._volume: Any = None  # of the run that is under way
        self._is_gone = False
        self._devices: list[tuple[str, str]] = [(str(_("Automatic")), "auto")]
        self._models: list[str] = []
        ui.segmentButton.connect("clicked()", self._on_segment)
        ui.undoRunButton.connect("clicked()", self._on_undo)
        ui.modelSelector.connect("activated(int)", self._on_model)
        ui.deviceSelector.connect("activated(int)", self._on_device)
        show_text(ui.resultLabel, "")
        self.offer({"devices": [("CPU", "cpu")], "models": model_names()})

    def offer(self, found: dict[str, Any]) -> None:
        """Show the devices and models that the worker found."""
        ui = self._panel.ui
        self._devices = [(str(_("Automatic")), "auto")]
        self._devices += [(label, device) for label, device in found["devices"]]
        ui.deviceSelector.clear()
        ui.deviceSelector.addItems([label for label, _device in self._devices])
        self.offer_models(found["models"])
        self.parameters_changed()

    def offer_models(self, names: list[str]) -> None:
        """Show the models there are: first whichever is in use, then each by its name."""
        self._models = [LIVE_MODEL, *names]
        self._panel.ui.modelSelector.clear()
        in_use = str(_("In use: {name}")).format(name=live_name() or _("unknown"))
        self._panel.ui.modelSelector.addItems([in_use, *names])

    def models_changed(self, names: list[str]) -> None:
        """Another model is in use, or there are others."""
        self.offer_models(names)
        self.parameters_changed()

    def parameters_changed(self) -> None:
        """Show the model and the device of the parameter node, also ones that are not here."""
        ui, parameters = self._panel.ui, self._panel.parameters
        if parameters is None:
            return
        if parameters.device not in [device for _label, device in self._devices]:
            name = str(_("{name} (not found here)")).format(name=parameters.device)
            self._devices.append((name, parameters.device))
            ui.deviceSelector.addItem(name)
        if parameters.model not in self._models:
            self._models.append(parameters.model)
            ui.modelSelector.addItem(
                str(_("{name} (not found here)")).format(name=parameters.model)
            )
        devices = [device for _label, device in self._devices]
        ui.deviceSelector.currentIndex = devices.index(parameters.device)
        ui.modelSelector.currentIndex = self._models.index(parameters.model)

    def scene_closes(self) -> None:
        """What could be taken back goes with the scene."""
        self._undo = None

    def update(self) -> None:
        """What can be clicked now, and why not, in the tooltips."""
        panel, ui = self._panel, self._panel.ui
        button, running = ui.segmentButton, panel.is_busy
        if self._volume is not None and self._volume.GetScene() is None and not self._is_gone:
            self._is_gone = True  # first: cancelling updates the panel
            panel.cancel()
        button.text = _("Cancel") if running else _("Segment skin")
        stopping = running and panel.work.runner.is_cancelled and not panel.is_waiting
        if stopping:
            button.enabled, button.toolTip = False, _("Stopping.")
        elif running:
            button.enabled, button.toolTip = True, _("Stop. The scene stays as it was.")
        elif panel.volume is None:
            button.enabled = False
            button.toolTip = _("Load a head CT and select it above first.")
        else:
            button.enabled = True
            button.toolTip = _("Find the patient's skin in the selected volume.")
        for widget in (ui.modelSelector, ui.deviceSelector, ui.outputSelector):
            widget.enabled = not running
        ui.progressBar.visible = running
        ui.progressLabel.visible = running
        of_this = self._undo is not None and panel.segmentation is self._undo[0]
        ui.undoRunButton.visible = of_this and not running

    def _on_segment(self) -> None:
        """Start, or cancel what was started."""
        if self._panel.is_busy:
            self._panel.cancel()
        else:
            self.start()

    def start(self, server: str = "") -> None:
        """Segment the selected volume, on this computer or by a MONAI Label server."""
        panel = self._panel
        parameters = panel.parameters
        if parameters is None or panel.volume is None:
            return
        into = parameters.outputSegmentation
        if into is not None and into.GetScene() is None:
            into = None
        if into is not None and not self._may_write_to(into):
            return
        try:
            given = (panel.volume, job_options(parameters), into)
            job = (
                AskJob(server, *given, layer_later=True)
                if server
                else SegmentJob(*given, layer_later=True)
            )
        except Exception as error:
            panel.say(failure_message(error))
            return
        panel.remember()
        panel.say("")
        said = "" if server else self._packages.ensure()  # asks once for all, on the first run
        if said:
            panel.say(said)
            panel.restart_worker()
        panel.ui.progressBar.value = 0
        panel.ui.progressLabel.text = ""
        self._started = time.monotonic()
        self._volume, self._is_gone = panel.volume, False
        panel.run(
            job,
            lambda found: self._done(found, job.backup),
            failed=self._failed,
            cancelled=self._cancelled,
        )

    def _may_write_to(self, into: Any) -> bool:
        """Ask before segments are replaced; never those of another scan."""
        panel, name = self._panel, into.GetName()
        if SegmentsBackup(into).has_segments and scan_of(into) is not panel.volume:
            text = _("{name} under Output holds the head of another scan. Choose another output.")
            panel.say(text.format(name=name))
            return False
        if into.GetTransformNodeID() != panel.volume.GetTransformNodeID():
            text = _("{name} under Output lies under another transform than the volume.")
            panel.say(text.format(name=name))
            return False
        question = _("{name} has segments Head or Skin already. Replace them?").format(name=name)
        return not SegmentsBackup(into).has_segments or ask(question)

    def _failed(self, error: Exception) -> None:
        self._volume = None
        self._panel.say(failure_message(error))

    def _cancelled(self) -> None:
        self._volume = None
        self._panel.say(
            _("The volume was removed, so the segmentation was stopped. Nothing was changed.")
            if self._is_gone
            else _("Cancelled. Nothing was changed.")
        )

    def _done(self, found: Any, backup: Any) -> None:
        self._volume = None
        node, result = found
        panel = self._panel
        assert panel.parameters is not None
        before = panel.segmentation
        panel.parameters.segmentation = node
        self._undo = (node, backup, before, labelmap_fingerprint(node, HEAD.segment_id))
        panel.tell("segmented", node, result.mask.voxels)
        want_layer(node, panel.parameters.layerThickness)
        panel.tell("follow_up")  # makes it
        seconds = time.monotonic() - self._started
        mask = result.mask
        engine = mask.model.get("name", "") or _("threshold")
        text = _("Head of {volume:.0f} mL in {seconds:.1f} s ({engine}). {count}").format(
            volume=mask.volume_ml, seconds=seconds, engine=engine, count=_count(mask.findings)
        )
        panel.say(text)

    def _on_undo(self) -> None:
        """Take the last run back: the new node goes, or the segments before it come back."""
        panel, undo = self._panel, self._undo
        if undo is None:
            return
        node, backup, before, made = undo
        there = present(node)
        if there is not None and not self._is_as_made(there, made):
            question = _("The head was edited since the run. Take the run and the edits back?")
            if not ask(question):
                return
        self._undo = None
        panel.tell("run_undone")
        if there is not None:
            if backup is None:
                node.GetScene().RemoveNode(node)
            else:
                backup.restore()
        if panel.parameters is not None and backup is None:
            panel.parameters.segmentation = present(before)
        panel.tell("follow_up")
        panel.say(_("The last run was taken back."))
        panel.update()

    def _is_as_made(self, node: Any, made: str) -> bool:
        try:
            return labelmap_fingerprint(node, HEAD.segment_id) == made
        except SceneError:
            return False  # the head was deleted

    def _on_model(self, index: int) -> None:
        if self._panel.parameters is not None and 0 <= index < len(self._models):
            self._panel.parameters.model = self._models[index]

    def _on_device(self, index: int) -> None:
        if self._panel.parameters is not None and 0 <= index < len(self._devices):
            self._panel.parameters.device = self._devices[index][1]


def job_options(parameters: Any) -> JobOptions:
    """What was chosen, for the library. Raises SegmentationError for values that make no sense."""
    return JobOptions(
        SegmentOptions(
            engine=parameters.engine.value,
            level_hu=parameters.level if parameters.manualLevel else None,
            device=parameters.device,
            model=parameters.model,
            workers=parameters.workers or None,
            opening_mm=parameters.opening,
            seal_mm=parameters.seal,
            cavity_depth_mm=parameters.cavityDepth,
        ),
        layer_mm=parameters.layerThickness,
    )


def _count(findings: Any) -> str:
    if not findings:
        return str(_("Nothing was found that needs a look."))
    if len(findings) == 1:
        return str(_("1 finding to look at."))
    return str(_("{count} findings to look at.")).format(count=len(findings))
