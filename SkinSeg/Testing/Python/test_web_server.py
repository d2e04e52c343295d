"""Which server and as whom: addresses, certificates, credentials; and the journal of an upload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from SkinSegLib.cli import main
from SkinSegLib.core import OutputError, ServerError
from SkinSegLib.web import (
    Credentials,
    Server,
    list_series,
    read_credentials,
)
from SkinSegLib.web.dicomweb import DicomWeb
from SkinSegLib.web.journal import Journal, journal_in, opened_journal
from web_makers import Fake, cases, certificate, fake_server, sent


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
