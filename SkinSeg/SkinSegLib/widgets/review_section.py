"""Review: the findings of the last run, one after the other, each with its place."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..mrml.review import Review, jump_to, reviews_of, set_checked
from .panel import Panel


class ReviewSection:
    """The list of findings, Next and Previous, and marking one as checked."""

    def __init__(self, panel: Panel) -> None:
        self._panel, ui = panel, panel.ui
        self._shown: list[Review] = []
        self._filling = False
        ui.findingsList.connect("currentRowChanged(int)", self._on_row)
        ui.previousButton.connect("clicked()", lambda: self._step(-1))
        ui.nextButton.connect("clicked()", lambda: self._step(1))
        ui.checkedBox.connect("clicked(bool)", self._on_checked)

    def update(self) -> None:
        """Show the findings that are kept with the segmentation."""
        ui, node = self._panel.ui, self._panel.segmentation
        ui.resultSelector.enabled = not self._panel.is_busy
        reviews = reviews_of(node) if node is not None else []
        if reviews != self._shown:
            self._fill(reviews)
        there = len(reviews) > 0
        for button in (ui.previousButton, ui.nextButton):
            button.enabled = there
            button.toolTip = (
                _("Go to the place of the finding.") if there else _("There are no findings.")
            )
        row = ui.findingsList.currentRow
        ui.checkedBox.enabled = there and row >= 0
        ui.checkedBox.checked = there and 0 <= row < len(reviews) and reviews[row].checked
        left = sum(not review.checked for review in reviews)
        panel = self._panel
        if node is None and panel.parameters is not None and panel.parameters.segmentation:
            ui.reviewLabel.text = panel.why_no_result()
        elif not there:
            ui.reviewLabel.text = _("No findings.")
        elif left == 0:
            ui.reviewLabel.text = _("All findings are checked.")
        else:
            text = _("{left} of {count} findings not checked yet.")
            ui.reviewLabel.text = text.format(left=left, count=len(reviews))

    def _fill(self, reviews: list[Review]) -> None:
        widget, row = self._panel.ui.findingsList, self._panel.ui.findingsList.currentRow
        same = [r.finding for r in reviews] == [r.finding for r in self._shown]
        self._shown, self._filling = reviews, True
        widget.clear()
        for review in reviews:
            # A word and not a colour says what was looked at.
            mark = str(_("[checked] ")) if review.checked else ""
            finding = review.finding
            widget.addItem(f"{mark}{finding.kind.value}: {finding.message}")
        if same and row >= 0:
            widget.setCurrentRow(row)
        self._filling = False

    def _step(self, by: int) -> None:
        count = len(self._shown)
        if count:
            row = self._panel.ui.findingsList.currentRow
            start = row if row >= 0 else (-1 if by > 0 else 0)
            self._panel.ui.findingsList.setCurrentRow((start + by) % count)

    def _on_row(self, row: int) -> None:
        if self._filling or not 0 <= row < len(self._shown):
            return
        place = self._shown[row].finding.position_ras
        if place is not None:
            jump_to(place)
        self.update()

    def _on_checked(self, checked: bool) -> None:
        row, node = self._panel.ui.findingsList.currentRow, self._panel.segmentation
        if node is not None and 0 <= row < len(self._shown):
            set_checked(node, row, checked)
        self._panel.update()
