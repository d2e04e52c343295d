"""Servers that are down, slow, refuse, lie or have a bad certificate, on a small fake one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from SkinSegLib.cli import main
from SkinSegLib.core import Cancelled, OutputError, PrivacyError, Progress, ServerError
from SkinSegLib.privacy.audit import AuditOptions, audit
from SkinSegLib.web import (
    Credentials,
    SendOptions,
    SendOutcome,
    Server,
    fetch,
    list_series,
    read_credentials,
    send,
)
from SkinSegLib.web.dicomweb import DicomWeb
from SkinSegLib.web.journal import Journal, journal_in, opened_journal
from web_makers import Fake, cases, certificate, fake_server, free_port, reread, uids

FACES = AuditOptions(with_face=True)
SOON = {"wait_s": 0.01, "attempts": 3}


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


def sent(fake: Fake, folder: Path, group: int = 16, search: bool = True, **how: Any) -> SendOutcome:
    web = DicomWeb(Server(fake.url, **{**SOON, **how}))
    return send(folder, web, SendOptions(FACES, group=group, search=search))


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


def test_certificates(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    good = certificate(tmp_path / "good")
    # The environment may not decide whom to trust.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(good[0]))
    with fake_server(good) as server:
        with pytest.raises(ServerError, match="certificate cannot be trusted"):
            sent(server, folder)
        assert not server.requests
        assert sent(server, folder, ca_file=good[0]).sent == 4
    for wrong in ({"host": "127.0.0.2"}, {"days": -1}):
        bad = certificate(tmp_path / "bad", **wrong)  # type: ignore[arg-type]
        with fake_server(bad) as server:
            with pytest.raises(ServerError, match="certificate cannot be trusted"):
                sent(server, folder, ca_file=bad[0])
            assert not server.requests
    with fake_server() as server, pytest.raises(ServerError):
        sent(Fake_at(server.url.replace("http:", "https:")), folder)  # no https at all


class Fake_at:
    def __init__(self, url: str) -> None:
        self.url = url


def test_cancelling_and_going_on(fake: Fake, folder: Path) -> None:
    web = DicomWeb(Server(fake.url, **SOON))
    progress = Progress(is_cancelled=lambda: posts(fake) >= 2)
    with pytest.raises(Cancelled):
        send(folder, web, SendOptions(FACES, group=1), progress)
    assert len(fake.objects) == 2
    outcome = sent(fake, folder, group=1)
    assert (outcome.sent, outcome.already) == (2, 2)
    assert set(fake.times_stored.values()) == {1}


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_credentials() == Credentials()
    monkeypatch.setenv("SKINSEG_WEB_USER", "anna")
    with pytest.raises(ServerError, match="SKINSEG_WEB_PASSWORD"):
        read_credentials()  # no terminal to ask
    monkeypatch.setenv("SKINSEG_WEB_PASSWORD", "s3cret")
    found = read_credentials()
    assert (found.user, found.password) == ("anna", "s3cret")
    monkeypatch.setenv("SKINSEG_WEB_TOKEN", "t0ken\n")
    found = read_credentials()
    assert (found.user, found.token) == ("", "t0ken")
    assert "t0ken" not in repr(found)
    for wrong in ({"token": "a b"}, {"user": "a:b"}, {"user": "a", "password": "x\r\ny"}):
        with pytest.raises(ServerError) as failure:
            Credentials(**wrong)
        assert "x\r" not in str(failure.value)
    with pytest.raises(ServerError, match="terminal"):
        read_credentials(ask=True)


def test_what_is_sent_of_credentials(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    list_series(DicomWeb(Server(fake.url)))
    assert fake.headers[-1]["Authorization"] is None
    list_series(DicomWeb(Server(fake.url), Credentials(token="t0ken")))
    assert fake.headers[-1]["Authorization"] == "Bearer t0ken"
    list_series(DicomWeb(Server(fake.url), Credentials("anna", "ü:x")))
    assert fake.headers[-1]["Authorization"] == "Basic YW5uYTrDvDp4"


def test_no_secret_is_shown(
    fake: Fake,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SKINSEG_WEB_TOKEN", "t0ken")
    fake.before = lambda request, body: (401, {}, b"")
    given = ["web", "send", str(folder), "--server", fake.url, "--with-face", "--debug"]
    assert main(given) == 1
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    assert "t0ken" not in printed.out + printed.err
    for command in ("send", "list", "fetch"):
        with pytest.raises(SystemExit):
            main(["web", command, "--help"])
        shown = capsys.readouterr().out
        assert "--password" not in shown
        assert "--token" not in shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/x", "no address"),
        ("https://", "no address"),
        ("https://host:99999/x", "no address"),
        ("http://[::1", "no address"),
        ("https://anna:secret@host/x", "more than host and path"),
        ("https://host/x?y=1", "more than host and path"),
        ("http://example.org/dicom-web", "--plain-http"),
        ("http://127.0.0.1.example.org/", "--plain-http"),
    ],
)
def test_addresses(url: str, says: str) -> None:
    with pytest.raises(ServerError, match=says) as failure:
        Server(url)
    assert "secret" not in str(failure.value)


def test_addresses_that_can_be_used() -> None:
    assert Server("https://host/dicom-web/").url == "https://host/dicom-web"
    for url in ("http://localhost:8042/x", "http://127.0.0.1/", "http://[::1]:80/x"):
        Server(url)
    Server("http://example.org", plain_http=True)
    with pytest.raises(ServerError, match="--ca"):
        Server("https://host", Path("none.pem"))


def test_the_journal(tmp_path: Path) -> None:
    url, path = "https://host/dicom-web", tmp_path / "journal"
    with opened_journal(path, url) as journal:
        journal.add([("1.2", "aa"), ("1.3", "bb")])
        with pytest.raises(ServerError, match="Another upload"), opened_journal(path, url):
            pass
    whole = path.read_bytes()
    assert b"host" not in whole
    for cut in range(0, len(whole), 5):  # killed while writing
        path.write_bytes(whole[:cut])
        lines = max(0, whole[:cut].count(b"\n") - 1)
        journal = Journal(path, url)
        assert len(journal.acknowledged) == lines
        journal.add([("1.4", "cc")])
        assert Journal(path, url).acknowledged == {**journal.acknowledged, "1.4": "cc"}
    path.write_bytes(whole)
    with pytest.raises(ServerError, match="another server"):
        Journal(path, "https://other")
    path.write_bytes(whole + b"nonsense\n")
    with pytest.raises(ServerError, match="damaged"):
        Journal(path, url)
    with pytest.raises(OutputError, match="--journal"):
        Journal(tmp_path / "no" / "journal", url)
    assert journal_in(tmp_path, url) == journal_in(tmp_path, url + "/")
    assert journal_in(tmp_path, url) != journal_in(tmp_path, "https://other")
