"""Who is who: issuers, files without an ID, files de-identified before; and what options keep."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from privacy_makers import KEY, plain_file
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy import DeidentifyOptions, LinkTable, Pseudonyms, deidentify
from SkinSegLib.privacy.safe_private import safe_tags

NAMES = Pseudonyms(KEY)
DATES = DeidentifyOptions(keep_dates=True)


def item(**values: str) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def made(folder: Path) -> dict[int, Dataset]:
    """What came out, by instance number."""
    found = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
    return {int(data.InstanceNumber): data for data in found}


def instances(source: Path, *changes: dict[str, object]) -> None:
    for number, change in enumerate(changes, start=1):
        given = {"InstanceNumber": number, "SOPInstanceUID": f"1.2.{number}", **change}
        plain_file(source / f"{number}", **given)


def test_the_same_id_from_two_issuers_is_two_patients(tmp_path: Path, source: Path) -> None:
    qualifiers = [item(UniversalEntityID="1.9.9", UniversalEntityIDType="ISO")]
    instances(
        source,
        {"StudyInstanceUID": "1.3.1", "IssuerOfPatientID": "North"},
        {"StudyInstanceUID": "1.3.2", "IssuerOfPatientID": "South"},
        {"StudyInstanceUID": "1.3.3"},
        {"StudyInstanceUID": "1.3.4", "IssuerOfPatientIDQualifiersSequence": qualifiers},
        {"StudyInstanceUID": "1.3.5", "IssuerOfPatientID": "North "},
    )
    deidentify(source, tmp_path / "out", DATES, NAMES)
    found = made(tmp_path / "out")
    assert len({found[n].PatientID for n in (1, 2, 3, 4)}) == 4
    assert len({found[n].StudyDate for n in (1, 2, 3, 4)}) == 4
    assert found[1].PatientID == found[5].PatientID
    assert found[3].PatientID == NAMES.patient("4711-0815")  # as before issuers counted
    assert NAMES.patient("bc", "a") != NAMES.patient("c", "ab") != NAMES.patient("abc", "")


def test_a_file_without_an_id_is_its_studys_patients(tmp_path: Path, source: Path) -> None:
    instances(
        source,
        {"PatientID": "", "StudyInstanceUID": "1.3.1"},
        {"IssuerOfPatientID": "North", "StudyInstanceUID": "1.3.1"},
        {"StudyInstanceUID": "1.3.1"},  # no issuer
        {"PatientID": "", "StudyInstanceUID": "1.3.2"},  # nobody's
        {"PatientID": "", "StudyInstanceUID": "1.3.3"},
        {"PatientID": "A", "StudyInstanceUID": "1.3.3"},
        {"PatientID": "B", "StudyInstanceUID": "1.3.3"},
        {"PatientID": "", "StudyInstanceUID": "1.3.4"},
    )
    deidentify(source, tmp_path / "out", DATES, NAMES)
    found = made(tmp_path / "out")
    one = NAMES.patient("4711-0815", "North")
    assert {found[n].PatientID for n in (1, 2, 3)} == {one}
    assert len({found[n].StudyDate for n in (1, 2, 3)}) == 1
    day = date.fromisoformat(found[1].StudyDate)
    assert (day - date(2012, 5, 7)).days == NAMES.shift_days("4711-0815", "North")
    others = {found[n].PatientID for n in (4, 5, 6, 7, 8)}
    assert len(others) == 5  # a study of two patients lends no ID
    assert one not in others


def test_the_table_says_what_it_cannot_link(tmp_path: Path, source: Path) -> None:
    instances(source, {"IssuerOfPatientID": "North"}, {"PatientID": "", "PatientName": ""})
    table = LinkTable()
    first = deidentify(source, tmp_path / "out", None, NAMES, table=table)
    assert (first.unlinked, first.linked_again) == (0, 0)
    (facts,) = table.patients.values()
    assert facts["patient_id"] == "4711-0815"
    assert facts["patient_name"] == "Doe^Secret"  # the file without one did not empty it
    assert facts["issuer_of_patient_id"] == "North"
    # Its own work has no names to put into a table, unless the table has them.
    own = deidentify(tmp_path / "out", tmp_path / "again", None, NAMES, table=LinkTable())
    assert (own.unlinked, own.already + own.written) == (2, 2)
    known = deidentify(tmp_path / "out", tmp_path / "more", None, NAMES, table=table)
    assert known.unlinked == 0
    # With another key the table leads to the first pseudonym.
    second = LinkTable()
    other = Pseudonyms(KEY[::-1])
    result = deidentify(tmp_path / "out", tmp_path / "other", None, other, table=second)
    assert result.linked_again == 2
    (facts,) = second.patients.values()
    assert facts["patient_id"] == NAMES.patient("4711-0815", "North")


def test_the_table_leads_back_to_the_study_and_its_dates(tmp_path: Path, source: Path) -> None:
    instances(
        source,
        {"StudyInstanceUID": "1.3.1"},
        {"StudyInstanceUID": "1.3.2", "PatientID": "0815"},
    )
    anonymous = plain_file(source / "3", InstanceNumber=3, PatientID="99", SOPInstanceUID="1.2.3")
    del anonymous.PatientName, anonymous.StudyInstanceUID
    anonymous.save_as(source / "3", enforce_file_format=True)
    table = LinkTable()
    deidentify(source, tmp_path / "out", DATES, NAMES, table=table)
    found = made(tmp_path / "out")
    assert table.studies == {found[n].StudyInstanceUID: f"1.3.{n}" for n in (1, 2)}
    for number, name in ((1, "Doe^Secret"), (2, "Doe^Secret"), (3, "")):
        facts = table.patient(found[number].PatientID)
        day = date.fromisoformat(found[number].StudyDate)
        assert (day - date(2012, 5, 7)).days == int(facts["date_shift_days"])
        assert facts["patient_name"] == name


def test_what_a_program_reads_of_the_outcome(tmp_path: Path, source: Path) -> None:
    instances(source, {}, {"PatientID": "0815"})
    (source / "notes.txt").write_text("of Doe")
    found = deidentify(source, tmp_path / "out", None, NAMES, table=LinkTable()).as_dict()
    assert "Basic Application Level Confidentiality Profile" in found.pop("profile")
    actions = {item["attribute"]: (item["action"], item["count"]) for item in found.pop("actions")}
    assert actions["PatientName"] == ("replaced by the pseudonym", 2)
    assert found == {
        "codes": ["BasicApplicationConfidentialityProfile"],
        "dry_run": False,
        "written": 2,
        "already_done": 0,
        "repeated": 0,
        "blacked_out": 0,
        "unlinked": 0,
        "linked_again": 0,
        "refused": {"not an image file that is known": 1},
        "patients": sorted([NAMES.patient("4711-0815"), NAMES.patient("0815")]),
    }


def test_the_command_says_so(
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from SkinSegLib import cli
    from SkinSegLib.privacy import make_key, vault

    monkeypatch.setattr(vault, "_LOG_N", 12)
    monkeypatch.setenv(vault.PASSPHRASE_VARIABLE, "correct horse battery")
    instances(source, {})
    make_key(tmp_path / "key")
    given = ["dicom", "deidentify", "--key", str(tmp_path / "key")]
    assert cli.main([*given, str(source), "-o", str(tmp_path / "out")]) == 0
    again = [str(tmp_path / "out"), "-o", str(tmp_path / "b"), "--table", str(tmp_path / "who")]
    assert cli.main([*given, *again]) == 0
    assert "give it the originals" in " ".join(capsys.readouterr().out.split())


def test_codes_of_earlier_steps_stay_once(tmp_path: Path, source: Path) -> None:
    earlier = [
        item(CodeValue="113101", CodingSchemeDesignator="DCM", CodeMeaning="by Mr Secret"),
        item(CodeValue="113100", CodingSchemeDesignator="DCM", CodeMeaning="Basic"),
        item(CodeValue="121401", CodingSchemeDesignator="DCM", CodeMeaning="of Secret"),
        item(CodeValue="4711", CodingSchemeDesignator="99SECRET", CodeMeaning="our own"),
    ]
    instances(source, {"DeidentificationMethodCodeSequence": earlier})
    deidentify(source, tmp_path / "out", DATES, NAMES)
    (data,) = made(tmp_path / "out").values()
    items = data.DeidentificationMethodCodeSequence
    assert [code.CodeValue for code in items] == ["113101", "113100", "113107"]
    assert items[0].CodeMeaning == "Clean Pixel Data Option"


def test_ages_over_89_wherever_an_age_is(tmp_path: Path, source: Path) -> None:
    inner = item(SelectorASValue=["091Y", "045Y"])
    instances(source, {"AnatomicRegionSequence": [inner], "PatientAge": "094Y"})
    deidentify(source, tmp_path / "out", DeidentifyOptions(keep_patient=True), NAMES)
    (data,) = made(tmp_path / "out").values()
    assert data.PatientAge == "090Y"
    assert "091Y" not in str(data)


def test_every_age_is_looked_at(tmp_path: Path) -> None:
    from SkinSegLib.privacy import Profile
    from SkinSegLib.privacy.rewrite import Rewriter, subject_of

    data = item(SelectorASValue=["091Y", "045Y", "Doe"])
    rewriter = Rewriter(Profile(), NAMES)
    assert str(rewriter._ages(data["SelectorASValue"])) == "cleaned"
    assert list(data.SelectorASValue) == ["090Y", "045Y", ""]
    assert subject_of(data, NAMES).identity.identifier.startswith("study")


def test_the_scanner_keeps_its_own_dates_alone(tmp_path: Path, source: Path) -> None:
    dates = {"DateOfManufacture": "20100101", "DateOfLastCalibration": "20120507"}
    instances(source, dates)
    deidentify(source, tmp_path / "out", DeidentifyOptions(keep_device=True), NAMES)
    deidentify(source, tmp_path / "basic", None, NAMES)
    (kept,), (basic,) = (made(tmp_path / name).values() for name in ("out", "basic"))
    assert kept.DateOfManufacture == "20100101"
    assert "DateOfLastCalibration" not in kept  # often the day of the scan
    assert "DateOfManufacture" not in basic


@pytest.mark.parametrize("keep", [True, False])
def test_a_sidecar_keeps_the_scanner_too(tmp_path: Path, source: Path, keep: bool) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16)), str(source / "a.nii"))
    sidecar = {"DeviceSerialNumber": "SN-1", "StationName": ["x"], "PatientName": "Doe", "KVP": 120}
    (source / "a.json").write_text(json.dumps(sidecar))
    deidentify(source, tmp_path / "out", DeidentifyOptions(keep_device=keep), NAMES)
    (path,) = (tmp_path / "out").glob("*.json")
    assert json.loads(path.read_text()) == {"KVP": 120} | (
        {"DeviceSerialNumber": "SN-1"} if keep else {}
    )


def test_one_age_for_all_from_90_on(tmp_path: Path, source: Path) -> None:
    ages = ["089Y", "90Y", "090", "104", "091W"]
    for number, age in enumerate(ages, start=1):
        data = plain_file(
            source / f"{number}", InstanceNumber=number, SOPInstanceUID=f"1.2.{number}"
        )
        tag = Tag("PatientAge")
        data[tag] = RawDataElement(tag, "AS", 4, age.encode().ljust(4), 0, False, True)
        data.save_as(source / f"{number}", enforce_file_format=True)
    deidentify(source, tmp_path / "out", DeidentifyOptions(keep_patient=True), NAMES)
    found = made(tmp_path / "out")
    after = [found[number].PatientAge for number in (1, 2, 3, 4, 5)]
    assert after == ["089Y", "090Y", "090Y", "090Y", "091W"]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha"])
def test_volumes_of_one_folder(tmp_path: Path, source: Path, ending: str) -> None:
    """Each has a name of its own, and the file beside one is not an unknown one."""
    import SimpleITK as sitk

    for number in range(3):
        image = sitk.GetImageFromArray(np.full((2, 3, 4), number, np.int16))
        sitk.WriteImage(image, str(source / f"{number}{ending}"))
    (source / "0.json").write_text(json.dumps({"KVP": 120}))
    outcome = deidentify(source, tmp_path / "out", None, NAMES)
    assert (outcome.written, outcome.repeated, dict(outcome.refused)) == (4, 0, {})
    names = [path.name for path in (tmp_path / "out").iterdir()]
    kept = ".nrrd" if ending == ".nhdr" else ending
    assert len({name.partition(".")[0] for name in names}) == 3
    assert sorted(name.partition(".")[2] for name in names) == sorted(["json", *[kept[1:]] * 3])
    assert all(len(name.partition(".")[0]) == len("volume-") + 16 for name in names)
    (done,) = outcome.as_dict()["actions"]
    assert (done["attribute"], done["count"]) == (f"{kept} header", 3)


def test_volumes_that_are_left_out_say_why(tmp_path: Path, source: Path) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    sitk.WriteImage(image, str(source / "apart.mhd"))
    (source / "stray.raw").write_bytes(b"voxels of nobody knows what")
    sitk.WriteImage(image, str(source / "whole.nii"))
    (source / "whole.json").write_text("Dr Secret")
    outcome = deidentify(source, tmp_path / "out", None, NAMES)
    assert outcome.refused == {
        "volume with its voxels in another file": 1,
        "not an image file that is known": 1,
        "damaged": 1,
    }
    assert not (tmp_path / "out").exists()


def private(data: Dataset) -> None:
    block = data.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x23, "DS", "39.37")
    data[0x00191024] = RawDataElement(  # no number
        Tag(0x00191024), "DS", 8, b"Doe^Ann ", 0, False, True
    )
    block.add_new(0x25, "DS", "1")  # not in the table
    other = data.private_block(0x0043, "GEMS_PARM_01", create=True)
    other.add_new(0x27, "SH", "Secret")
    third = data.private_block(0x01F1, "ELSCINT1", create=True)
    third.add_new(0x07, "LT", "12")  # not what the table says it is
    data.private_block(0x0019, "MINE", create=True).add_new(0x23, "DS", "2")
    data.private_block(0x0045, "GEMS_HELIOS_01", create=True).add_new(0x02, "FL", 0.625)


@pytest.mark.parametrize("keep", [True, False])
def test_safe_private_attributes(tmp_path: Path, source: Path, keep: bool) -> None:
    data = plain_file(source / "a")
    private(data)
    inner = item(CodeValue="1")
    private(inner)
    data.AnatomicRegionSequence = [inner]
    data.save_as(source / "a", enforce_file_format=True)
    options = DeidentifyOptions(keep_safe_private=keep)
    deidentify(source, tmp_path / "out", options, NAMES)
    (after,) = made(tmp_path / "out").values()
    for part in (after, after.AnatomicRegionSequence[0]):
        left = {int(one.tag): str(one.value) for one in part if one.tag.is_private}
        wanted = {
            0x00190010: "GEMS_ACQU_01", 0x00191023: "39.37",
            0x00450010: "GEMS_HELIOS_01", 0x00451002: "0.625",
        }  # fmt: skip
        assert left == (wanted if keep else {})
    codes = [code.CodeValue for code in after.DeidentificationMethodCodeSequence]
    assert ("113111" in codes) == keep
    assert deidentify(tmp_path / "out", tmp_path / "b", options, NAMES).written == 1
    assert safe_tags(after, {"39.37"}).isdisjoint({0x00191023})


def test_private_attributes_at_the_edge_of_the_table(tmp_path: Path, source: Path) -> None:
    data = plain_file(source / "a")
    block = data.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x00, "DS", "1.5")  # the first one that a block has room for
    block = data.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x23, "DS", ["1.5", "2.5"])
    block.add_new(0x27, "DS", None)
    block = data.private_block(0x0045, "GEMS_HELIOS_01", create=True)
    block.add_new(0x02, "OB", b"Doe^Jo")
    data.add_new(0x00211001, "LO", "Secret")  # reserved by nobody
    data.save_as(source / "a", enforce_file_format=True)
    content = (source / "a").read_bytes()
    long, short = b"OB\0\0\6\0\0\0Doe^Jo", b"FL\6\0Doe^Jo"  # no FL has six bytes
    assert long in content
    (source / "a").write_bytes(content.replace(long, short))
    options = DeidentifyOptions(keep_safe_private=True)
    outcome = deidentify(source, tmp_path / "out", options, NAMES)
    assert not outcome.refused
    (after,) = made(tmp_path / "out").values()
    left = {int(one.tag): one.value for one in after if one.tag.is_private}
    assert list(left.pop(0x00191023)) == [1.5, 2.5]
    assert left == {
        0x00190010: "GEMS_ACQU_01", 0x00191027: None,
        0x70530010: "Philips PET Private Group", 0x70531000: 1.5,
    }  # fmt: skip


def test_passphrases_are_the_same_however_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    from SkinSegLib.privacy import seal, unseal, vault

    monkeypatch.setattr(vault, "_LOG_N", 12)
    composed, apart = "grüße aus köln", "gru\u0308ße aus ko\u0308ln"
    assert unseal(seal(b"x", apart, "p"), composed, "p") == b"x"
    monkeypatch.setenv(vault.PASSPHRASE_VARIABLE, apart)
    assert vault.read_passphrase(new=True) == composed
    monkeypatch.setattr(vault.os, "environ", {vault.PASSPHRASE_VARIABLE: "latin-\udce4-umlaut"})
    with pytest.raises(PrivacyError, match="UTF-8"):
        vault.read_passphrase()
    with pytest.raises(PrivacyError, match="short"):
        seal(b"", "a\u0308" * 9, "p")


def test_an_encrypted_file_may_take_a_gigabyte_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from SkinSegLib.privacy import unseal, vault

    class Asked(Exception):
        pass

    def stop(*_arguments: object) -> None:
        raise Asked

    monkeypatch.setattr(vault, "_cipher", stop)
    fitting = ((20, 8, 1), (10, 1, 1), (10, 16, 4))
    larger = ((20, 9, 1), (20, 16, 1), (21, 8, 1))
    senseless = ((9, 1, 1), (10, 0, 1), (10, 17, 1), (10, 1, 0), (10, 1, 5), (255, 1, 1))
    for costs in (*fitting, *larger, *senseless):
        header = vault._HEADER.pack(b"SKINVLT1", *costs, bytes(16), bytes(12))
        with pytest.raises(Asked if costs in fitting else PrivacyError):
            unseal(header + bytes(32), "correct horse battery", "p")
