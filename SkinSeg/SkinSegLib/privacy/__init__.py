"""Taking a person out of a scan: header, pseudonyms, face.

:mod:`.deidentify` applies the Basic Profile of DICOM PS3.15 Annex E to folders, zips and files;
:mod:`.pseudonyms` replaces identifiers by keyed ones and keeps the way back encrypted;
:mod:`.deface` takes the face out of the voxels, :mod:`.deface_files` out of scan files. What each
of them does not do is in ``Docs/privacy.md``.
"""

from .deidentify import Outcome, deidentify
from .profile import Action, DeidentifyOptions, Profile
from .pseudonyms import Pseudonyms, load_key, make_key
from .table import LinkTable
from .vault import seal, unseal

__all__ = [
    "Action",
    "DeidentifyOptions",
    "LinkTable",
    "Outcome",
    "Profile",
    "Pseudonyms",
    "deidentify",
    "load_key",
    "make_key",
    "seal",
    "unseal",
]
