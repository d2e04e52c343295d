"""The task that MONAI Label runs for each request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from SkinSegLib.core import SkinSegError
from SkinSegLib.web.serve import LABELS, infer, options_of


class SkinInfer(InferTask):
    """Segments with :mod:`SkinSegLib.segmentation`, whatever the size of the scan."""

    def __init__(self, conf: dict[str, str]) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=dict(LABELS),
            dimension=3,
            description="The solid head in a head CT",
        )
        self._options = options_of(conf)

    def is_valid(self) -> bool:
        """Without a network the classical engine answers."""
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Path of the mask and figures for the client; MONAI Label removes the file."""
        extension = str(request.get("result_extension") or ".nrrd")
        try:
            path, figures = infer(Path(request["image"]), extension, self._options)
        except SkinSegError as error:
            raise MONAILabelException(MONAILabelError.INFERENCE_ERROR, str(error)) from error
        return str(path), figures
