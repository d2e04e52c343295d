"""``skinseg dicom deidentify``, ``reveal``, and by ``cli_deface`` ``deface`` and ``restore``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_arguments import ending

if TYPE_CHECKING:
    from .core import Progress
    from .privacy import Outcome, Pseudonyms

_PASSPHRASE = "The passphrase is read from $SKINSEG_PASSPHRASE, or asked for."
_STOPPED = "Cancelled. The files done so far stay; run it again with the same key to go on."


def add_parsers(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
    engine: argparse.ArgumentParser,
) -> None:
    """Add the commands; ``common`` and ``engine`` hold arguments shared with others."""
    from .cli_deface import add_deface, add_restore

    debug = argparse.ArgumentParser(add_help=False)
    debug.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    _add_deidentify(commands, debug)
    add_deface(commands, [common, engine])
    add_restore(commands, debug)
    reveal = commands.add_parser(
        "reveal",
        parents=[debug],
        help="whom a pseudonym stands for",
        description=f"Look a pseudonym up in an encrypted table. {_PASSPHRASE}",
    )
    reveal.add_argument("table", type=Path, metavar="TABLE", help="as written by --table")
    reveal.add_argument("pseudonym", metavar="PSEUDONYM")
    reveal.set_defaults(run=_reveal)


def _add_deidentify(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], debug: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "deidentify",
        parents=[debug],
        help="take names, dates and the like out of scan files",
        description="Apply the Basic Profile of DICOM PS3.15 Annex E to every image, and leave out "
        "what is no image. The pixels still show a face: see skinseg dicom deface.",
    )
    parser.add_argument("input", type=Path, metavar="INPUT", help="folder, zip, or file")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="made if missing"
    )
    add_profile(parser)
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help=f"write or extend an encrypted table of who is who. {_PASSPHRASE} Lose it and the "
        "table cannot be read again",
    )
    parser.add_argument("--dry-run", action="store_true", help="write nothing, say what would be")
    parser.add_argument("--json", type=ending(".json"), metavar="FILE", help="report to write")
    parser.set_defaults(run=_deidentify, cancelled=_STOPPED)


def add_profile(parser: argparse.ArgumentParser) -> None:
    """The key and the options of the profile."""
    group = parser.add_argument_group("how to de-identify")
    group.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="gives the same person the same pseudonym every time; default: a key that is thrown "
        "away",
    )
    group.add_argument("--new-key", action="store_true", help="make the file of --key")
    group.add_argument("--keep-dates", action="store_true", help="shifted, not removed")
    group.add_argument("--keep-device", action="store_true", help="identity of the scanner")
    group.add_argument("--keep-patient", action="store_true", help="sex, age, size and weight")
    group.add_argument(
        "--clean-descriptors",
        action="store_true",
        help="keep harmless words of descriptions, not none",
    )
    group.add_argument(
        "--keep-safe-private",
        action="store_true",
        help="private attributes that the standard lists as safe, such as the pitch",
    )
    group.add_argument(
        "--burned-in",
        choices=("refuse", "blackout", "accept"),
        default="refuse",
        help="what to do with text in the pixels near the border; default: refuse the file",
    )


def pseudonyms(chosen: argparse.Namespace) -> Pseudonyms | None:
    """Those of ``--key``; None where there is none."""
    from .core import PrivacyError
    from .privacy import Pseudonyms, load_key, make_key

    if chosen.key is None:
        if chosen.new_key:
            raise PrivacyError("--new-key needs --key, the file to make.")
        return None
    if chosen.key.resolve().is_relative_to(chosen.output.resolve()):
        raise PrivacyError("The key must not lie in the folder that is shared. Choose another.")
    if chosen.new_key and getattr(chosen, "dry_run", False):
        return None  # nothing is written, the key neither
    return Pseudonyms(make_key(chosen.key) if chosen.new_key else load_key(chosen.key))


def profile_options(chosen: argparse.Namespace) -> Any:
    """What :func:`add_profile` was given, as DeidentifyOptions."""
    from .privacy import DeidentifyOptions

    return DeidentifyOptions(
        chosen.keep_dates,
        chosen.keep_device,
        chosen.keep_patient,
        chosen.clean_descriptors,
        chosen.burned_in,
        chosen.keep_safe_private,
    )


def _deidentify(chosen: argparse.Namespace) -> int | None:
    from .core import replacing, require_writable
    from .terminal import watched

    if chosen.json is not None:
        require_writable(chosen.json)
    with watched(sys.stderr) as progress:
        outcome = _run(chosen, progress)
        progress.finish()
    content = outcome.as_dict()
    if chosen.json is not None:
        with replacing(chosen.json) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _show(outcome, content)
    return 1 if outcome.refused and not (outcome.written or outcome.already) else None


def _run(chosen: argparse.Namespace, progress: Progress) -> Outcome:
    from .core import require_writable
    from .privacy import LinkTable, deidentify
    from .privacy.vault import read_passphrase

    options, names = profile_options(chosen), pseudonyms(chosen)
    if chosen.table is None or chosen.dry_run:
        return deidentify(
            chosen.input, chosen.output, options, names, progress, dry_run=chosen.dry_run
        )
    require_writable(chosen.table)
    there = chosen.table.exists()
    passphrase = read_passphrase(new=not there)
    table = LinkTable.load(chosen.table, passphrase) if there else LinkTable()
    table.save(chosen.table, passphrase)  # what cannot be written must be found out first
    try:
        return deidentify(chosen.input, chosen.output, options, names, progress, table=table)
    finally:
        table.save(chosen.table, passphrase)  # also when cancelled: files done are linked


def _show(outcome: Outcome, content: dict[str, Any]) -> None:
    from .report import table

    would = "Would write" if outcome.dry_run else "Written"
    rows = [
        (would, f"{outcome.written} files, of {len(outcome.pseudonyms)} patients"),
        ("Done before", f"{outcome.already} files"),
    ]
    if outcome.repeated:
        rows.append(("Repeated", f"{outcome.repeated} files hold an object that another one holds"))
    if outcome.blacked_out:
        rows.append(("Blacked out", f"text in {outcome.blacked_out} files"))
    if outcome.unlinked:
        rows.append(
            (
                "Not in the table",
                f"{outcome.unlinked} files were de-identified before, and the table does not have "
                "their patients: give it the originals, with the same key, to have the way back",
            )
        )
    if outcome.linked_again:
        rows.append(
            (
                "Second-hand",
                f"{outcome.linked_again} files were de-identified before by another key or "
                "program: the table leads to the identifiers that they came with",
            )
        )
    rows += [("Left out", f"{count}: {reason}") for reason, count in content["refused"].items()]
    rows.append(("Profile", ", ".join(content["codes"])))
    print(table(rows), end="")
    for entry in content["actions"]:
        print(f"  {entry['count']:6d}  {entry['attribute']}: {entry['action']}")
    if outcome.written or outcome.already:
        print(
            "A face can be made from a head scan, and a surface of the skin is one. "
            "See skinseg dicom deface."
        )


def _reveal(chosen: argparse.Namespace) -> None:
    from .privacy import LinkTable
    from .privacy.vault import read_passphrase
    from .report import table

    found = LinkTable.load(chosen.table, read_passphrase()).patient(chosen.pseudonym)
    print(table([(name.replace("_", " "), value) for name, value in found.items()]), end="")
