"""Advanced: parameter sets, models, packages, the worker and its log."""

from __future__ import annotations

import pathlib

import qt
from slicer.i18n import tr as _

from ..mrml.choices import (
    LIVE_MODEL,
    install_model,
    model_names,
    own_model_names,
    remove_model,
)
from .packages import Packages
from .panel import Panel, ask, failure_message
from .parameters import remember_server, server_address
from .segment_section import SegmentSection


class AdvancedSection:
    """What few need to touch."""

    def __init__(self, panel: Panel, segment: SegmentSection, packages: Packages) -> None:
        self._panel, self._segment, self._packages, ui = panel, segment, packages, panel.ui
        ui.addModelButton.connect("clicked()", self._on_add_model)
        ui.removeModelButton.connect("clicked()", self._on_remove_model)
        ui.packagesButton.connect("clicked()", self._on_packages)
        ui.keepWarmSpinBox.connect("valueChanged(int)", self._on_keep_warm)
        ui.askServerButton.connect("clicked()", self._on_ask_server)
        ui.serverEdit.text = server_address()

    def parameters_changed(self) -> None:
        """The worker is kept as long as the parameter node says."""
        if self._panel.parameters is not None:
            self._on_keep_warm(self._panel.parameters.keepWarmMinutes)

    def update(self) -> None:
        """What can be clicked now, and why not."""
        ui, busy = self._panel.ui, self._panel.is_busy
        own = self._panel.parameters is not None and (
            self._panel.parameters.model in own_model_names()
        )
        ui.addModelButton.enabled = not busy
        ui.parameterSetSelector.enabled = not busy
        ui.removeModelButton.enabled = own and not busy
        ui.removeModelButton.toolTip = (
            _("Delete the model that is selected above.")
            if own
            else _("Select one of your own models above. Those that came with SkinSeg stay.")
        )
        manual = self._panel.parameters is not None and self._panel.parameters.manualLevel
        ui.manualLevelBox.toolTip = (
            _("Segment at the level of the slider under Edit.")
            if manual
            else _("The level is found in the scan itself. Check to use that of the slider.")
        )
        ui.askServerButton.enabled = self._panel.volume is not None and not busy
        missing = self._packages.missing()
        ui.packagesButton.enabled = bool(missing) and not busy
        ui.packagesLabel.text = (
            _("Not installed: {names}. Without them: {what}").format(
                names=", ".join(missing), what=self._packages.consequence()
            )
            if missing
            else _("All packages are installed.")
        )

    def _on_add_model(self) -> None:
        panel = self._panel
        folder = qt.QFileDialog.getExistingDirectory(panel.ui.addModelButton, _("Model folder"))
        if not folder:
            return
        try:
            name = install_model(pathlib.Path(folder))
        except Exception as error:
            panel.say(failure_message(error))
            return
        self._offer(name)
        panel.say(_("Added the model {name}.").format(name=name))

    def _on_remove_model(self) -> None:
        panel = self._panel
        if panel.parameters is None:
            return
        name = panel.parameters.model
        if not ask(_("Delete the model {name}? It cannot be undone.").format(name=name)):
            return
        try:
            remove_model(name)
        except Exception as error:
            panel.say(failure_message(error))
            return
        self._offer(LIVE_MODEL)
        panel.say(_("Deleted the model {name}.").format(name=name))

    def _offer(self, name: str) -> None:
        self._segment.offer_models(model_names())
        if self._panel.parameters is not None:
            self._panel.parameters.model = name
        self._segment.parameters_changed()
        self._panel.update()

    def _on_packages(self) -> None:
        """Install what is missing, after one question."""
        panel = self._panel
        try:
            said = self._packages.ensure(asked=True)
        except Exception as error:
            said = failure_message(error)
        if said:
            panel.say(said)
        panel.restart_worker()

    def _on_ask_server(self) -> None:
        """After a question each time: the scan leaves this computer."""
        panel, address = self._panel, str(self._panel.ui.serverEdit.text).strip()
        if panel.is_busy or panel.volume is None:
            return
        if not address:
            panel.say(_("Give the address of a MONAI Label server first."))
            return
        question = _(
            "Send the voxels of the selected volume to {server}? No name goes with them, but they "
            "show the patient's face."
        ).format(server=address)
        if not ask(question):
            return
        remember_server(address)
        self._segment.start(address)

    def _on_keep_warm(self, minutes: int) -> None:
        self._panel.work.keep_warm_s = 60.0 * minutes
