"""Models as data, and the network's way from a scan to a mask."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from model_makers import write_model
from phantom_makers import whole
from SkinSegLib.core import (
    Cancelled,
    CTVolume,
    FindingKind,
    MissingPackageError,
    Progress,
)
from SkinSegLib.core import SegmentationError as Refused
from SkinSegLib.segmentation import SegmentOptions, models, network, segment
from SkinSegLib.segmentation.bundle import (
    WEIGHTS,
    Bundle,
    load_bundle,
)
from SkinSegLib.segmentation.level import find_level
from SkinSegLib.segmentation.locate import locate_by
from SkinSegLib.training.phantom import make_phantom


@functools.cache
def small_phantom():
    """A whole head on 3 mm voxels."""
    return make_phantom(whole())


@pytest.fixture
def bundle(tmp_path):
    return write_model(tmp_path / "model", tmp_path)


def test_a_model_is_found_by_its_folder_and_no_other_is(bundle, tmp_path):
    assert models.find_model(str(bundle.folder)) == bundle
    assert models.network_is_there(str(bundle.folder))
    assert not models.network_is_there(str(tmp_path))
    with pytest.raises(Refused, match="There is no model"):
        models.find_model("a-model-that-nobody-ships")


@pytest.mark.slow
def test_without_torch_the_threshold_engine_runs_and_a_named_model_says_what_it_needs(
    bundle, monkeypatch
):
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    phantom = small_phantom()
    assert segment(phantom.volume).engine == "threshold"
    for engine in ("auto", "network"):
        with pytest.raises(MissingPackageError, match="torch and monai"):
            segment(phantom.volume, SegmentOptions(engine=engine, model=str(bundle.folder)))


@pytest.fixture
def oracle(monkeypatch, bundle):
    """The network replaced by one that knows the truth of the small phantom."""
    phantom = small_phantom()

    def predict(bundle, grey, device, multiple, window, progress):
        grid = network.NetworkGrid.over(phantom.volume, bundle.cell_mm)
        return grid.label(phantom.truth)

    monkeypatch.setattr(network, "_predict", predict)
    return phantom, SegmentOptions(engine="network", model=str(bundle.folder))


def test_a_network_that_knows_gives_the_exact_head(oracle):
    phantom, options = oracle
    mask = segment(phantom.volume, options)
    assert mask.engine == "network"
    truth = phantom.truth > 0
    assert 2 * np.sum((mask.voxels > 0) & truth) / (mask.voxels.sum() + truth.sum()) > 0.99


def test_auto_takes_the_network_where_a_model_is_named_or_shipped(oracle, monkeypatch):
    phantom, options = oracle
    assert segment(phantom.volume, SegmentOptions(model=options.model)).engine == "network"
    with pytest.raises(Refused, match="There is no model"):
        segment(phantom.volume, SegmentOptions(model="a-model-that-nobody-ships"))
    folder = Path(options.model)
    monkeypatch.setattr(models, "resource_path", lambda *parts: folder.joinpath(*parts[2:]))
    assert segment(phantom.volume).engine == "network"


def test_the_pass_covers_the_scan_and_windows_give_the_same(bundle, monkeypatch):
    volume = small_phantom().volume
    level = find_level(volume)
    grid, whole, notes = network.patient_probability(volume, level, bundle, "cpu")
    assert whole.shape == grid.network_shape
    assert notes == ()
    assert 0 <= whole.min() < whole.max() <= 1
    monkeypatch.setattr(network, "_WINDOW", 32)
    _, windowed, _ = network.patient_probability(volume, level, bundle, "cpu")
    # Not to the digit: the network normalises over what it sees at once.
    assert windowed.shape == whole.shape
    assert np.corrcoef(windowed.ravel(), whole.ravel())[0, 1] > 0.9


def test_too_little_memory_falls_back_and_says_so(bundle, monkeypatch):
    import torch

    real, tried = network._predict, []

    def predict(bundle, grey, device, multiple, window, progress):
        tried.append((device, window))
        if device != "cpu":
            raise torch.OutOfMemoryError("simulated")
        return real(bundle, grey, device, multiple, window, progress)

    monkeypatch.setattr(network, "_predict", predict)
    monkeypatch.setattr(network, "choose_device", lambda device: "cuda")
    volume = small_phantom().volume
    _, probability, notes = network.patient_probability(volume, find_level(volume), bundle)
    assert [device for device, _ in tried] == ["cuda", "cuda", "cpu"]
    assert tried[1][1] < tried[0][1]
    assert np.isfinite(probability).all()
    assert "CPU" in notes[0]


@pytest.mark.parametrize(
    "said", ["CUDA error: unspecified launch failure", "No CUDA GPUs are available", "MPS backend"]
)
def test_a_gpu_that_is_lost_in_mid_run_falls_back_and_says_so(bundle, monkeypatch, said):
    """It is not tried a second time: a broken context fails for as long as the process lives."""
    real, tried = network._predict, []

    def predict(bundle, grey, device, multiple, window, progress):
        tried.append(device)
        if device != "cpu":
            raise RuntimeError(said)
        return real(bundle, grey, device, multiple, window, progress)

    volume = small_phantom().volume
    level = find_level(volume)
    _, expected, _ = network.patient_probability(volume, level, bundle, "cpu")
    monkeypatch.setattr(network, "_predict", predict)
    monkeypatch.setattr(network, "choose_device", lambda device: "cuda")
    _, probability, (note,) = network.patient_probability(volume, level, bundle)
    assert tried == ["cuda", "cpu"]
    assert "cuda failed" in note
    np.testing.assert_array_equal(probability, expected)


def test_the_fall_back_is_among_the_findings(oracle, monkeypatch):
    phantom, options = oracle
    real = network.patient_probability

    def noted(*arguments):
        grid, probability, _ = real(*arguments)
        return grid, probability, ("The memory was too small.",)

    monkeypatch.setattr(network, "patient_probability", noted)
    findings = segment(phantom.volume, options).findings
    notes = [f.message for f in findings if f.kind is FindingKind.COMPUTING_NOTE]
    assert notes == ["The memory was too small."]


def test_no_memory_at_all_is_an_error_and_so_is_any_other_fault(bundle, monkeypatch):
    volume = small_phantom().volume

    def fail(message):
        def predict(*arguments):
            raise RuntimeError(message)

        monkeypatch.setattr(network, "_predict", predict)

    fail("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(Refused, match="not enough memory"):
        network.patient_probability(volume, find_level(volume), bundle, "cpu")
    fail("another fault")
    with pytest.raises(RuntimeError, match="another fault"):
        network.patient_probability(volume, find_level(volume), bundle, "cpu")


def test_the_network_stays_loaded_until_its_file_changes(bundle, monkeypatch):
    volume = small_phantom().volume
    level = find_level(volume)
    loads = []
    real = Bundle.load_network
    monkeypatch.setattr(
        Bundle, "load_network", lambda *a: loads.append(a) or real(*a), raising=True
    )
    network._loaded.cache_clear()
    for _ in range(2):
        network.patient_probability(volume, level, bundle, "cpu")
    assert len(loads) == 1
    path = bundle.folder / WEIGHTS
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(Refused, match="not those"):
        network.patient_probability(volume, level, bundle, "cpu")


def test_threads_are_limited_during_the_pass_only(bundle, monkeypatch):
    import torch

    before, seen = torch.get_num_threads(), []
    real = network._predict
    monkeypatch.setattr(
        network, "_predict", lambda *a: seen.append(torch.get_num_threads()) or real(*a)
    )
    torch.set_num_threads(2)
    try:
        volume = small_phantom().volume
        level = find_level(volume)
        network.patient_probability(volume, level, bundle, "cpu", None, 1)
        network.patient_probability(volume, level, bundle, "cpu", None, 5)
        assert seen == [1, 2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    with pytest.raises(Refused, match="worker"):
        SegmentOptions(workers=0)


def test_windows_are_never_wider_than_the_scan(bundle, monkeypatch):
    """Beyond a scan's end the patient goes on: no air may be added there."""
    import monai.inferers

    seen = []
    real = monai.inferers.sliding_window_inference

    def watched(picture, size, *rest, **options):
        seen.append((tuple(picture.shape[2:]), size))
        return real(picture, size, *rest, **options)

    monkeypatch.setattr(monai.inferers, "sliding_window_inference", watched)
    monkeypatch.setattr(network, "_WINDOW", 60)
    volume = small_phantom().volume
    network.patient_probability(volume, find_level(volume), bundle, "cpu")
    ((shape, size),) = seen
    assert max(shape) > 60
    assert all(s <= n for s, n in zip(size, shape, strict=True))


