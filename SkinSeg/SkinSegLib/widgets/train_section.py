"""Learn: training in the background, the comparison, and which model is used."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..mrml.choices import LIVE_MODEL, model_names
from ..mrml.learning import LearnJob
from .learning import Learning
from .panel import Panel, ask, failure_message, show_text

#: Within the training's folder; see training.session.
CURVES = "curves-narrow.png"
#: Of the table: a figure, its decimals, and what it is called.
_COLUMNS = (("within", 3, "Within 1 mm"), ("mean_mm", 2, "Mean mm"),
            ("taken_ml", 1, "Taken mL"), ("lost_ml", 1, "Lost mL"))  # fmt: skip
_ROWS_SHOWN, _ROW_PIXELS = 6, 26


class TrainSection:
    """Train, go on, decide, and back to the model before.

    ``options``: of FineTuneOptions beside the time; ``made``: how many made scenes the models are
    compared on; ``nice``: how far training gives way to what the user waits for. For tests.
    """

    def __init__(self, panel: Panel, learning: Learning) -> None:
        self._panel, self._learning, ui = panel, learning, panel.ui
        self.options: dict[str, Any] = {}
        self.made, self.nice = 8, 5
        self._table_of: str | None = None
        self._curves: tuple[str, float] = ("", 0.0)
        self._training: Mapping[str, Any] | None = None  # the one that runs
        learning.on_progress = lambda stage, fraction: self._show_curves()
        ui.trainButton.connect("clicked()", self._on_train)
        ui.resumeButton.connect("clicked()", self._on_resume)
        ui.useModelButton.connect("clicked()", lambda: self._decide("use"))
        ui.keepModelButton.connect("clicked()", lambda: self._decide("keep"))
        ui.modelBackButton.connect("clicked()", self._on_back)
        ui.comparisonTable.setHorizontalHeaderLabels(
            [_("Case"), *(_(title) for _name, _decimals, title in _COLUMNS)]
        )
        ui.curvesLabel.visible = False

    @property
    def _open(self) -> dict[str, Any] | None:
        """The training that nobody decided on yet."""
        state = self._learning.state
        return None if state is None else state["training"]

    def update(self) -> None:
        """What can be clicked now, and why not."""
        ui, learning, state = self._panel.ui, self._learning, self._learning.state
        why = learning.why_not()
        if learning.is_busy:
            why = str(_("Wait until it is done, or cancel it."))
        lack = ""
        if state is not None:
            lack = state["problem"]
            for split, text in (
                ("test", _("Add at least one corrected scan for testing: it judges the model.")),
                ("train", _("Add at least one corrected scan for training.")),
            ):
                lack = lack or ("" if state[split] else text)
        reason, tip = why or lack, _("Train the model in use further on the data set.")
        ui.trainButton.enabled, ui.trainButton.toolTip = not reason, reason or tip
        ui.trainMinutesSpinBox.enabled = not learning.is_busy
        self._update_resume(why or (state["problem"] if state is not None else ""))
        self._update_comparison(why)
        before = [] if state is None else state["before"]
        ui.modelBackButton.enabled = bool(before) and not why
        ui.modelBackButton.toolTip = why or (
            _("Use {name} again.").format(name=before[-1])
            if before
            else _("No other model was used before this one.")
        )
        in_use = "" if state is None else state["live"]
        show_text(ui.liveLabel, _("Model in use: {name}").format(name=in_use) if in_use else "")

    def _update_resume(self, why: str) -> None:
        button, training = self._panel.ui.resumeButton, self._open
        stage = "" if training is None else training["stage"]
        shown = stage in ("stopped", "trained", "running") and not self._learning.is_busy
        button.visible = shown
        if training is None or not shown:
            return
        texts = {
            "stopped": _("Go on with the training of {date}"),
            "trained": _("Compare the model that was trained on {date}"),
            "running": _("A training of {date} runs elsewhere"),
        }
        button.text = texts[stage].format(date=training["started"][:16].replace("T", " "))
        elsewhere = stage == "running"
        button.enabled = not why and not elsewhere
        button.toolTip = why or (
            _("Somebody else trains on this data set.")
            if elsewhere
            else _("It was stopped before its end: what was learnt so far is there.")
        )

    def _update_comparison(self, why: str) -> None:
        ui, training = self._panel.ui, self._open
        found = None if training is None else training.get("found")
        shown = found is not None and not self._learning.is_busy
        for widget in (ui.comparisonTable, ui.useModelButton, ui.keepModelButton):
            widget.visible = shown
        if training is None or found is None or not shown:
            self._table_of = None
            show_text(ui.comparisonLabel, "")
            return
        worse = found["worse"]
        ui.useModelButton.enabled = not worse and not why
        ui.keepModelButton.enabled = not why
        reasons = "\n".join(f"- {reason}" for reason in worse)
        ui.useModelButton.toolTip = why or (
            _("It is worse than the model in use:\n{reasons}").format(reasons=reasons)
            if worse
            else _("Segment by the new model from now on. You can go back.")
        )
        head = _("{name} beside the model in use, {old}:").format(
            name=training["name"], old=found["old"]["name"]
        )
        if worse:
            head += "\n" + _("It is worse, so it cannot be used:\n{reasons}").format(
                reasons=reasons
            )
        show_text(ui.comparisonLabel, head)
        if self._table_of != training["name"]:
            self._table_of = training["name"]
            self._fill_table(found["rows"])

    def _fill_table(self, rows: list[Mapping[str, Any]]) -> None:
        table = self._panel.ui.comparisonTable
        table.clearContents()
        table.rowCount = len(rows)
        for n, row in enumerate(rows):
            texts = [row["case"]]
            for name, decimals, _title in _COLUMNS:
                old, new = (_figure(row[which][name], decimals) for which in ("old", "new"))
                texts.append(f"{old}→{new}")
            for column, text in enumerate(texts):
                label = qt.QLabel(f" {text} ")
                table.setCellWidget(n, column, label)
        table.resizeColumnsToContents()
        height = _ROW_PIXELS * (min(len(rows), _ROWS_SHOWN) + 1) + 18
        table.minimumHeight, table.maximumHeight = height, height

    # Training

    def _on_train(self) -> None:
        learning, ui = self._learning, self._panel.ui
        training, folder = self._open, learning.folder
        if folder is None or learning.is_busy:
            return
        instead = ""
        if training is not None and training["stage"] in ("stopped", "trained", "compared"):
            question = _(
                "Begin anew and throw the training of {date} away, which nobody decided on?"
            ).format(date=training["started"][:16].replace("T", " "))
            if not ask(question):
                return
            instead = training["name"]
        options = {"minutes": float(ui.trainMinutesSpinBox.value), **self.options}
        job = LearnJob(
            "begin_training", folder, options=options, made=self.made, instead_of=instead
        )
        learning.say("")
        learning.run(job, self._learn)

    def _on_resume(self) -> None:
        training = self._open
        if training is not None and not self._learning.is_busy:
            self._learning.say("")
            self._learn(training)

    def _learn(self, training: Mapping[str, Any]) -> None:
        """Do what is left of a training in the second worker."""
        learning, parameters = self._learning, self._panel.parameters
        assert learning.folder is not None
        device = "auto" if parameters is None else parameters.device
        self._training = training
        self._curves = ("", 0.0)
        self._panel.ui.learnProgressBar.value = 0
        self._panel.ui.learnProgressLabel.text = ""
        if learning.state is not None:
            # What is known if the worker is lost; a look says more.
            learning.state["training"] = {**training, "stage": "stopped"}
            learning.state["training"].pop("found", None)

        def done(found: Mapping[str, Any]) -> None:
            self._show_curves()
            if found["worse"]:
                text = _("{name} is trained. It is worse than the model in use, which stays.")
            else:
                text = _("{name} is trained, and no worse than the model in use: you decide.")
            learning.say(text.format(name=training["name"]))

        def stopped() -> None:
            learning.say(_("The training was stopped. What was learnt so far is kept."))

        def failed(error: Exception) -> None:
            learning.say(failure_message(error))

        learning.run(
            LearnJob(
                "learn", learning.folder, name=training["name"], device=device, nice=self.nice
            ),
            done,
            failed=failed,
            cancelled=stopped,
            then_look=True,
        )

    def _show_curves(self) -> None:
        """The picture that the worker draws, whenever it is another one."""
        label, training = self._panel.ui.curvesLabel, self._training
        if training is None:
            return
        path = pathlib.Path(training["folder"]) / CURVES
        try:
            key = (str(path), path.stat().st_mtime)
        except OSError:
            label.visible = False  # not drawn yet
            return
        if key != self._curves:
            self._curves = key
            picture = qt.QPixmap(str(path))
            if not picture.isNull():
                label.setPixmap(picture)
                label.visible = True

    # Deciding

    def _decide(self, how: str) -> None:
        learning, training = self._learning, self._open
        if training is None or learning.folder is None:
            return

        def done(found: Mapping[str, Any]) -> None:
            self._panel.ui.curvesLabel.visible = False
            if how == "use":
                self._now_live(found["live"])
                learning.say(_("{name} is used from now on.").format(name=found["live"]))
            else:
                learning.say(_("{name} stays in use.").format(name=found["live"]))

        learning.run(
            LearnJob("decide", learning.folder, name=training["name"], how=how),
            done,
            then_look=True,
        )

    def _on_back(self) -> None:
        learning = self._learning
        if learning.folder is None:
            return

        def done(found: Mapping[str, Any]) -> None:
            self._now_live(found["live"])
            learning.say(_("{name} is used again.").format(name=found["live"]))

        learning.run(LearnJob("back", learning.folder), done, then_look=True)

    def _now_live(self, name: str) -> None:
        """Whoever decides on a model means to segment by it."""
        panel = self._panel
        if self._learning.state is not None:
            self._learning.state["live"] = name
        panel.tell("models_changed", model_names())
        if panel.parameters is not None:
            panel.parameters.model = LIVE_MODEL
            panel.tell("parameters_changed")
            panel.remember()
        if not panel.is_busy:
            panel.start_worker()  # has it ready before it is needed


def _figure(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "-"
