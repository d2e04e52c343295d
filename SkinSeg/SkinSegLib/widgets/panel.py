"""What the sections of the panel share: parameters, the worker, what runs, and what to say."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core import SkinSegError, failure_text
from ..mrml.jobs import WarmJob
from ..mrml.outline import hide_file
from ..mrml.rebuild import has_head, results_of, scan_of
from ..worker.runner import Job
from .parameters import remember
from .worker_process import PanelWorker

#: Jobs that the panel starts by itself; they give way to any the user starts.
BACKGROUND = ("facts", "remesh", "layer", "outline", "warm")


#: How long after a job of the user's the worker is asked again what it has.
_WARM_AGAIN_MS = 3000


def failure_message(error: Exception) -> str:
    """Put a failure into the log, without its words; returns what to show the user."""
    logging.error("SkinSeg failed: %s", failure_text(error))
    if isinstance(error, SkinSegError):
        return str(error)
    return str(_("Something went wrong that should not. The log has the details."))


def present(node: Any) -> Any:
    """The node, or None once it is no longer in the scene (parameter nodes may still name it)."""
    return node if node is not None and node.GetScene() is not None else None


def show_text(label: Any, text: str) -> None:
    """Give a label its text; one without text takes no room."""
    label.text = text
    label.visible = bool(text)


class Panel:
    """The sections, and what they ask of each other.

    ``ui``: the widgets of the ``.ui`` file by name. ``sections``: in their order. A section has
    ``update()``, which is called whenever anything may have changed, and may have methods for
    :meth:`tell`: ``enter``, ``leave``, ``scene_closes``, ``close``, ``offer`` (what the worker
    found), ``parameters_changed`` (another parameter node, or none, was connected), ``segmented``
    (node, mask as the engine made it), ``run_undone`` and ``end_workers``.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.work = PanelWorker()
        #: A SkinSegParameterNode, whose class Slicer makes at run time.
        self.parameters: Any = None
        #: What runs: the task's name, or "".
        self.running = ""
        self.closed = False
        #: A job that waits for one of the panel's own to stop, and whom to tell if it is cancelled.
        self._waiting: tuple[Callable[[], bool], Callable[[], None]] | None = None
        self._shown: tuple[Any, Any] | None = None
        self._started = 0.0
        self._log: list[str] = []
        self.sections: list[Any] = []
        self._warm_timer = qt.QTimer()
        self._warm_timer.setSingleShot(True)
        self._warm_timer.connect("timeout()", self._warm_again)

    # Nodes

    @property
    def volume(self) -> Any:
        """The scan that is selected and there."""
        return present(self.parameters.inputVolume) if self.parameters else None

    @property
    def segmentation(self) -> Any:
        """The result that is reviewed, edited and exported: one of the volume that is selected."""
        return None if self.why_no_result() else self._chosen_result()

    def _chosen_result(self) -> Any:
        return present(self.parameters.segmentation) if self.parameters else None

    def why_no_result(self) -> str:
        """Why nothing can be reviewed, edited and exported; "" where it can.

        Never the result of another scan, however it came to be chosen: it is another patient's.
        """
        node = self._chosen_result()
        if node is None:
            return str(_("Segment a volume first."))
        if not has_head(node):
            return str(_("The segmentation under Result has no segment Head."))
        scan = scan_of(node)
        if scan is None and self.volume is not None:
            return str(_("The scan of the segmentation under Result is not loaded."))
        if scan is not None and scan is not self.volume:
            return str(_("The segmentation under Result is of another volume: select that above."))
        return ""

    def connect(self, parameters: Any) -> None:
        """Use another parameter node, or none."""
        self.parameters = parameters
        self.tell("parameters_changed")
        self.update()

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Have every section show what is now."""
        if self.closed:
            return
        self._follow_volume()
        for section in self.sections:
            section.update()

    def _follow_volume(self) -> None:
        """Another volume is selected: its own result is shown, never that of another patient."""
        volume, parameters = self.volume, self.parameters
        key = (getattr(parameters, "parameterNode", None), volume)
        if parameters is None or key == self._shown:
            return
        if slicer.mrmlScene.IsBatchProcessing():
            return  # a scene that is loaded is not whole before its end
        before, self._shown = self._shown, key
        hide_file()
        self.tell("volume_changed")
        if before is not None and before[0] is key[0] and before[1] not in (None, volume):
            parameters.scale, parameters.cutBelow = 1.0, False  # they were meant for that head
        if volume is not None and self.segmentation is None:
            found = results_of(volume)
            parameters.segmentation = found[-1] if found else None

    def enter(self) -> None:
        """The panel is shown again, perhaps after an edit in another module."""
        self.tell("enter")

    def leave(self) -> None:
        """Another module is shown."""
        self.tell("leave")

    def scene_closes(self) -> None:
        """Every node is about to go: stop what works on one."""
        self.cancel()
        self._shown = None
        self.tell("scene_closes")

    def scene_closed(self) -> None:
        """There is an empty scene."""
        show_text(self.ui.resultLabel, "")
        show_text(self.ui.exportLabel, "")

    def tell(self, what: str, *arguments: Any) -> None:
        """Call a method of every section that has it."""
        for section in self.sections:
            if hasattr(section, what):
                getattr(section, what)(*arguments)

    # Jobs

    @property
    def is_busy(self) -> bool:
        """Whether a job runs that the user started."""
        return self.running != "" and self.running not in BACKGROUND

    @property
    def is_waiting(self) -> bool:
        """Whether a job of the user's waits for one of the panel's own to stop."""
        return self._waiting is not None

    def run(
        self,
        job: Job,
        done: Callable[[Any], None],
        *,
        failed: Callable[[Exception], None] | None = None,
        cancelled: Callable[[], None] | None = None,
    ) -> bool:
        """Start a job; False if one runs that must not be stopped for it.

        A job of the panel's own gives way to one of the user's, and waits for none.
        """
        runner = self.work.runner
        if runner.job is not None:
            if self.is_busy or job.task in BACKGROUND or self._waiting is not None:
                return False
            waiting = partial(self._start, job, done, failed, cancelled)
            self._waiting = (waiting, cancelled or (lambda: None))
            runner.cancel()
            self.running = job.task  # from now on it counts
            self.update()
            return True
        return self._start(job, done, failed, cancelled)

    def cancel(self) -> None:
        """Stop what the user started."""
        waiting, self._waiting = self._waiting, None
        self.work.runner.cancel()
        if waiting is not None:
            job = self.work.runner.job
            self.running = "" if job is None else job.task
            waiting[1]()
        self.update()

    def _start(
        self,
        job: Job,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None] | None,
        cancelled: Callable[[], None] | None,
    ) -> bool:
        self.running, self._started = job.task, time.monotonic()

        def after(then: Callable[..., None], *arguments: Any) -> None:
            self.running = ""
            if self.closed:
                return
            try:
                then(*arguments)
                self.update()
            finally:
                waiting, self._waiting = self._waiting, None
                if waiting is not None:
                    waiting[0]()

        self.work.runner.start(
            job,
            done=lambda result: after(done, result),
            failed=lambda error: after(failed or self._complain, error),
            cancelled=lambda: after(cancelled or (lambda: None)),
            progress=self._progress,
        )
        self.update()
        return True

    def _complain(self, error: Exception) -> None:
        self.say(failure_message(error))

    def _progress(self, stage: str, fraction: float) -> None:
        if self.closed or not self.is_busy:
            return
        self.ui.progressBar.value = round(100 * fraction)
        self.ui.progressLabel.text = self._stage_text(stage, fraction)

    def _stage_text(self, stage: str, fraction: float) -> str:
        elapsed = time.monotonic() - self._started
        if fraction < 0.1 or elapsed < 1.0:
            return stage
        left = elapsed * (1 - fraction) / fraction
        return str(_("{stage}: about {seconds:.0f} s left").format(stage=stage, seconds=left))

    # Words

    def say(self, text: str) -> None:
        """Show what the last click led to."""
        show_text(self.ui.resultLabel, text)
        if text:
            self.note(text)

    def note(self, text: str) -> None:
        """Add a line to the log that the panel shows; Slicer's own log gets none of it."""
        self._log = [*self._log, f"{time.strftime('%H:%M:%S')} {text}"][-200:]
        self.ui.logText.plainText = "\n".join(self._log)

    def restart_worker(self) -> None:
        """Another process, which finds what was installed meanwhile."""
        self.work.close()
        self.start_worker()

    def start_worker(self) -> None:
        """Have a process ready before it is needed, and offer what it finds."""
        try:
            self.work.start()
        except SkinSegError as error:
            self.say(str(error))
            return
        options = {}
        if self.parameters is not None:
            options = {"model": self.parameters.model, "device": self.parameters.device}
        # What the user starts goes first and warms the process up; what it has is asked for later.
        if not self.run(WarmJob(options), self._warm, cancelled=self._warm_later):
            self._warm_later()

    def _warm_later(self) -> None:
        self._warm_timer.start(_WARM_AGAIN_MS)

    def _warm_again(self) -> None:
        if not self.closed and self.work.worker.is_running:
            self.start_worker()

    def _warm(self, found: dict[str, Any]) -> None:
        self.tell("offer", found)
        self.note(
            _("The network is ready.")
            if not found["reason"]
            else _("The threshold engine is ready. {reason}").format(reason=found["reason"])
        )

    def remember(self) -> None:
        """Keep the present choices for the user's next scene."""
        if self.parameters is not None:
            remember(self.parameters)

    def end_workers(self) -> None:
        """End every process, for the end of the application; what runs in them is lost."""
        self.work.close()
        self.tell("end_workers")

    def close(self) -> None:
        """End the workers; nothing is shown from here on."""
        self.closed = True
        self._waiting = None
        self._warm_timer.stop()
        hide_file()
        self.end_workers()
        self.tell("close")


def ask(question: str) -> bool:
    """Ask yes or no; no dialog opens where Slicer is tested."""
    return bool(slicer.util.confirmYesNoDisplay(question))