@pytest.mark.parametrize("device", ["cuda:x", "cpu:1", "tpu", "cuda:", "cuda:99"])
def test_a_device_that_makes_no_sense_is_an_error(device):
    with pytest.raises(Refused, match="no device"):
        network.choose_device(device)


def test_a_shipped_model_that_is_broken_is_told_of_and_auto_goes_on(bundle, monkeypatch):
    path = bundle.folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(models, "resource_path", lambda *parts: bundle.folder.joinpath(*parts[2:]))
    phantom = small_phantom()
    mask = segment(phantom.volume)
    assert mask.engine == "threshold"
    notes = [f.message for f in mask.findings if f.kind is FindingKind.COMPUTING_NOTE]
    assert len(notes) == 1
    assert "are not those" in notes[0]
    with pytest.raises(Refused, match="not those"):
        segment(phantom.volume, SegmentOptions(engine="network"))


def test_a_device_that_is_absent_is_an_error():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this computer has a CUDA device")
    with pytest.raises(Refused, match="no device cuda:0"):
        network.choose_device("cuda:0")
    assert network.choose_device("cpu") == "cpu"


def test_cancelling_stops_the_pass(bundle):
    volume = small_phantom().volume
    stop = Progress(is_cancelled=lambda: True)
    with pytest.raises(Cancelled):
        network.patient_probability(volume, find_level(volume), bundle, "cpu", stop)


