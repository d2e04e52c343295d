"""SkinSeg as an app of MONAI Label: ``monailabel start_server --app THIS_FOLDER --studies FOLDER``.

MONAI Label writes its log into this folder: ``skinseg web app -o FOLDER`` makes a copy for it.
``--conf engine threshold``, ``--conf model NAME`` and ``--conf device cpu`` choose as the options
of ``skinseg segment`` do. Needs SkinSeg in the same Python (``pip install skinseg[network]``), or
this folder where it lies in the Slicer extension.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import SkinSegLib
except ImportError:  # within the extension: Resources/MONAILabel/skinseg, beside SkinSegLib
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    import SkinSegLib

from lib.infer import SkinInfer
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask


class SkinSegApp(MONAILabelApp):
    """One model, ``skinseg``: the solid head in a head CT. It is not trained here."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="SkinSeg",
            description="The solid head, skin outermost, in a head CT. For research only.",
            version=SkinSegLib.__version__,
            labels=["Head"],
        )

    def init_infers(self) -> dict[str, InferTask]:
        """Called by MONAI Label."""
        return {"skinseg": SkinInfer(self.conf)}
