"""Learn: a corrected scan into the data set, and the next one to correct."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core import AlikeError
from ..mrml.learning import AddCaseJob, AddScanJob, CaseChoice, CaseScanJob, LearnJob, MaskBefore
from .learning import Learning
from .panel import Panel, ask, failure_message
from .parameters import SETTINGS

_LABELLER = f"{SETTINGS}/LabelledBy"
_SPLITS = ("train", "test")


class LearnSection:
    """ "Add this case", "Add without a label" and "Next case"."""

    def __init__(self, panel: Panel, learning: Learning) -> None:
        self._panel, self._learning, ui = panel, learning, panel.ui
        self._before: MaskBefore | None = None
        #: Names of the waiting cases, the one to label first first, and mL in doubt of each; of
        #: which model and data set. Empty while nobody asked.
        self._ranking: list[tuple[str, float | None]] = []
        self._ranked_for: tuple[Any, str] | None = None
        self._shown: set[str] = set()
        ui.splitSelector.clear()
        ui.splitSelector.addItems([_("Training"), _("Testing")])
        ui.labellerEdit.text = str(qt.QSettings().value(_LABELLER) or "")
        ui.addCaseButton.connect("clicked()", self._on_add_case)
        ui.addScanButton.connect("clicked()", self._on_add_scan)
        ui.nextCaseButton.connect("clicked()", self._on_next)

    # What others tell

    def segmented(self, node: Any, voxels: Any) -> None:
        """Keep the engine's mask, to know later how much of it was corrected."""
        self._before = MaskBefore(node, voxels)

    def run_undone(self) -> None:
        """The mask is not that of the last run any more."""
        self._before = None

    def scene_closes(self) -> None:
        """It goes with the scene."""
        self._before = None

    def volume_changed(self) -> None:
        """The number that was typed is another patient's."""
        self._panel.ui.patientEdit.text = ""

    def update(self) -> None:
        """What can be clicked now, and why not."""
        panel, ui = self._panel, self._panel.ui
        why = self._learning.why_not()
        if panel.is_busy:
            why = str(_("Wait until the job is done, or cancel it."))
        no_scan = "" if panel.volume is not None else str(_("Load a head CT first."))
        tips = (
            (
                ui.addCaseButton,
                why or panel.why_no_result(),
                _("Add the scan with the head as it is now to the data set."),
            ),
            (
                ui.addScanButton,
                why or no_scan,
                _("Add the scan alone; it waits there for somebody to label it."),
            ),
            (
                ui.nextCaseButton,
                why or self._why_no_next(),
                _("Load the scan of which the model in use is least sure."),
            ),
        )
        for button, reason, tip in tips:
            button.enabled, button.toolTip = not reason, reason or tip

    # Adding

    def _choice(self) -> CaseChoice:
        ui, folder = self._panel.ui, self._learning.folder
        assert folder is not None
        return CaseChoice(
            folder,
            split=_SPLITS[max(ui.splitSelector.currentIndex, 0)],
            labelled_by=ui.labellerEdit.text.strip(),
            patient=ui.patientEdit.text.strip(),
            deface=ui.caseDefaceBox.checked,
        )

    def _on_add_case(self) -> None:
        node = self._panel.segmentation
        if node is not None:
            qt.QSettings().setValue(_LABELLER, self._panel.ui.labellerEdit.text.strip())
            self._add(self._choice(), node)

    def _on_add_scan(self) -> None:
        if self._panel.volume is not None:
            self._add(self._choice(), None)

    def _add(self, choice: CaseChoice, node: Any) -> None:
        """Add the segmentation ``node`` with its scan, or the scan that is selected alone."""
        panel, volume = self._panel, self._panel.volume
        if panel.is_busy or self._learning.why_not():
            return

        def failed(error: Exception) -> None:
            if not isinstance(error, AlikeError):
                self._learning.say(failure_message(error))
                return
            self._learning.say(str(error))
            question = _("{why}\n\nAdd it all the same?").format(why=str(error).partition(". ")[0])
            if ask(question) and (node is not None or panel.volume is volume):
                self._add(replace(choice, allow_alike=True), node)

        try:
            job: AddCaseJob | AddScanJob
            if node is None:
                job = AddScanJob(volume, choice)
            else:
                job = AddCaseJob(node, choice, self._before)
        except Exception as error:
            self._learning.say(failure_message(error))
            return
        self._learning.say("")
        panel.run(
            job,
            lambda found: self._added(found, node is not None, choice),
            failed=failed,
            cancelled=lambda: self._learning.say(_("Cancelled. Nothing was added.")),
        )

    def _added(self, found: Mapping[str, Any], labelled: bool, choice: CaseChoice) -> None:
        learning = self._learning
        if learning.folder != choice.dataset:
            return
        use = {"train": _("training"), "test": _("testing")}[choice.split]
        lines = [
            _("Added as {name}, for {use}.").format(name=found["name"], use=use)
            if labelled
            else _("Added as {name}. It waits for its label.").format(name=found["name"])
        ]
        if found["edited_ml"] is not None:
            lines.append(_("{volume:.1f} mL were corrected.").format(volume=found["edited_ml"]))
        if found["key"]:
            lines.append(
                _(
                    "The key of your pseudonyms was made: {path}. Keep it secret, and keep a copy: "
                    "with another key, the same patient gets another pseudonym."
                ).format(path=found["key"])
            )
        learning.tell_counts(found)
        following = self._following()
        if labelled and following is not None:
            lines.append(_("Next: {name}.").format(name=following))
        learning.say(" ".join(lines))

    # What to label next

    def _why_no_next(self) -> str:
        state = self._learning.state
        if state is None or not state["waiting"]:
            return str(_("No scan waits for a label."))
        if self._is_ranked():
            return ""
        if self._learning.is_busy:
            return str(_("Wait until the training is done: the scans are not in order yet."))
        return str(state["problem"])

    def _is_ranked(self) -> bool:
        """Whether the order is that of the model in use, and has every scan that waits."""
        state = self._learning.state
        if state is None or self._ranked_for != (self._learning.folder, state["live"]):
            return False
        return set(state["waiting"]) <= {name for name, _doubt in self._ranking}

    def _following(self) -> str | None:
        """The first in order that waits and was not shown; all again once all were."""
        state = self._learning.state
        if state is None or not self._is_ranked():
            return None
        waiting = [name for name, _doubt in self._ranking if name in state["waiting"]]
        return next((name for name in waiting if name not in self._shown), None) or (
            waiting[0] if waiting else None
        )

    def _on_next(self) -> None:
        learning, panel = self._learning, self._panel
        state, folder = learning.state, learning.folder
        if state is None or folder is None or panel.is_busy:
            return
        if self._is_ranked():
            self._load_next()
            return

        def done(found: Mapping[str, Any]) -> None:
            self._ranking = [(name, doubt) for name, doubt in found["ranking"]]
            self._ranked_for, self._shown = (folder, found["live"]), set()
            if learning.state is not None:
                learning.state["live"] = found["live"]
            self._load_next()

        device = panel.parameters.device if panel.parameters is not None else "auto"
        learning.say(_("The scans that wait are put in order."))
        learning.run(
            LearnJob("rank", folder, device=device),
            done,
            cancelled=lambda: learning.say(_("Cancelled.")),
        )

    def _load_next(self) -> None:
        learning, panel, name = self._learning, self._panel, self._following()
        if name is None or learning.folder is None:
            return
        if name in self._shown:
            self._shown.clear()
        self._shown.add(name)
        doubt = dict(self._ranking)[name]

        def done(node: Any) -> None:
            if panel.parameters is not None:
                panel.parameters.inputVolume = node
            slicer.util.setSliceViewerLayers(background=node, fit=True)
            text = _("{name}: segment it, correct it, and add it.").format(name=node.GetName())
            if doubt is not None:
                text += " " + _("The model is unsure of {volume:.0f} mL.").format(volume=doubt)
            learning.say(text)

        def failed(error: Exception) -> None:
            learning.say(failure_message(error))

        if not panel.run(CaseScanJob(learning.folder, name), done, failed=failed):
            self._shown.discard(name)
