"""Sharing: a scan without the face, a folder without names."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..mrml.sharing import DefaceJob, DeidentifyJob
from .panel import Panel, failure_message


class SharingSection:
    """Defacing the volume that was segmented, and de-identifying files."""

    def __init__(self, panel: Panel) -> None:
        self._panel, ui = panel, panel.ui
        ui.defaceButton.connect("clicked()", self._on_deface)
        ui.deidentifyButton.connect("clicked()", self._on_deidentify)

    def update(self) -> None:
        """What can be clicked now, and why not."""
        panel, ui = self._panel, self._panel.ui
        ready = panel.segmentation is not None
        ui.defaceButton.enabled = ready and not panel.is_busy
        if panel.is_busy:
            tip = _("Wait until the job is done, or cancel it.")
        elif ready:
            tip = _("Make a copy of the volume without the face, from brows to chin.")
        else:
            tip = panel.why_no_result()
        ui.defaceButton.toolTip = tip
        ui.deidentifyButton.enabled = not panel.is_busy

    def _on_deface(self) -> None:
        panel, node = self._panel, self._panel.segmentation
        if node is None or panel.is_busy:
            return

        def done(found: tuple[Any, Mapping[str, float]]) -> None:
            volume, proof = found
            text = _(
                "Made {name}. What is left is {mean:.1f} mm from the face on average ({p95:.1f} mm "
                "at 95 %), laid on it as closely as it goes. Look at it before you share it: a "
                "person may still be known by skull, teeth and ears."
            )
            panel.say(
                text.format(name=volume.GetName(), mean=proof["mean_mm"], p95=proof["p95_mm"])
            )

        try:
            job = DefaceJob(node)
        except Exception as error:
            panel.say(failure_message(error))
            return
        panel.say("")
        panel.run(job, done)

    def _on_deidentify(self) -> None:
        panel, parent = self._panel, self._panel.ui.deidentifyButton
        source = qt.QFileDialog.getExistingDirectory(parent, _("Folder with scans to de-identify"))
        if not source:
            return
        target = qt.QFileDialog.getExistingDirectory(parent, _("Folder for the copies"))
        if not target:
            return

        def done(found: Mapping[str, Any]) -> None:
            lines = [
                _("{count} files written, {before} done before.").format(
                    count=found["written"], before=found["already_done"]
                ),
                *(f"{count}: {reason}" for reason, count in found["refused"].items()),
                _("The pixels still show a face. Deface what you share."),
            ]
            panel.say("\n".join(lines))

        panel.say("")
        panel.run(
            DeidentifyJob(pathlib.Path(source), pathlib.Path(target)),
            done,
            cancelled=lambda: panel.say(
                _("Cancelled. Files that are done stay; the rest was not written.")
            ),
        )
