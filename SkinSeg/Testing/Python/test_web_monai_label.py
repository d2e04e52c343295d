"""Asking a MONAI Label server on loopback; a small one that answers as version 0.8.5 does."""

from __future__ import annotations

import json
import re
import runpy
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from command import LIBRARY
from SkinSegLib.cli import main
from SkinSegLib.core import (
    CTVolume,
    GeometryError,
    ScanReadError,
    SegmentationError,
    ServerError,
    SkinSegError,
)
from SkinSegLib.scan import read
from SkinSegLib.scan.masks import read_mask
from SkinSegLib.segmentation import SegmentOptions
from SkinSegLib.segmentation.labelmap import on_grid, write_labelmap
from SkinSegLib.web import Credentials, MonaiLabel, Server
from SkinSegLib.web.answers import checked_answer
from SkinSegLib.web.serve import infer, options_of
from web_makers import Fake, fake_server

INFO = {
    "name": "SkinSeg",
    "labels": ["Head"],
    "models": {
        "skinseg": {"type": "segmentation", "labels": {"Head": 1}, "dimension": 3, "config": {}},
        "spleen": {"type": "segmentation", "labels": ["spleen", "liver"], "dimension": 3},
        "deepgrow_2d": {"type": "deepgrow", "labels": [], "dimension": 2},
    },
}


@dataclass(frozen=True)
class Head:
    volume: CTVolume
    mask: np.ndarray


@pytest.fixture(scope="module")
def phantom() -> Head:
    """A head with neck and nose, at 4 mm, oblique; in no direction like its mirror image."""
    x, y, z = np.meshgrid(*[np.arange(-110.0, 111.0, 4.0)] * 3, indexing="ij")

    def ball(cx: float, cy: float, cz: float, *radii: float) -> np.ndarray:
        a, b, c = radii
        return ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2 < 1

    inside = ball(0, 0, 10, 70, 85, 90) | ball(0, 80, -10, 18, 25, 25)
    inside |= (np.hypot(x - 15, y + 10) < 50) & (z < -40)
    noise = np.random.default_rng(0).normal(0, 10, inside.shape)
    voxels = (np.where(inside, 40, -1000) + noise).astype(np.int16).transpose(2, 1, 0)
    turn = np.deg2rad(12)
    grid = np.diag([4.0, 4.0, 4.0, 1.0])
    grid[:2, :2] = 4 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    grid[:3, 3] = -100, -120, -90
    return Head(CTVolume(voxels, grid), np.ascontiguousarray(inside.T).astype(np.uint8))


@pytest.fixture
def volume(phantom: Head) -> CTVolume:
    return phantom.volume


class Label:
    """Answers /info/ and /infer/ in the way of monailabel/endpoints/infer.py (0.8.5):
    ``form``: what is made of a mask file; ``mask_of``: that file for the scan that came."""

    def __init__(self, fake: Fake, folder: Path, mask_of: Callable[[Path], Path]) -> None:
        self.folder, self.mask_of, self.form = folder, mask_of, multipart
        self.info: Any = INFO
        self.came: list[dict[str, Any]] = []
        self.auth = False
        fake.before = self._answer
        self.url = fake.url.removesuffix("/dicom-web")

    def _answer(self, request: Any, body: bytes) -> Any:
        kind = {"Content-Type": "application/json"}
        known = request.headers["Authorization"] == "Bearer t0ken"
        if self.auth and not known and not request.path.startswith("/auth"):
            return 401, kind, b'{"detail":"Could not validate credentials"}'
        if request.path == "/auth/":
            return 200, kind, json.dumps({"enabled": self.auth}).encode()
        if request.path == "/auth/token":
            good = body == b"username=anna&password=s3cret"
            return (200, kind, b'{"access_token":"t0ken"}') if good else (401, kind, b"{}")
        if request.path == "/info/":
            return 200, kind, json.dumps(self.info).encode()
        found = re.fullmatch(r"/infer/([\w-]+)(\?output=image)?", request.path)
        if not found:
            return 404, kind, b'{"detail":"Not Found"}'
        mark = re.search(r"boundary=(\S+)", request.headers["Content-Type"])[1].encode()
        fields = {}
        for piece in body.split(b"--" + mark)[1:-1]:
            head, _, content = piece.partition(b"\r\n\r\n")
            name = re.search(rb'name="(\w+)"(?:; filename="([^"]*)")?', head)
            fields[name[1].decode()] = (name[2], content.removesuffix(b"\r\n"))
        scan = self.folder / f"{uuid.uuid4().hex}.nrrd"
        scan.write_bytes(fields["file"][1])
        self.came.append({"model": found[1], "body": body, "scan": scan, **fields})
        path = self.mask_of(scan)
        form = file_alone if found[2] else self.form
        return form(path.name, path.read_bytes())


