"""``skinseg web send|list|fetch|ask``: cases to and from servers. Prints UIDs, and no names."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_arguments import ending, within
from .cli_dicom import without_path

if TYPE_CHECKING:
    from .privacy.audit import AuditReport
    from .web.dicomweb import DicomWeb
    from .web.server import Credentials, Server

_CREDENTIALS = (
    "Credentials come from $SKINSEG_WEB_USER and $SKINSEG_WEB_PASSWORD, or $SKINSEG_WEB_TOKEN, and "
    "are never an argument."
)
_STOPPED = "Cancelled. What is done stays; run it again to go on."


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``web``."""
    parser = commands.add_parser(
        "web", help="cases to and from servers", description=f"Deal with servers. {_CREDENTIALS}"
    )
    actions = parser.add_subparsers(metavar="COMMAND", required=True)
    shared = _shared()
    _add_send(actions, shared)
    listing = actions.add_parser(
        "list",
        parents=[shared],
        help="what a DICOMweb server holds",
        description=f"List series by their UIDs. {_CREDENTIALS}",
    )
    listing.add_argument("--study", metavar="UID", help="of this study only")
    listing.set_defaults(run=_list)
    fetching = actions.add_parser(
        "fetch",
        parents=[shared],
        help="bring cases from a DICOMweb server",
        description="Bring series into a folder. Files that are there are not fetched again. "
        f"{_CREDENTIALS}",
    )
    fetching.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    which = fetching.add_mutually_exclusive_group(required=True)
    which.add_argument("--study", nargs="+", metavar="UID", help="all series of these studies")
    which.add_argument("--series", nargs="+", metavar="UID", help="these series")
    which.add_argument("--all", action="store_true", help="all that the server holds")
    fetching.set_defaults(run=_fetch, cancelled=_STOPPED)
    _add_ask(actions, shared)
    app = actions.add_parser(
        "app",
        help="the app for a MONAI Label server",
        description="Copy the app into a new folder, for monailabel start_server --app FOLDER.",
    )
    app.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    app.set_defaults(run=_app, debug=False)


def _shared() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    shared.add_argument(
        "--server", required=True, metavar="URL", help="such as https://host/dicom-web"
    )
    shared.add_argument(
        "--ca", type=Path, metavar="FILE", help="certificate (PEM) of your own authority"
    )
    shared.add_argument(
        "--plain-http", action="store_true", help="allow http without encryption to another host"
    )
    shared.add_argument("--login", action="store_true", help="ask for user and password")
    shared.add_argument(
        "--timeout",
        type=within(1, 3600, " s"),
        default=60.0,
        metavar="S",
        help="longest silence of the server; default: 60",
    )
    shared.add_argument("--json", type=ending(".json"), metavar="FILE", help="report to write")
    return shared


def _add_send(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser
) -> None:
    parser = actions.add_parser(
        "send",
        parents=[shared],
        help="contribute de-identified cases",
        description="Audit a folder as skinseg dicom deface --deidentify writes it, and send it to "
        "a DICOMweb server (STOW-RS) if every file passes; else nothing is sent. Run again, it "
        f"goes on where it stopped. {_CREDENTIALS}",
    )
    parser.add_argument("input", type=Path, metavar="FOLDER", help="of de-identified DICOM files")
    parser.add_argument(
        "--with-face",
        action="store_true",
        help="send also what is not defaced: it shows no face, or the patient has agreed",
    )
    parser.add_argument(
        "--text-seen",
        action="store_true",
        help="send also what seems to have text in the pixels: someone has looked",
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="as given to de-identify: every file must bear the seal of this key, which proves "
        "that nothing was added since",
    )
    parser.add_argument("--dry-run", action="store_true", help="audit only, ask no server")
    parser.add_argument(
        "--group",
        type=_group,
        default=16,
        metavar="N",
        help="files in one request at most; default: 16",
    )
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="what the server has acknowledged; default: a hidden file in FOLDER",
    )
    parser.add_argument(
        "--no-search",
        action="store_true",
        help="for servers that let nobody search: believe what they say when they take a file",
    )
    parser.set_defaults(run=_send, cancelled=_STOPPED)


def _add_ask(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser
) -> None:
    parser = actions.add_parser(
        "ask",
        parents=[shared],
        help="have a MONAI Label server segment a scan",
        description="Send the voxels of a scan (no header; they show the face) to a MONAI Label "
        f"server, and write its mask if it fits the scan. {_CREDENTIALS}",
    )
    parser.add_argument("input", type=Path, metavar="SCAN", help="as for skinseg segment")
    parser.add_argument(
        "-o",
        "--output",
        type=ending(".nrrd", ".nii.gz", ".nii", ".mha"),
        required=True,
        metavar="FILE",
        help="mask to write: .seg.nrrd (segments Head and Skin; needs slicer-core), or a labelmap",
    )
    parser.add_argument("--series", help="DICOM: series number, #n for the n-th one, or its UID")
    parser.add_argument("--model", metavar="NAME", help="default: skinseg, or the only one")
    parser.add_argument("--label", type=int, metavar="N", help="value of the head in the answer")
    parser.set_defaults(run=_ask, timeout=600.0)


def _group(text: str) -> int:
    return int(within(1, 1000, " files")(text))


def _server(chosen: argparse.Namespace) -> tuple[Server, Credentials]:
    from .web import Server, read_credentials

    server = Server(
        chosen.server, chosen.ca, plain_http=chosen.plain_http, silence_s=chosen.timeout
    )
    return server, read_credentials(chosen.login)


def _connected(chosen: argparse.Namespace) -> DicomWeb:
    from .web.dicomweb import DicomWeb

    return DicomWeb(*_server(chosen))


