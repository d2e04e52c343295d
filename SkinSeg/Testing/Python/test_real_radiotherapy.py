"""Radiotherapy scans through segmentation and surface; a file of its own, for another core."""

from __future__ import annotations

import pytest
from SkinSegLib.scan import read
from SkinSegLib.segmentation import segment
from SkinSegLib.surface import build

#: The radiotherapy scans, shared out so that a failure is told before the last one is done.
BATCHES = 6
#: Every fifth one: all 120 take six minutes, and CI has other things to do.
STEP = 5


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_radiotherapy_scan_gives_a_closed_surface(skinseg_data, batch):
    """Head and neck at 3 to 5 mm: too coarse to judge a face by, good to show what breaks."""
    paths = sorted((skinseg_data / "openkbp").glob("pt_*[0-9].nrrd"))
    assert len(paths) == 120
    for path in paths[STEP * batch :: STEP * BATCHES]:
        volume = read(path)
        mesh = build(segment(volume), volume)
        assert mesh.closed, path.name
        assert mesh.volume_ml > 500, path.name