def multipart(name: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
    """As requests_toolbelt.MultipartEncoder, which MONAI Label uses, puts it."""
    mark = uuid.uuid4().hex
    whole_body = (
        f'--{mark}\r\nContent-Disposition: form-data; name="params"\r\n'
        'Content-Type: application/json\r\n\r\n{"label_names": {"Head": 1}}\r\n'
        f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    whole_body += content + f"\r\n--{mark}--\r\n".encode()
    return 200, {"Content-Type": f"multipart/form-data; boundary={mark}"}, whole_body


def file_alone(name: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
    """As with ?output=image."""
    named = f'attachment; filename="{name}"'
    return (
        200,
        {"Content-Type": "application/octet-stream", "Content-Disposition": named},
        content,
    )


def figures_alone(name: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, b'{"label_names": {}}'


@pytest.fixture
def label(tmp_path: Path, phantom: Head) -> Iterator[Label]:
    def true_mask(scan: Path) -> Path:
        path = tmp_path / f"{scan.stem}-mask.nrrd"
        return write_labelmap(phantom.mask, read(scan).ijk_to_ras, path)

    with fake_server() as fake:
        yield Label(fake, tmp_path, true_mask)


def connected(label: Label, **who: str) -> MonaiLabel:
    return MonaiLabel(Server(label.url, wait_s=0.01, attempts=2), Credentials(**who))


@pytest.mark.parametrize("form", [multipart, file_alone])
def test_a_mask(label: Label, phantom: Head, form: Any) -> None:
    label.form = form
    mask = connected(label).ask(phantom.volume)
    np.testing.assert_array_equal(mask.voxels, phantom.mask)
    np.testing.assert_array_equal(mask.ijk_to_ras, phantom.volume.ijk_to_ras)
    assert mask.engine == "server: skinseg"
    came = label.came[0]
    assert json.loads(came["params"][1])["result_extension"] == ".nrrd"
    assert came["file"][0] == b"scan.nrrd"
    got = read(came["scan"])
    np.testing.assert_array_equal(got.voxels, phantom.volume.voxels)
    np.testing.assert_allclose(got.ijk_to_ras, phantom.volume.ijk_to_ras)


def test_without_the_package_that_parts_answers(
    label: Label, phantom: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Slicer, which has requests and not requests-toolbelt."""
    monkeypatch.setitem(sys.modules, "requests_toolbelt", None)
    monkeypatch.setattr("SkinSegLib.web.monai_label.find_spec", lambda name: None)
    assert connected(label).ask(phantom.volume).engine == "server: skinseg"


def test_the_models_of_a_server(label: Label, volume: CTVolume) -> None:
    found = {model.name: model.labels for model in connected(label).models()}
    assert found == {"skinseg": {"Head": 1}, "spleen": {"spleen": 1, "liver": 2}}
    with pytest.raises(ServerError, match=r"--model\. There are: skinseg, spleen"):
        connected(label).ask(volume, "other")
    with pytest.raises(ServerError, match=r"--label.*1 spleen, 2 liver"):
        connected(label).ask(volume, "spleen")
    assert not label.came
    assert connected(label).ask(volume, "spleen", 1).volume_ml > 1000
    with pytest.raises(ScanReadError, match="empty"):
        connected(label).ask(volume, "spleen", 2)
    label.info = {"models": {"\x1b[31mevil": {"type": "segmentation", "dimension": 3}, "b": {}}}
    with pytest.raises(ServerError) as failure:
        connected(label).ask(volume, "other")
    assert "\x1b" not in str(failure.value)


@pytest.mark.parametrize("info", [[], {"models": []}, {"models": {"a": 3}}, "text"])
def test_information_that_is_nonsense(label: Label, volume: CTVolume, info: Any) -> None:
    label.info = info
    with pytest.raises(ServerError, match="not what it should be"):
        connected(label).ask(volume)


def test_users(label: Label) -> None:
    label.auth = True
    for wrong in ({}, {"user": "anna", "password": "no"}, {"token": "other"}):
        with pytest.raises(ServerError, match=r"refuses \(401\)"):
            connected(label, **wrong).models()
    assert connected(label, token="t0ken").models()
    assert connected(label, user="anna", password="s3cret").models()


def turned(voxels: np.ndarray, *axes: int) -> np.ndarray:
    return np.ascontiguousarray(np.flip(voxels, axes))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda m, g: (m[:-1], g), GeometryError, "another grid"),
        (lambda m, g: (turned(m, 0), g), SegmentationError, "mirror image"),
        (lambda m, g: (turned(m, 1), g), SegmentationError, "mirror image"),
        (lambda m, g: (turned(m, 0, 1), g), SegmentationError, "mirror image"),
        (lambda m, g: (m, np.diag([-1.0, 1, 1, 1]) @ g), GeometryError, "mirrored"),
        (lambda m, g: (m, np.diag([-1.0, -1, 1, 1]) @ g), GeometryError, "mirrored"),
        (lambda m, g: (m, g @ np.diag([1.0, 1, 1.01, 1])), GeometryError, "moved"),
        (lambda m, g: (1 - m, g), SegmentationError, "air"),
        (lambda m, g: (np.zeros_like(m), g), ScanReadError, "empty"),
        (lambda m, g: (np.ones_like(m), g), SegmentationError, "air|mL"),
        (lambda m, g: (m * (np.arange(m.shape[2]) < 26), g), SegmentationError, "leaves out"),
    ],
)
def test_masks_that_are_not_taken(
    tmp_path: Path, phantom: Head, change: Any, error: type[SkinSegError], says: str
) -> None:
    voxels, grid = change(phantom.mask.astype(np.uint8), phantom.volume.ijk_to_ras)
    path = write_labelmap(voxels.astype(np.uint8), grid, tmp_path / "mask.nrrd")
    with pytest.raises(error, match=says):
        checked_answer(path, phantom.volume)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_another_order_of_the_axes_is_taken(
    tmp_path: Path, phantom: Head, axes: tuple[int, ...]
) -> None:
    """Voxels and matrix turned alike: every voxel is where it was, also in the other handedness."""
    grid = np.array(phantom.volume.ijk_to_ras)
    for axis in axes:
        column = 2 - axis
        grid[:3, 3] += grid[:3, column] * (phantom.mask.shape[axis] - 1)
        grid[:3, column] *= -1
    path = write_labelmap(
        turned(phantom.mask.astype(np.uint8), *axes), grid, tmp_path / "mask.nrrd"
    )
    taken = checked_answer(path, phantom.volume)
    np.testing.assert_array_equal(taken.voxels, phantom.mask)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"Content-Type": "text/html"}, b"<html>Doe</html>"),
        (200, {"Content-Type": "multipart/form-data; boundary=x"}, b"nonsense"),
        (200, {"Content-Type": "multipart/form-data"}, b"--x--"),
        multipart("mask.exe", b"MZ"),
        multipart("../../mask", b""),
    ],
)
def test_answers_that_are_nonsense(label: Label, volume: CTVolume, answer: Any) -> None:
    label.form = lambda name, content: answer
    with pytest.raises(ServerError, match="not what it should be"):
        connected(label).ask(volume)


def test_figures_alone_and_a_damaged_mask(label: Label, volume: CTVolume) -> None:
    label.form = figures_alone
    with pytest.raises(ServerError, match="only figures"):
        connected(label).ask(volume)
    label.form = lambda name, content: multipart(name, content[: len(content) // 2])
    with pytest.raises(SkinSegError):
        connected(label).ask(volume)


def test_the_command(tmp_path: Path, label: Label, phantom: Head, capsys: Any) -> None:
    scan, out = tmp_path / "Doe.nrrd", tmp_path / "mask.nrrd"
    image = on_grid(phantom.volume.voxels, phantom.volume.ijk_to_ras)
    image.SetMetaData("PatientName", "Doe")
    sitk.WriteImage(image, str(scan))
    assert main(["web", "ask", str(scan), "--server", label.url, "-o", str(out)]) == 0
    np.testing.assert_array_equal(read_mask(out)[0], phantom.mask)
    assert b"Doe" not in label.came[0]["body"]
    assert "Doe" not in capsys.readouterr().out
    segments = tmp_path / "mask.seg.nrrd"
    assert main(["web", "ask", str(scan), "--server", label.url, "-o", str(segments)]) == 0
    np.testing.assert_array_equal(read_mask(segments, "Head")[0], phantom.mask)
    out.unlink()
    label.form = figures_alone
    assert main(["web", "ask", str(scan), "--server", label.url, "-o", str(out)]) == 1
    assert not out.exists()


def test_the_side_of_the_server(tmp_path: Path, phantom: Head) -> None:
    scan = tmp_path / "scan.nrrd"
    sitk.WriteImage(on_grid(phantom.volume.voxels, phantom.volume.ijk_to_ras), str(scan))
    path, figures = infer(scan, ".nii.gz", options_of({"engine": "threshold", "x": "y"}))
    try:
        assert path.name.endswith(".nii.gz")
        taken = checked_answer(path, phantom.volume)
    finally:
        path.unlink()
    assert figures["label_names"] == {"Head": 1}
    assert figures["engine"] == "threshold"
    assert abs(taken.volume_ml - figures["volume_ml"]) < 1
    assert json.dumps(figures)
    with pytest.raises(SkinSegError) as failure:
        infer(tmp_path / "none.nrrd", ".nrrd", SegmentOptions(engine="threshold"))
    assert str(tmp_path) not in str(failure.value)
    with pytest.raises(SkinSegError):
        options_of({"engine": "magic"})


def test_the_app_is_copied(tmp_path: Path) -> None:
    app = tmp_path / "app"
    assert main(["web", "app", "-o", str(app)]) == 0
    source = LIBRARY / "Resources" / "MONAILabel" / "skinseg"
    for name in ("main.py", "lib/infer.py", "lib/__init__.py"):
        assert (app / name).read_bytes() == (source / name).read_bytes()
    assert main(["web", "app", "-o", str(app)]) == 1


def test_the_app_as_monai_label_uses_it(
    tmp_path: Path, phantom: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stand-ins for the four names that it takes from MONAI Label; run once on the real 0.8.5,
    see Docs/servers.md."""
    scan = tmp_path / "scan.nrrd"
    sitk.WriteImage(on_grid(phantom.volume.voxels, phantom.volume.ijk_to_ras), str(scan))

    class App:
        def __init__(self, app_dir: str, studies: str, conf: dict[str, str], **about: Any) -> None:
            self.conf, self.about = conf, about

    class Task:
        def __init__(self, **about: Any) -> None:
            self.about = about

    class Failure(Exception):
        def __init__(self, error: str, msg: str) -> None:
            super().__init__(msg)

    for name, things in {
        "monailabel": {},
        "monailabel.interfaces": {},
        "monailabel.interfaces.tasks": {},
        "monailabel.interfaces.app": {"MONAILabelApp": App},
        "monailabel.interfaces.tasks.infer_v2": {
            "InferTask": Task,
            "InferType": SimpleNamespace(SEGMENTATION="segmentation"),
        },
        "monailabel.interfaces.exception": {
            "MONAILabelError": SimpleNamespace(INFERENCE_ERROR="4000"),
            "MONAILabelException": Failure,
        },
    }.items():
        module = ModuleType(name)
        vars(module).update(things)
        monkeypatch.setitem(sys.modules, name, module)
    folder = tmp_path / "app"  # a copy: Python leaves its own files beside what it imports
    assert main(["web", "app", "-o", str(folder)]) == 0
    monkeypatch.syspath_prepend(str(folder))
    found = runpy.run_path(str(folder / "main.py"))
    app = found["SkinSegApp"]("app", "studies", {"engine": "threshold"})
    (name,) = app.init_infers()
    task = app.init_infers()[name]
    assert (name, task.about["labels"], task.is_valid()) == ("skinseg", {"Head": 1}, True)
    path, figures = task({"image": str(scan), "result_extension": ".nrrd"})
    try:
        assert checked_answer(Path(path), phantom.volume, 1).volume_ml > 1000
    finally:
        Path(path).unlink()
    assert figures["label_names"] == {"Head": 1}
    with pytest.raises(Failure) as failure:
        task({"image": str(tmp_path / "Doe.nrrd")})
    assert "Doe" not in str(failure.value)
    for name in [name for name in sys.modules if name == "lib" or name.startswith("lib.")]:
        del sys.modules[name]
