"""Sending to and fetching from servers that are down, slow, refuse or lie, on a small fake one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from SkinSegLib.core import Cancelled, PrivacyError, Progress, ServerError
from SkinSegLib.privacy.audit import audit
from SkinSegLib.web import (
    SendOptions,
    Server,
    fetch,
    list_series,
    send,
)
from SkinSegLib.web.dicomweb import DicomWeb
from web_makers import FACES, SOON, Fake, cases, fake_server, free_port, reread, sent, uids


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fake_server() as server:
        yield server


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases(tmp_path_factory.mktemp("cases") / "out", 4)


@pytest.fixture
def folder(tmp_path: Path, master: Path) -> Path:
    import shutil

    return Path(shutil.copytree(master, tmp_path / "out"))


def once_only(*answers: Any) -> Any:
    """Gives one answer after the other to POST, then none."""
    left = list(answers)

    def hook(request: Any, body: bytes) -> Any:
        return left.pop(0) if request.command == "POST" and left else None

    return hook


def posts(fake: Fake) -> int:
    return sum(method == "POST" for method, _ in fake.requests)


def gives(items: list[Any]) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/dicom+json"}, json.dumps(items).encode()


def test_what_does_not_pass_the_audit_never_leaves(fake: Fake, folder: Path) -> None:
    web = DicomWeb(Server(fake.url))
    with pytest.raises(PrivacyError, match="4 files do not pass"):
        send(folder, web)  # faces
    path = next(folder.rglob("*.dcm"))
    dataset = reread(path.read_bytes())
    dataset.InstitutionName = "General"
    dataset.save_as(path)
    with pytest.raises(PrivacyError, match="1 files do not pass"):
        send(folder, web, SendOptions(FACES))
    assert not fake.requests  # nobody was even asked
    for one in folder.rglob("*.dcm"):
        one.unlink()
    with pytest.raises(PrivacyError, match="no DICOM file"):
        send(folder, web, SendOptions(FACES))


def test_a_file_that_is_changed_after_the_audit(fake: Fake, folder: Path) -> None:
    report = audit(folder, FACES)
    path = next(folder.rglob("*.dcm"))
    path.write_bytes(path.read_bytes() + b"Doe")
    with pytest.raises(PrivacyError, match="changed after the audit"):
        send(folder, DicomWeb(Server(fake.url)), SendOptions(FACES), report=report)
    assert not fake.objects


def test_a_server_that_is_down(folder: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(ServerError, match="cannot be reached"):
        web = DicomWeb(Server(f"http://127.0.0.1:{free_port()}/dicom-web", **SOON))
        send(folder, web, SendOptions(FACES))
    assert time.monotonic() - begun < 10


def test_the_answer_is_lost(fake: Fake, folder: Path) -> None:
    """Stored, then silence: looked for, and not sent again."""
    fake.after = once_only(Fake.DROP)
    assert sent(fake, folder, group=2).sent == 4
    assert posts(fake) == 2
    assert set(fake.times_stored.values()) == {1}
    assert fake.objects.keys() == uids(folder)


def test_a_request_that_does_not_arrive(fake: Fake, folder: Path) -> None:
    fake.before = once_only(Fake.DROP, (503, {"Retry-After": "0"}, b""))
    assert sent(fake, folder).sent == 4
    assert posts(fake) == 3
    assert set(fake.times_stored.values()) == {1}


@pytest.mark.parametrize("stored", [False, True])
def test_a_server_that_is_slow(fake: Fake, folder: Path, stored: bool) -> None:
    slow = threading.Event()

    def wait(request: Any, body: bytes) -> None:
        if request.command == "POST" and not slow.is_set():
            slow.set()
            time.sleep(0.6)

    if stored:
        fake.after = wait
    else:
        fake.before = wait
    outcome = sent(fake, folder, silence_s=0.2, attempts=5, wait_s=0.3)
    assert outcome.sent == 4
    assert fake.objects.keys() == uids(folder)
    if stored:
        assert set(fake.times_stored.values()) == {1}


def test_a_server_that_is_always_slow(fake: Fake, folder: Path) -> None:
    fake.before = lambda request, body: time.sleep(0.5)
    with pytest.raises(ServerError, match="not answer in time"):
        sent(fake, folder, silence_s=0.1, attempts=2)


def test_an_answer_that_drips(fake: Fake, folder: Path) -> None:
    """Each byte comes in time, and the end never."""

    def drip(request: Any, body: bytes) -> Any:
        request.send_response(200)
        request.send_header("Content-Type", "application/dicom+json")
        request.send_header("Content-Length", "300000000")
        request.end_headers()
        for _ in range(40):
            request.wfile.write(b" " * 300_000)
            time.sleep(0.05)
        return Fake.DROP

    fake.before = drip
    begun = time.monotonic()
    with pytest.raises(ServerError, match="not answer in time"):
        sent(fake, folder, answer_s=0.3, attempts=1)
    assert time.monotonic() - begun < 1.5


@pytest.mark.parametrize(
    ("status", "tries", "says"),
    [
        (401, 1, "SKINSEG_WEB_PASSWORD"),
        (403, 1, "--no-search"),
        (400, 1, "refuses what was asked"),
        (500, 3, "busy or has a fault"),
        (503, 3, "busy or has a fault"),
        (429, 3, "busy or has a fault"),
    ],
)
def test_a_server_that_refuses(
    fake: Fake, folder: Path, status: int, tries: int, says: str
) -> None:
    fake.before = lambda request, body: (status, {}, b"<html>Doe</html>")
    with pytest.raises(ServerError, match=says) as failure:
        sent(fake, folder)
    assert "Doe" not in str(failure.value)
    assert len(fake.requests) == tries


def test_a_request_that_is_too_large(fake: Fake, folder: Path) -> None:
    fake.before = once_only((413, {}, b""))
    with pytest.raises(ServerError, match="--group"):
        sent(fake, folder)


def test_a_server_that_asks_to_wait_long(fake: Fake, folder: Path) -> None:
    fake.before = lambda request, body: (503, {"Retry-After": "3600"}, b"")
    with pytest.raises(ServerError, match="wait 60 minutes"):
        sent(fake, folder)
    assert len(fake.requests) == 1


def test_a_redirection_is_not_followed(fake: Fake, folder: Path) -> None:
    with fake_server() as elsewhere:
        there = elsewhere.url + "/studies"
        fake.before = lambda request, body: (307, {"Location": there}, b"")
        with pytest.raises(ServerError, match="sends elsewhere"):
            sent(fake, folder)
        fake.before = once_only((307, {"Location": there}, b""))
        with pytest.raises(ServerError, match="sends elsewhere"):
            sent(fake, folder)
        assert not elsewhere.requests


def test_some_files_are_refused(fake: Fake, folder: Path) -> None:
    """One for good; one at first for want of room."""
    first, second, *others = sorted(uids(folder))
    answers = [
        ([first], [(second, 0xA700)]),
        ([], [(second, 0xC123)]),
    ]

    def refuse(request: Any, body: bytes) -> Any:
        if request.command != "POST" or not answers:
            return None
        held, failed = answers.pop(0)
        for uid in (*([] if second in held else [second]), *(others if first in held else [])):
            fake.objects.pop(uid, None)
        answer = {
            "00081199": {
                "vr": "SQ",
                "Value": [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in held],
            },
            "00081198": {
                "vr": "SQ",
                "Value": [
                    {
                        "00081155": {"vr": "UI", "Value": [uid]},
                        "00081197": {"vr": "US", "Value": [reason]},
                    }
                    for uid, reason in failed
                ],
            },
        }
        kind = {"Content-Type": "application/dicom+json"}
        return (202 if held else 409), kind, json.dumps(answer).encode()

    fake.after = refuse
    outcome = sent(fake, folder)
    assert outcome.sent == 3
    assert dict(outcome.refused) == {"the server cannot read the object (C123)": 1}
    assert fake.objects.keys() == {first, *others}


def test_an_answer_without_a_word(fake: Fake, folder: Path) -> None:
    fake.after = once_only((200, {}, b""))
    assert sent(fake, folder).sent == 4
    assert posts(fake) == 1


def test_a_server_that_lies(fake: Fake, folder: Path) -> None:
    """It says that it holds what it does not list."""

    def forget(request: Any, body: bytes) -> None:
        if request.command == "POST":
            fake.objects.popitem()

    fake.after = forget
    with pytest.raises(ServerError, match="1 files that it does not list"):
        sent(fake, folder)
    fake.after = lambda request, body: None
    assert sent(fake, folder).sent == 1
    assert fake.objects.keys() == uids(folder)


def test_a_server_that_lets_nobody_search(fake: Fake, folder: Path) -> None:
    def write_only(request: Any, body: bytes) -> Any:
        return None if request.command == "POST" else (403, {}, b"")

    fake.before = write_only
    with pytest.raises(ServerError, match="--no-search"):
        sent(fake, folder)
    assert sent(fake, folder, search=False).sent == 4
    assert sent(fake, folder, search=False).already == 4
    assert set(fake.times_stored.values()) == {1}


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"Content-Type": "text/html"}, b"<html>Doe</html>"),
        gives([{"00080018": {"vr": "UI", "Value": ["../../../etc/x"]}}]),
        gives([{"00080018": {"vr": "UI", "Value": ["1." * 40 + "1"]}}]),
        gives([{}]),
        gives(["Doe"]),
        gives([{"00080018": 3}]),
    ],
)
def test_answers_that_are_nonsense(fake: Fake, tmp_path: Path, folder: Path, answer: Any) -> None:
    fake.before = lambda request, body: answer if request.path.count("/instances") else None
    with pytest.raises(ServerError, match="not what it should be"):
        sent(fake, folder)
    fake.before = once_only()
    sent(fake, folder)
    series = list_series(DicomWeb(Server(fake.url)))
    fake.before = lambda request, body: answer if request.path.count("/instances") else None
    with pytest.raises(ServerError, match="not what it should be"):
        fetch(DicomWeb(Server(fake.url, **SOON)), tmp_path / "back", series)
    assert not list((tmp_path / "back").rglob("*.dcm"))


def test_another_object_than_asked_for(fake: Fake, tmp_path: Path, folder: Path) -> None:
    sent(fake, folder)
    web = DicomWeb(Server(fake.url, **SOON))
    series = list_series(web)
    contents = list(fake.objects.values())
    fake.objects = dict(zip(fake.objects, contents[1:] + contents[:1], strict=True))
    uid = next(iter(fake.objects))
    fake.before = lambda request, body: (
        gives([{"00080018": {"vr": "UI", "Value": [uid]}}])
        if request.path.endswith("/instances?offset=0")
        else None
    )
    with pytest.raises(ServerError, match="another object than it was asked for"):
        fetch(web, tmp_path / "back", series)
    assert not list((tmp_path / "back").rglob("*.dcm"))


def test_cancelling_and_going_on(fake: Fake, folder: Path) -> None:
    web = DicomWeb(Server(fake.url, **SOON))
    progress = Progress(is_cancelled=lambda: posts(fake) >= 2)
    with pytest.raises(Cancelled):
        send(folder, web, SendOptions(FACES, group=1), progress)
    assert len(fake.objects) == 2
    outcome = sent(fake, folder, group=1)
    assert (outcome.sent, outcome.already) == (2, 2)
    assert set(fake.times_stored.values()) == {1}
