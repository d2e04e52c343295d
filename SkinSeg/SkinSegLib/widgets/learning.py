"""Learn: the data set, what is known of it, and the second worker, which trains.

That one is apart from the panel's, so that segmenting goes on while a model is trained.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core import SkinSegError
from ..mrml.learning import LearnJob
from ..worker.runner import Job
from .panel import Panel, failure_message, show_text
from .parameters import SETTINGS
from .worker_process import PanelWorker

_FOLDER = f"{SETTINGS}/DataSet"
#: An idle process of the second worker is kept so long: it is needed now and then.
_KEEP_WARM_S = 60.0
#: A training that runs elsewhere is asked for so often.
_AGAIN_MS = 4000


class Learning:
    """What the parts of the section share.

    ``state``: what the task "cases" returned, None while it is not known. ``running``: the task of
    the second worker, or "".
    """

    def __init__(self, panel: Panel) -> None:
        self._panel, ui = panel, panel.ui
        self.work: Any = None
        self.running = ""
        self.state: dict[str, Any] | None = None
        self._problem = ""
        self._started = 0.0
        #: A job that waits for the data set to be looked at.
        self._waiting: Callable[[], bool] | None = None
        #: Told the stage and the fraction of what runs.
        self.on_progress: Callable[[str, float], None] = lambda stage, fraction: None
        kept = qt.QSettings().value(_FOLDER)
        self.folder = pathlib.Path(str(kept)) if kept else None
        self._again = qt.QTimer()
        self._again.setSingleShot(True)
        self._again.connect("timeout()", self.look)
        ui.learnCollapsibleButton.connect("contentsCollapsed(bool)", self._on_collapsed)
        ui.caseFolderButton.connect("clicked()", self._on_folder)
        ui.learnCancelButton.connect("clicked()", self.cancel)
        show_text(ui.learnLabel, "")

    # The data set

    @property
    def is_open(self) -> bool:
        """Whether the section is shown."""
        return not self._panel.ui.learnCollapsibleButton.collapsed

    def why_not(self) -> str:
        """Why nothing can be done with the data set now, "" if it can."""
        if self.folder is None:
            return str(_("Choose the folder of the data set above; a new one is made there."))
        if self._problem:
            return self._problem
        if self.state is None:
            return str(_("The data set is being looked at."))
        return ""

    def look(self) -> None:
        """Find out what there is in the data set, unless a job will tell."""
        if self.folder is None or not self.is_open or self.running or self._panel.closed:
            return
        folder = self.folder

        def done(found: dict[str, Any]) -> None:
            if folder == self.folder:
                self.state, self._problem = found, ""
                if found["training"] is not None and found["training"]["stage"] == "running":
                    self._again.start(_AGAIN_MS)

        def failed(error: Exception) -> None:
            self.state, self._problem = None, failure_message(error)

        self.run(LearnJob("cases", folder), done, failed=failed)

    def tell_counts(self, found: Mapping[str, Any]) -> None:
        """A task of the panel's own worker changed the data set."""
        if self.state is not None:
            self.state |= {name: found[name] for name in ("train", "test", "waiting")}
        self._problem = ""
        if self.state is None or not self.running:
            self.look()
        self._panel.update()

    def enter(self) -> None:
        """Somebody else may have added cases meanwhile."""
        self.look()

    def _on_collapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self.look()
        self._panel.update()

    def _on_folder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            self._panel.ui.caseFolderButton, _("Folder of the data set; an empty one for a new one")
        )
        if not folder:
            return
        self.folder, self.state, self._problem = pathlib.Path(folder), None, ""
        qt.QSettings().setValue(_FOLDER, folder)
        self.say("")
        self.look()
        self._panel.update()

    # The second worker

    def run(
        self,
        job: Job,
        done: Callable[[Any], None],
        *,
        failed: Callable[[Exception], None] | None = None,
        cancelled: Callable[[], None] | None = None,
        then_look: bool = False,
    ) -> bool:
        """Start a job in the second worker; False while another one runs there.

        One that comes while the data set is only looked at waits for that. ``then_look``: the
        state of the data set is asked for again when it has ended.
        """
        if self.is_busy or self._waiting is not None:
            return False
        if self.running:
            self._waiting = partial(
                self.run, job, done, failed=failed, cancelled=cancelled, then_look=then_look
            )
            return True
        if self.work is None:
            self.work = PanelWorker(_KEEP_WARM_S)
        self.running, self._started = job.task, time.monotonic()

        def after(then: Callable[..., None], *arguments: Any) -> None:
            self.running = ""
            if self._panel.closed:
                return
            then(*arguments)
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting()
            elif then_look:
                self.look()
            self._panel.update()

        try:
            self.work.start()
            self.work.runner.start(
                job,
                done=lambda found: after(done, found),
                failed=lambda error: after(failed or self._complain, error),
                cancelled=lambda: after(cancelled or (lambda: None)),
                progress=self._progress,
            )
        except SkinSegError as error:
            after(failed or self._complain, error)
        self._panel.update()
        return True

    @property
    def is_busy(self) -> bool:
        """Whether the second worker does something that takes long."""
        return self.running not in ("", "cases")

    def cancel(self) -> None:
        """Stop what the second worker does."""
        if self.work is not None:
            self.work.runner.cancel()

    def _progress(self, stage: str, fraction: float) -> None:
        if self._panel.closed or not self.is_busy:
            return
        ui, elapsed = self._panel.ui, time.monotonic() - self._started
        ui.learnProgressBar.value = round(100 * fraction)
        text = stage
        if fraction > 0.05 and elapsed > 5:
            left = elapsed * (1 - fraction) / fraction / 60
            text = _("{stage}: about {minutes:.0f} min left").format(
                stage=stage, minutes=max(left, 1)
            )
        ui.learnProgressLabel.text = text
        self.on_progress(stage, fraction)

    def _complain(self, error: Exception) -> None:
        self.say(failure_message(error))

    # What is shown

    def say(self, text: str) -> None:
        """Show what the last click in the section led to."""
        show_text(self._panel.ui.learnLabel, text)
        if text:
            self._panel.note(text)

    def update(self) -> None:
        """The folder, the counts, and how far the second worker is."""
        ui = self._panel.ui
        folder = _("Choose...") if self.folder is None else self.folder.name
        ui.caseFolderButton.text = folder
        ui.caseFolderButton.enabled = not self.is_busy
        ui.caseFolderButton.toolTip = (
            _("Corrected scans are kept here, with nothing that names a patient. Choose a folder.")
            if self.folder is None
            else str(self.folder)
        )
        if self.state is None:
            text = self.why_not()
        else:
            text = _("{train} for training, {test} for testing, {waiting} waiting for a label.")
            text = text.format(
                train=self.state["train"],
                test=self.state["test"],
                waiting=len(self.state["waiting"]),
            )
        show_text(ui.casesLabel, text)
        for widget in (ui.learnProgressBar, ui.learnProgressLabel, ui.learnCancelButton):
            widget.visible = self.is_busy
        stopping = self.work is not None and self.work.runner.is_cancelled
        ui.learnCancelButton.enabled = not stopping

    def end_workers(self) -> None:
        """End the second process. A training that runs can be gone on with."""
        self._again.stop()
        if self.work is not None:
            self.work.close()