def _scene(shape=(40, 40, 40)):
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    head = (k - 20) ** 2 + (j - 20) ** 2 + (i - 20) ** 2 < 12**2
    table = (j >= 32) & (j < 36)
    return head, table


def test_what_the_network_calls_an_object_is_cut_off_even_in_contact():
    head, table = _scene()
    tissue = (head | table).astype(np.float32)
    found = locate_by((head & ~table).astype(np.float32), tissue, (2.0, 2.0, 2.0))
    np.testing.assert_array_equal(found.patient, head & ~table)
    np.testing.assert_array_equal(found.objects, table)
    assert found.contacts.any()


def test_a_short_thin_part_that_the_network_half_misses_is_joined_and_a_long_one_is_not():
    head, _ = _scene()
    head = np.pad(head, ((0, 0), (0, 0), (15, 0)))
    ear, strap = np.zeros_like(head), np.zeros_like(head)
    ear[19:22, 19:22, 47:50] = True
    strap[20, 20, :23] = True  # 46 mm
    probability = head * 1.0 + 0.3 * ear + 0.3 * (strap & ~head)
    found = locate_by(
        probability.astype(np.float32), (head | ear | strap).astype(np.float32), (2.0, 2.0, 2.0)
    )
    assert found.patient[ear].all()
    assert not found.patient[strap & ~head].any()


def test_an_ear_that_lies_on_a_holder_is_joined_without_it():
    head, _ = _scene((40, 40, 80))
    ear, holder = np.zeros_like(head), np.zeros_like(head)
    ear[16:25, 18:20, 32:39] = True
    holder[:, 20:22, 34:80] = True  # the ear lies on it
    holder &= ~head
    probability = head * 1.0 + 0.3 * ear + 0.02 * holder
    tissue = (head | ear | holder).astype(np.float32)
    found = locate_by(probability.astype(np.float32), tissue, (2.0, 2.0, 2.0))
    assert found.patient[ear].mean() > 0.9
    assert found.patient[holder & ~ear].mean() < 0.02


@pytest.mark.parametrize(("soft", "probability", "kept"), [
    (True, 0.12, True), (False, 0.12, False), (True, 0.05, False), (False, 0.2, True),
])  # fmt: skip
def test_a_thin_part_as_dense_as_an_ear_needs_less_of_the_networks_word(soft, probability, kept):
    head, _ = _scene((40, 40, 80))
    ear = np.zeros_like(head)
    ear[16:25, 18:20, 32:39] = True
    ear &= ~head
    tissue = (head | ear).astype(np.float32)
    said = (head + probability * ear).astype(np.float32)
    density = head | ear if soft else head
    found = locate_by(said, tissue, (2.0, 2.0, 2.0), soft=density)
    assert found.patient[ear].all() == kept


