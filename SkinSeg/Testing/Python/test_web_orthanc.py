"""Cases to and from a real DICOMweb server: Orthanc, on loopback, with authentication."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from SkinSegLib.cli import main
from SkinSegLib.core import ServerError, is_temporary
from SkinSegLib.privacy.audit import AuditOptions, AuditReport, audit
from SkinSegLib.web import Credentials, SendOptions, Server, fetch, list_series, send
from SkinSegLib.web.dicomweb import DicomWeb
from SkinSegLib.web.journal import journal_in
from web_makers import NAMES, PASSWORD, USER, Orthanc, cases, running_orthanc, uids

AUDIT = AuditOptions(with_face=True, pseudonyms=NAMES)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture
def orthanc(started: Orthanc) -> Orthanc:
    started.clear()
    return started


def connected(orthanc: Orthanc) -> DicomWeb:
    return DicomWeb(Server(orthanc.url, wait_s=0.05), Credentials(USER, PASSWORD))


def ours(folder: Path) -> dict[str, bytes]:
    """Whole files by UID; what was being written when a program was killed has a hidden name."""
    paths = (path for path in folder.rglob("*.dcm") if not is_temporary(path))
    return {path.stem: path.read_bytes() for path in paths}


def test_there_and_back(tmp_path: Path, orthanc: Orthanc) -> None:
    folder, web = cases(tmp_path / "out", 9, series=2), connected(orthanc)
    outcome = send(folder, web, SendOptions(AUDIT, group=2))
    assert (outcome.sent, outcome.already) == (9, 0)
    assert not outcome.refused
    assert orthanc.files() == ours(folder)  # to the byte: what was audited is what arrived
    outcome = send(folder, web, SendOptions(AUDIT, group=2))
    assert (outcome.sent, outcome.already, outcome.unseen) == (0, 9, 0)

    found = list_series(web)
    assert sorted(one.instances for one in found) == [4, 5]
    assert {one.modality for one in found} == {"CT"}
    assert list_series(web, found[0].study) == found
    back = tmp_path / "back"
    assert fetch(web, back, found).as_dict() == {
        "series": 2,
        "written": 9,
        "already": 0,
        "identified": 0,
    }
    assert ours(back) == ours(folder)
    spoilt = next(back.rglob("*.dcm"))
    spoilt.write_bytes(spoilt.read_bytes()[:150])
    again = fetch(web, back, found)
    assert (again.written, again.already) == (1, 8)
    assert ours(back) == ours(folder)


def test_a_lost_journal_and_a_server_that_lost_files(tmp_path: Path, orthanc: Orthanc) -> None:
    folder, web = cases(tmp_path / "out", 4), connected(orthanc)
    send(folder, web, SendOptions(AUDIT))
    journal_in(folder, orthanc.url).unlink()
    outcome = send(folder, web, SendOptions(AUDIT))
    assert (outcome.sent, outcome.already) == (0, 4)
    orthanc.clear()
    outcome = send(folder, web, SendOptions(AUDIT))
    assert (outcome.sent, outcome.already) == (4, 0)
    assert orthanc.files() == ours(folder)


def test_another_object_of_the_same_uid_is_not_overwritten(
    tmp_path: Path, orthanc: Orthanc
) -> None:
    folder, web = cases(tmp_path / "out", 2), connected(orthanc)
    path = next(folder.rglob("*.dcm"))
    other = pydicom.dcmread(path)
    pixels = bytearray(other.PixelData)
    pixels[0] ^= 1
    other.PixelData = bytes(pixels)
    web._client.store_instances([other])
    before = orthanc.files()
    with pytest.raises(ServerError, match="another object"):
        send(folder, web, SendOptions(AUDIT))
    assert orthanc.files() == before


def test_wrong_credentials(tmp_path: Path, orthanc: Orthanc) -> None:
    folder = cases(tmp_path / "out", 1)
    for wrong in (Credentials(), Credentials(USER, "no"), Credentials(token="abc")):
        with pytest.raises(ServerError, match=r"refuses \(401\)"):
            send(folder, DicomWeb(Server(orthanc.url), wrong), SendOptions(AUDIT))
    assert not orthanc.files()


def _child(folder: Path, url: str, report: AuditReport) -> None:
    web = DicomWeb(Server(url, wait_s=0.05), Credentials(USER, PASSWORD))
    send(folder, web, SendOptions(AUDIT, group=2), report=report)


@pytest.mark.slow
def test_killed_at_20_random_moments(tmp_path: Path, orthanc: Orthanc) -> None:
    folder = cases(tmp_path / "out", 60, series=3)
    report = audit(folder, AUDIT)  # not again in each run: what is killed is the upload
    forked = multiprocessing.get_context("fork")
    chance = random.Random(7)
    killed, held = 0, [0]
    for _ in range(20):
        process = forked.Process(target=_child, args=(folder, orthanc.url, report))
        process.start()
        time.sleep(chance.uniform(0.0, 0.12))
        process.kill()
        process.join()
        killed += process.exitcode == -9
        held.append(json.loads(orthanc.get("/statistics"))["CountInstances"])
    assert held == sorted(held)  # nothing is lost
    assert killed >= 15
    assert len(set(held)) >= 3, held  # some of them fell within the sending
    outcome = send(folder, connected(orthanc), SendOptions(AUDIT), report=report)
    assert outcome.sent + outcome.already == 60
    assert outcome.already >= held[-1] > 0
    assert orthanc.files() == ours(folder)  # all there, to the byte, none twice
    changes = json.loads(orthanc.get("/changes?limit=100000"))["Changes"]
    there = set(json.loads(orthanc.get("/instances")))
    new = [one["ID"] for one in changes if one["ChangeType"] == "NewInstance"]
    assert sorted(one for one in new if one in there) == sorted(there)  # none was stored twice


def test_a_fetch_that_is_killed(tmp_path: Path, orthanc: Orthanc) -> None:
    folder, web = cases(tmp_path / "out", 20), connected(orthanc)
    send(folder, web, SendOptions(AUDIT))
    back = tmp_path / "back"
    back.mkdir()
    forked = multiprocessing.get_context("fork")
    series = list_series(web)
    chance = random.Random(8)
    for _ in range(5):
        process = forked.Process(target=fetch, args=(connected(orthanc), back, series))
        process.start()
        time.sleep(chance.uniform(0.0, 0.1))
        process.kill()
        process.join()
        here = ours(back)
        assert here.items() <= ours(folder).items()
    fetch(web, back, series)
    assert ours(back) == ours(folder)


def test_the_command(
    tmp_path: Path,
    orthanc: Orthanc,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = cases(tmp_path / "Doe", 3)
    given = ["--server", orthanc.url]
    monkeypatch.setenv("SKINSEG_WEB_USER", USER)
    monkeypatch.setenv("SKINSEG_WEB_PASSWORD", PASSWORD)
    report = tmp_path / "report.json"
    assert main(["web", "send", str(folder), *given]) == 1  # faces
    printed = capsys.readouterr()
    assert "may show a face" in printed.out
    assert "Nothing was sent: 3 files do not pass" in printed.err
    assert not orthanc.files()
    key = tmp_path / "key.txt"
    key.write_text(NAMES.key.hex())
    faces = ["web", "send", str(folder), *given, "--with-face", "--key", str(key)]
    assert main([*faces, "--dry-run"]) == 0
    assert not orthanc.files()
    assert main([*faces, "--json", str(report)]) == 0
    content = json.loads(report.read_text())
    assert content["sent"] == 3
    assert content["audit"]["passed"] == 3
    assert main(["web", "list", *given]) == 0
    (study,) = {one.study for one in list_series(connected(orthanc))}
    back = tmp_path / "back"
    assert main(["web", "fetch", *given, "-o", str(back), "--study", study]) == 0
    assert uids(back) == uids(folder)
    assert main(["web", "fetch", *given, "-o", str(back), "--series", "1.2.3"]) == 1
    assert main(["web", "fetch", *given, "-o", str(back), "--study", "../x"]) == 1
    printed = capsys.readouterr()
    everything = printed.out + printed.err + report.read_text()
    assert study in printed.out
    pseudonym = str(pydicom.dcmread(next(back.rglob("*.dcm"))).PatientID)
    for secret in ("Doe", str(tmp_path), PASSWORD, USER, pseudonym):
        assert secret not in everything
