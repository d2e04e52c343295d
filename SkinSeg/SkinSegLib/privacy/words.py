"""Descriptions cleaned by what may stay, since nobody can list all that may not."""

from __future__ import annotations

import re
from collections.abc import Collection

#: Words of CT protocols that say what was scanned and how. No numbers: they may be ages or dates.
_TEXT = """
    ct cct cbct mpr mip vrt 3d axial ax coronal cor sagittal sag oblique helical spiral sequential
    head brain skull cranium cranial face facial maxillofacial orbit orbits orbital sinus sinuses
    paranasal temporal bone bones petrous mastoid ear ears nose nasal jaw mandible maxilla dental
    teeth neck cervical spine larynx pharynx thyroid chest thorax shoulder vertex base
    soft tissue lung standard sharp smooth thin thick slice slices recon kernel window routine scout
    topogram localizer plain native angio angiography perfusion trauma stroke tumor low dose
    pre post with without w wo contrast contr iv c phase arterial venous delayed left right lt rt
    bilateral supine prone and of the for to mm
"""
_SAFE = frozenset(_TEXT.split())


def cleaned(text: str, tokens: Collection[str] = ()) -> str:
    """The words of ``text`` that are known to be harmless, in order, parted by single spaces.

    ``tokens``: words that are not harmless here (a patient called Head), in lower case.
    """
    words = re.findall(r"[^\W_]+", text)
    return " ".join(word for word in words if word.lower() in _SAFE and word.lower() not in tokens)