@pytest.mark.parametrize(
    ("width", "gap", "kept"),
    [(9, 0, True), (1, 0, False), (9, 1, False)],
    ids=["on its base", "in a point", "not at all"],
)
def test_what_hardly_touches_the_patient_is_not_joined(width, gap, kept):
    """A blob on a stalk, or one beside the head, is no ear, however near it is."""
    head, _ = _scene((40, 40, 80))
    blob = np.zeros_like(head)
    blob[16:25, 16:25, 34 + gap : 39] = True
    stalk = slice(20 - width // 2, 21 + width // 2)
    blob[stalk, stalk, 28 + gap : 34 + gap] = True
    blob &= ~head
    if gap:
        blob[:, :, : 33 + gap] = False
    said = (head + 0.3 * blob).astype(np.float32)
    found = locate_by(said, (head | blob).astype(np.float32), (2.0, 2.0, 2.0))
    body = blob[:, :, 35:]
    assert found.patient[:, :, 35:][body].mean() == kept


def test_what_the_classical_engine_doubts_needs_more_of_it():
    head, table = _scene()
    tissue = (head | table).astype(np.float32)
    for said, kept in ((0.7, False), (0.9, True)):
        word = (head + said * (table & ~head)).astype(np.float32)
        found = locate_by(word, tissue, (2.0, 2.0, 2.0), doubted=table & ~head)
        assert found.patient[table & ~head].all() == kept


def test_no_patient_is_an_error():
    head, _ = _scene()
    with pytest.raises(Refused, match="found no patient"):
        locate_by(head * np.float32(0.2), head.astype(np.float32), (2.0, 2.0, 2.0))


def test_an_ear_thinner_than_the_cells_is_kept_to_its_rim():
    """3 mm cells see 2 mm of ear at half strength and less: still it is all the tissue there."""
    from scipy import ndimage

    head, _ = _scene()
    ear = np.zeros_like(head)
    ear[15:26, 20, 31:39] = True  # one block of 2 mm thick, 16 mm long
    patient = (head | ear).astype(np.float32)
    seen = ndimage.gaussian_filter(patient, 0.8)
    assert np.median(seen[ear & ~head]) < 0.5
    found = locate_by(seen, patient, (2.0, 2.0, 2.0))
    assert found.patient[ear].all()


def _pressed_into_gel():
    """A ball of tissue that lies in a block of the same grey value, on 1.2 mm voxels."""
    k, j, i = np.indices((90, 100, 90))
    ball = (k - 45) ** 2 + (j - 45) ** 2 + (i - 45) ** 2 < 36**2
    gel = (j + 0.15 * (k - 45) + 0.1 * (i - 45) > 66) & (j < 92) & ~ball
    voxels = np.where(ball | gel, 40, -1000).astype(np.int16)
    return CTVolume(voxels, np.diag([1.2, 1.2, 1.2, 1.0])), ball, gel


def test_where_nothing_but_the_network_tells_its_smooth_surface_decides(monkeypatch, bundle):
    """The blocks' staircase is 2 mm; the surface between cells is better than one voxel."""
    from scipy import ndimage

    volume, ball, gel = _pressed_into_gel()
    monkeypatch.setattr(
        network,
        "_predict",
        lambda bundle, *_: ndimage.gaussian_filter(
            network.NetworkGrid.over(volume, bundle.cell_mm).label(ball.astype(np.uint8)), 0.5
        ),
    )
    model = SegmentOptions(engine="network", model=str(bundle.folder))
    mask = segment(volume, model).voxels > 0
    touching = ndimage.binary_dilation(gel, iterations=2) & ndimage.binary_dilation(ball)
    wrong = (mask != ball) & touching
    depth = np.where(
        ball, ndimage.distance_transform_edt(ball), ndimage.distance_transform_edt(~ball)
    )
    area_voxels = np.count_nonzero(ndimage.binary_dilation(gel) & ball)
    print(f"{np.count_nonzero(wrong)} of {area_voxels} voxels at the contact on the wrong side")
    assert np.count_nonzero(wrong) < 0.35 * area_voxels
    assert depth[mask != ball].max() < 3
    assert np.count_nonzero(mask & ~ball) < 0.05 * np.count_nonzero(gel)


def _doubtful(oracle, monkeypatch, value):
    """Findings where the network says ``value`` of a ball of 30 mm in the head."""
    phantom, options = oracle
    real = network._predict
    k, j, i = (n // 2 for n in real(load_bundle(Path(options.model)), *[None] * 5).shape)

    def predict(*arguments):
        said = real(*arguments)
        around = np.indices(said.shape) - np.array([k, j, i])[:, None, None, None]
        said[(around**2).sum(axis=0) * 16 < 15**2] = value
        return said

    monkeypatch.setattr(network, "_predict", predict)
    findings = segment(phantom.volume, options).findings
    return [f for f in findings if f.kind is FindingKind.LOW_CONFIDENCE], (k, j, i)


def test_where_the_network_is_not_sure_is_found_with_its_place(oracle, monkeypatch):
    (found,), _ = _doubtful(oracle, monkeypatch, 0.5)
    assert found.volume_ml == pytest.approx(4.19 * 1.5**3, rel=0.4)
    volume = oracle[0].volume
    middle = volume.ijk_to_ras @ [*(np.array(volume.voxels.shape[::-1]) / 2), 1]
    assert np.linalg.norm(middle[:3] - found.position_ras) < 8


def test_a_network_that_is_sure_gives_no_doubt_at_its_borders(oracle, monkeypatch):
    assert _doubtful(oracle, monkeypatch, 0.95)[0] == []
