"""Servers on loopback: a real Orthanc, and a small DICOMweb service that misbehaves on demand."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from privacy_makers import KEY, plain_file
from SkinSegLib.privacy import DeidentifyOptions, Pseudonyms, deidentify
from SkinSegLib.privacy.audit import AuditOptions
from SkinSegLib.web import SendOptions, SendOutcome, Server, send
from SkinSegLib.web.dicomweb import DicomWeb

USER, PASSWORD = "anna", "p\u00e4ss:word"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
NAMES = Pseudonyms(KEY)
FACES = AuditOptions(with_face=True)
SOON = {"wait_s": 0.01, "attempts": 3}


def cases(folder: Path, files: int = 6, series: int = 1, **changes: Any) -> Path:
    """De-identified slices of one study in ``folder``; their face is not cut out."""
    source = folder.with_name(f"{folder.name}-source")
    source.mkdir()
    rng = np.random.default_rng(5)
    for number in range(files):
        given = {
            "StudyInstanceUID": "1.2.826.99.1",
            "SeriesInstanceUID": f"1.2.826.99.2.{number % series}",
            "SOPInstanceUID": f"1.2.826.99.3.{number}",
            **changes,
        }
        pixels = rng.integers(-1020, -980, (32, 32)).astype(np.int16)
        plain_file(source / f"{number}.dcm", pixels, **given)
    outcome = deidentify(source, folder, DeidentifyOptions(), NAMES)
    assert outcome.written == files, outcome.refused
    shutil.rmtree(source)
    return folder


def uids(folder: Path) -> set[str]:
    return {path.stem for path in folder.rglob("*.dcm")}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Orthanc:
    """A running one: ``url`` of its DICOMweb service, and its own REST service for looking in."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/dicom-web"

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(self.root + path)
        word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {word}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return bytes(answer.read())

    def files(self) -> dict[str, bytes]:
        """Each object's bytes by its SOP Instance UID."""
        found = {}
        for name in json.loads(self.get("/instances")):
            content = self.get(f"/instances/{name}/file")
            uid = json.loads(self.get(f"/instances/{name}"))["MainDicomTags"]["SOPInstanceUID"]
            assert uid not in found
            found[uid] = content
        return found

    def clear(self) -> None:
        for name in json.loads(self.get("/studies")):
            request = urllib.request.Request(f"{self.root}/studies/{name}", method="DELETE")
            word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", f"Basic {word}")
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not PLUGIN.is_file():
        pytest.skip("no Orthanc with DICOMweb: install the Debian packages of .ci/system-packages")
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "OverwriteInstances": False,
        "SaveJobs": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with open(folder / "orthanc.log", "wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            server = Orthanc(port)
            for _ in range(200):
                if process.poll() is not None:
                    break
                try:
                    server.get("/system")
                    break
                except OSError:
                    time.sleep(0.05)
            else:
                process.kill()
            assert process.poll() is None, (folder / "orthanc.log").read_text()
            yield server
        finally:
            process.kill()  # its storage is thrown away
            process.wait(10)


class Fake:
    """A DICOMweb service in memory. ``before(request, body)`` may answer in its place by returning
    (status, headers, body), or ``DROP`` to break off without an answer; ``after`` likewise, when
    what was sent is stored already."""

    DROP = (-1, {}, b"")

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.times_stored: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.headers: list[Any] = []
        self.before: Callable[[Any, bytes], Any] = lambda request, body: None
        self.after: Callable[[Any, bytes], Any] = lambda request, body: None
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                fake._answer(self, b"")

            def do_POST(self) -> None:
                fake._answer(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}/dicom-web"

    def _answer(self, request: Any, body: bytes) -> None:
        self.requests.append((request.command, request.path))
        self.headers.append(request.headers)
        found = self.before(request, body)
        if found is None:
            found = self._service(request, body)
            found = self.after(request, body) or found
        status, headers, content = found
        if status < 0:
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _service(self, request: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        kind = {"Content-Type": "application/dicom+json"}
        path, _, query = request.path.removeprefix("/dicom-web").partition("?")
        if request.command == "POST":
            held = [self._store(part) for part in parts(request.headers["Content-Type"], body)]
            sequence = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in held]
            answer = {"00081199": {"vr": "SQ", "Value": sequence}}
            return 200, kind, json.dumps(answer).encode()
        offset = int((re.findall(r"offset=(\d+)", query) or ["0"])[0])
        sets = [reread(content) for content in self.objects.values()]
        if match := re.fullmatch(r"/studies/([\d.]+)/series/([\d.]+)/instances", path):
            here = [one for one in sets if one.SeriesInstanceUID == match[2]]
            found = [{"00080018": {"vr": "UI", "Value": [one.SOPInstanceUID]}} for one in here]
            return 200, kind, json.dumps(found[offset:]).encode()
        if match := re.fullmatch(r"/studies/[\d.]+/series/[\d.]+/instances/([\d.]+)", path):
            mark = b"--mark"
            content = self.objects[match[1]]
            whole = mark + b"\r\nContent-Type: application/dicom\r\n\r\n" + content
            kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=mark'}
            return 200, kind, whole + b"\r\n" + mark + b"--\r\n"
        if re.fullmatch(r"(/studies/[\d.]+)?/series", path):
            pairs = {(one.StudyInstanceUID, one.SeriesInstanceUID) for one in sets}
            found = [
                {
                    "0020000D": {"vr": "UI", "Value": [study]},
                    "0020000E": {"vr": "UI", "Value": [series]},
                }
                for study, series in sorted(pairs)
            ]
            return 200, kind, json.dumps(found[offset:]).encode()
        return 404, {}, b""

    def _store(self, content: bytes) -> str:
        uid = str(reread(content).SOPInstanceUID)
        self.objects[uid] = content
        self.times_stored[uid] = self.times_stored.get(uid, 0) + 1
        return uid


def reread(content: bytes) -> pydicom.FileDataset:
    import io

    return pydicom.dcmread(io.BytesIO(content))


def parts(content_type: str, body: bytes) -> list[bytes]:
    mark = re.search(r'boundary="?([^";]+)', content_type)
    assert mark
    pieces = body.split(b"--" + mark[1].encode())
    return [
        piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        for piece in pieces[1:]
        if not piece.startswith(b"--")
    ]


def sent(fake: Fake, folder: Path, group: int = 16, search: bool = True, **how: Any) -> SendOutcome:
    """Send a folder to a fake server, waiting no longer than a test may."""
    web = DicomWeb(Server(fake.url, **{**SOON, **how}))
    return send(folder, web, SendOptions(FACES, group=group, search=search))


@contextmanager
def fake_server(tls: tuple[Path, Path] | None = None) -> Iterator[Fake]:
    fake = Fake(tls)
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.server.shutdown()
        fake.server.server_close()
        thread.join(5)


def certificate(folder: Path, host: str = "127.0.0.1", days: int = 2) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as PEM files; of yesterday if ``days`` is negative."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    paths = (folder / "server.pem", folder / "server.key")
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