def _send(chosen: argparse.Namespace) -> int | None:
    from .core import PrivacyError
    from .privacy import Pseudonyms, load_key
    from .privacy.audit import AuditOptions, audit
    from .report import table
    from .terminal import watched
    from .web import SendOptions, send
    from .web.contribute import require_good

    _require_writable(chosen.json)
    if not chosen.input.is_dir():
        raise PrivacyError("What was given is no folder. Give the folder of DICOM files.")
    names = None if chosen.key is None else Pseudonyms(load_key(chosen.key))
    wanted = AuditOptions(chosen.with_face, chosen.text_seen, names)
    web = None if chosen.dry_run else _connected(chosen)
    with without_path(chosen.input), watched(sys.stderr) as progress:
        with progress.stage("Audit", 0.3):
            report = audit(chosen.input, wanted, progress)
        print(table(_audit_rows(report)), end="")
        if web is None or not report.good:
            _write_json(chosen.json, {"audit": report.as_dict()})
            require_good(report)
            return None
        options = SendOptions(
            wanted, chosen.journal, group=chosen.group, search=not chosen.no_search
        )
        outcome = send(chosen.input, web, options, progress, report)
        progress.finish()
    _write_json(chosen.json, outcome.as_dict())
    rows = [("Sent", f"{outcome.sent} files"), ("There before", f"{outcome.already} files")]
    if outcome.unseen:
        rows.append(("Not compared", f"{outcome.unseen} files, which the server does not give out"))
    rows += [("Refused", f"{count}: {reason}") for reason, count in outcome.refused.items()]
    print(table(rows), end="")
    return 1 if outcome.refused else None


def _audit_rows(report: AuditReport) -> list[tuple[str, str]]:
    found = report.as_dict()
    rows = [
        ("Passed", f"{found['passed']} files of {found['patients']} patients"),
        ("Failed", f"{found['failed']} files"),
    ]
    if report.others:
        rows.append(("Not sent", f"{report.others} files that are no DICOM"))
    if report.repeated:
        rows.append(("Repeated", f"{report.repeated} files hold an object that another one holds"))
    return rows + [("Problem", f"{n}: {text}") for text, n in found["problems"].items()]


def _list(chosen: argparse.Namespace) -> None:
    from .terminal import watched
    from .web import list_series

    _require_writable(chosen.json)
    web = _connected(chosen)
    with watched(sys.stderr) as progress:
        found = list_series(web, _uid(chosen.study), progress)
    _write_json(chosen.json, {"series": [vars(one) for one in found]})
    study = None
    for one in found:
        if one.study != study:
            study = one.study
            print(f"study {study}")
        count = "?" if one.instances is None else one.instances
        print(f"  series {one.series}  {one.modality}  {count} files")
    print(f"{len(found)} series in {len({one.study for one in found})} studies")


def _fetch(chosen: argparse.Namespace) -> None:
    from .core import ServerError
    from .report import table
    from .terminal import watched
    from .web import fetch, list_series

    _require_writable(chosen.json)
    studies = [_uid(text) for text in chosen.study or ()]
    series = {_uid(text) for text in chosen.series or ()}
    web = _connected(chosen)
    with without_path(chosen.output), watched(sys.stderr) as progress:
        found = [one for study in studies or [None] for one in list_series(web, study, progress)]
        wanted = [one for one in found if not series or one.series in series]
        if not wanted or len({one.series for one in wanted}) < len(series):
            raise ServerError(
                "The server does not hold all that was asked for. See skinseg web list."
            )
        outcome = fetch(web, chosen.output, wanted, progress)
        progress.finish()
    _write_json(chosen.json, outcome.as_dict())
    rows = [
        ("Fetched", f"{outcome.written} files of {outcome.series} series"),
        ("There before", f"{outcome.already} files"),
    ]
    if outcome.identified:
        rows.append(("Note", f"{outcome.identified} files do not say that they are de-identified"))
    print(table(rows), end="")


def _uid(text: str | None) -> str | None:
    """Raises ServerError for what is no UID: it becomes a part of the address."""
    import re

    from .core import ServerError

    if text is not None and re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) is None:
        raise ServerError("That is no UID. See skinseg web list.")
    return text


def _require_writable(path: Path | None) -> None:
    from .core import require_writable

    if path is not None:
        require_writable(path)


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    from .core import replacing

    if path is not None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _ask(chosen: argparse.Namespace) -> None:
    from .job import mask_to_file, scan_at
    from .report import table
    from .terminal import watched
    from .web import MonaiLabel

    _require_writable(chosen.json)
    _require_writable(chosen.output)
    label = MonaiLabel(*_server(chosen))
    with without_path(chosen.input), watched(sys.stderr) as progress:
        volume = scan_at(chosen.input, chosen.series)(progress.part(0.0, 0.1))
        mask = label.ask(volume, chosen.model, chosen.label, progress.part(0.1, 0.9))
        progress.finish()
    mask_to_file(volume, mask, chosen.output)
    figures = {"engine": mask.engine, "volume_ml": round(mask.volume_ml, 1)}
    _write_json(chosen.json, figures)
    print(table([("Head", f"{mask.volume_ml:.0f} mL"), ("Engine", mask.engine)]), end="")


def _app(chosen: argparse.Namespace) -> None:
    import shutil

    from .core import OutputError, resource_path

    if chosen.output.exists():
        raise OutputError("The folder is there already. Name a new one.")
    try:
        shutil.copytree(
            resource_path("MONAILabel", "skinseg"),
            chosen.output,
            ignore=shutil.ignore_patterns("__pycache__", "logs", "model", "bin"),
        )
    except OSError as error:
        raise OutputError(
            f"The app cannot be written there ({error.strerror}). Choose another folder."
        ) from error
    print("Start it with: monailabel start_server --app FOLDER --studies FOLDER_OF_SCANS")
