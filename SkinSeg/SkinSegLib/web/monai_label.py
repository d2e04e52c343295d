"""Asking a MONAI Label server for the head in a scan (its REST service, as of version 0.8).

Of the scan only voxels and grid are sent, no header: the server learns no name. They show the face.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core import CTVolume, Progress, ServerError, SkinMask
from ..segmentation.labelmap import FORMATS, on_grid
from .answers import checked_answer
from .asking import AnswerError, asked, bounded
from .server import Credentials, Server, missing_package, open_session

#: The name of our own app's model, and of labels that stand for the solid head.
OURS = "skinseg"
_HEAD = re.compile(r"head|solid head|patient", re.IGNORECASE)
_SENT = "scan.nrrd"


@dataclass(frozen=True)
class LabelModel:
    """A segmentation model of a server: its name, and the value of each of its labels."""

    name: str
    labels: dict[str, int]


class MonaiLabel:
    """A connection. Raises MissingPackageError."""

    def __init__(self, server: Server, credentials: Credentials | None = None) -> None:
        self.server = server
        self._credentials = credentials or Credentials()
        self._session = open_session(server, Credentials(token=self._credentials.token))
        self._session.hooks = {"response": [bounded(server.answer_s)]}

    def models(self, progress: Progress | None = None) -> list[LabelModel]:
        """The models that segment volumes, by name. Raises ServerError, Cancelled."""
        progress = progress or Progress()
        asked(self._log_in, self.server, progress)
        return asked(self._models, self.server, progress)

    def _models(self) -> list[LabelModel]:
        return [
            LabelModel(str(name), _labels(facts.get("labels")))
            for name, facts in sorted(self._get("info/")["models"].items())
            if facts.get("type") == "segmentation" and facts.get("dimension") == 3
        ]

    def ask(
        self,
        volume: CTVolume,
        model: str | None = None,
        label: int | None = None,
        progress: Progress | None = None,
    ) -> SkinMask:
        """The solid head as the server sees it, checked against the scan.

        ``model``: None for ours, or the only one there is. ``label``: value of the head in the
        answer; None to go by the name Head, or the only label there is. Stages: Ask, Check.

        Raises ServerError, GeometryError or SegmentationError for an answer that cannot be taken,
        ScanReadError for one that is no mask, Cancelled.
        """
        progress = progress or Progress()
        with tempfile.TemporaryDirectory(prefix="skinseg-") as name:
            folder = Path(name)
            with progress.stage("Ask", 0.9):
                chosen = _chosen(self.models(progress), model)
                value = label if label is not None else _head_label(chosen)
                _write(volume, folder / _SENT)
                progress.update(0.1)
                # A mask takes minutes; who gets none by the second try will not get one.
                twice = replace(self.server, attempts=min(2, self.server.attempts))
                path = asked(lambda: self._infer(chosen.name, folder), twice, progress)
            with progress.stage("Check", 0.1):
                return checked_answer(path, volume, value, f"server: {tame(chosen.name)}")

    def _get(self, path: str) -> Any:
        answer = self._session.get(f"{self.server.url}/{path}", timeout=self._timeout)
        answer.raise_for_status()
        content = answer.json()
        if not isinstance(content, dict):
            raise ValueError("no object")
        return content

    @property
    def _timeout(self) -> tuple[float, float]:
        return self.server.connect_s, self.server.silence_s

    def _log_in(self) -> None:
        """User and password are exchanged for a token, where the server knows users."""
        user = self._credentials
        if not user.user or not self._get("auth/").get("enabled"):
            return
        answer = self._session.post(
            f"{self.server.url}/auth/token",
            data={"username": user.user, "password": user.password},
            timeout=self._timeout,
        )
        answer.raise_for_status()
        token = Credentials(token=str(answer.json()["access_token"]))
        self._session.headers["Authorization"] = f"Bearer {token.token}"

    def _infer(self, model: str, folder: Path) -> Path:
        """The mask that the server answers with, as a file in ``folder``."""
        from urllib.parse import quote

        # Mask and figures in one answer, or the mask alone where nothing here can part them.
        only = {} if find_spec("requests_toolbelt") else {"output": "image"}
        params = {"result_extension": ".nrrd", "result_compress": True}
        with open(folder / _SENT, "rb") as scan:
            answer = self._session.post(
                f"{self.server.url}/infer/{quote(model, safe='')}",
                params=only,
                data={"params": json.dumps(params)},
                files={"file": (_SENT, scan, "application/octet-stream")},
                timeout=self._timeout,
            )
        answer.raise_for_status()
        ending, content = _mask_in(answer)
        path = folder / f"mask{ending}"
        path.write_bytes(content)
        return path


def _mask_in(answer: Any) -> tuple[str, bytes]:
    """Ending and bytes of the mask in an answer: one part of several, or all of it."""
    kind = answer.headers.get("Content-Type", "")
    if kind.startswith("application/json"):
        raise AnswerError(
            "The server's answer holds no mask, only figures. Choose another model by --model."
        )
    named, content = answer.headers.get("Content-Disposition", ""), answer.content
    if kind.startswith("multipart/"):
        for part in _parts(content, kind):
            named = part.headers.get(b"Content-Disposition", b"").decode("latin-1")
            if re.search(r'name="image"', named):
                content = part.content
                break
        else:
            raise ValueError("no image in the answer")
    found = re.search(r'filename="?([^";]+)', named)
    ending = next((e for e in FORMATS if found and found[1].lower().endswith(e)), None)
    if ending is None:
        raise ValueError("no name of a mask in the answer")
    return ending, content


def _parts(content: bytes, kind: str) -> Any:
    try:
        from requests_toolbelt.multipart.decoder import (
            ImproperBodyPartContentException,
            MultipartDecoder,
            NonMultipartContentTypeException,
        )
    except ImportError as error:
        raise missing_package() from error

    try:
        return MultipartDecoder(content, kind).parts
    except (ImproperBodyPartContentException, NonMultipartContentTypeException) as error:
        raise ValueError("no parts") from error


def _write(volume: CTVolume, path: Path) -> None:
    """Voxels and grid, nothing else."""
    import SimpleITK as sitk

    sitk.WriteImage(on_grid(volume.voxels, volume.ijk_to_ras), str(path), useCompression=True)


def _labels(given: Any) -> dict[str, int]:
    """Names and values: servers give either, or only names in the order of their values from 1."""
    if isinstance(given, dict):
        return {str(name): int(value) for name, value in given.items() if str(value).isdigit()}
    names = given if isinstance(given, list) else []
    return {str(name): number for number, name in enumerate(names, start=1)}


def _chosen(models: list[LabelModel], wanted: str | None) -> LabelModel:
    by_name = {model.name: model for model in models}
    if wanted is None and len(models) == 1:
        return models[0]
    found = by_name.get(OURS if wanted is None else wanted)
    if found is None:
        there = ", ".join(tame(name) for name in by_name) or "none"
        raise ServerError(
            f"Name one of the server's models that segment volumes by --model. There are: {there}."
        )
    return found


def _head_label(model: LabelModel) -> int:
    labels = {
        name: value
        for name, value in model.labels.items()
        if value > 0 and name.lower() != "background"
    }
    named = [value for name, value in labels.items() if _HEAD.fullmatch(name)]
    if len(named) == 1:
        return named[0]
    if len(labels) == 1:
        return next(iter(labels.values()))
    there = ", ".join(f"{value} {tame(name)}" for name, value in labels.items()) or "none"
    raise ServerError(
        f"Say by --label which of the model's labels is the head. There are: {there}."
    )


def tame(text: str) -> str:
    """A server's text as far as it may go to a screen."""
    return re.sub(r"[^\w .-]", "?", text)[:60]
