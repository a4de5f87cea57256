"""Phantoms: determinism, the physics they claim, and what a data set must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import label as components

from semibench import DatasetOptions, PhantomOptions
from semibench.blocks import (
    Contour,
    Drawing,
    Wave,
    ellipsoid,
    grid_points,
    random_rotation,
    shape_union,
    smooth_field,
    spline_basis,
    tube,
)
from semibench.discovery.registry import registry
from semibench_plugins.datasets.cards import CARDS
from semibench_plugins.datasets.thyroid.tus import TUS
from semibench_plugins.phantoms import radiology, ultrasound
from semibench_plugins.phantoms.sheets import contact_sheet
from semibench_plugins.phantoms.spec_phantom import SpecPhantom
from semibench_plugins.phantoms.ultrasound import Machine, Tissue
from semibench_plugins.phantoms.ultrasound_phantom import is_normal

CARD = {card.name: card for card in CARDS}
PHANTOM: dict[str, type[SpecPhantom]] = {
    name: registry().get("datasets", name).resolve().phantom_class for name in CARD
}
SPECS = {name: phantom_class.specs[name] for name, phantom_class in PHANTOM.items()}
IMAGES = sorted(name for name, card in CARD.items() if card.dims == 2)
VOLUMES = sorted(name for name, card in CARD.items() if card.dims == 3)

PINNED: dict[str, tuple[float, float, int]] = {
    "bus-bra": (89.8170, 48.8126, 4080),
    "busi": (93.6682, 40.2273, 2045),
    "busis": (69.4838, 46.4162, 3948),
    "hc18": (40.7834, 43.5738, 8023),
    "la": (293.6973, 172.3081, 3807),
    "mmwhs": (-119.5500, 418.7140, 8625),
    "mnms": (62.0402, 63.8998, 13506),
    "msd-hippocampus": (1126.4986, 370.3860, 1765),
    "tnscui2020": (102.3552, 38.0154, 573),
    "tus": (65.7667, 38.3980, 1609),
    "udiat": (71.6628, 39.3721, 1228),
    "acdc": (128.8716, 92.3190, 6096),
    "amos22": (40.8900, 25.9687, 15766),
    "brats19": (62.7031, 76.7050, 1061),
    "isic2018": (107.7444, 31.6985, 5011),
    "pancreas": (-27.3756, 215.6081, 2351),
    "promise12": (174.6799, 152.7250, 4599),
    "synapse": (-470.6063, 493.5484, 13089),
}
"""Data set -> mean and standard deviation of the stored values of the case of group 1, frame 0, seed 0, and labeled voxels.
Written by version 3 of the images and version 2 of the volumes; when a digit moves, raise the `version` of its phantom class."""


def make(
    name: str, cases: int | None = None, seed: int = 0, scale: float = 1.0, size: tuple[int, ...] | None = None
) -> SpecPhantom:
    options = PhantomOptions(cases=cases, seed=seed, scale=scale)
    return PHANTOM[name](CARD[name], DatasetOptions(size=size), options)


def draw(name: str, seed: int, group: int, frame: int = 0) -> Drawing:
    return make(name, seed=seed).draw(group, frame)


def plain(rows: int = 256, columns: int = 160, loss: float = 0.6) -> Tissue:
    """Homogeneous tissue with the attenuation that the time gain expects."""
    return Tissue(np.zeros((rows, columns)), np.full((rows, columns), loss))


QUIET = Machine(8.0, noise=-120.0, tgc=0.6)


# fields


def test_streams_depend_on_every_part_of_their_name() -> None:
    parts = [make("la"), make("mmwhs"), make("la", seed=1)]
    draws = [phantom.stream(0).random() for phantom in parts]
    draws += [parts[0].stream(*path).random() for path in ((1,), (0, 0), (0, 1))]
    assert len(set(draws)) == 6
    assert make("la").stream(0).random() == draws[0]


def test_splines_sum_to_one_and_fields_have_unit_variance() -> None:
    assert np.allclose(spline_basis(50, 7).sum(axis=1), 1.0)
    rng = np.random.default_rng(0)
    for shape, cells in (((200, 180), (40, 36)), ((40, 44, 36), (14, 15, 12))):
        field = smooth_field(rng, shape, cells)
        assert field.shape == shape
        assert abs(field.std() - 1.0) < 0.15
        assert abs(field.mean()) < 0.15


def test_contour_without_roughness_is_its_ellipse() -> None:
    contour = Contour(np.random.default_rng(0), (1.0, -2.0), (3.0, 5.0))
    z, x = np.meshgrid(np.linspace(-9, 9, 361), np.linspace(-9, 9, 361), indexing="ij")
    area = (contour.depth(z, x) > 0).mean() * 18.05**2
    assert area == pytest.approx(np.pi * 15, rel=0.02)
    assert contour.depth(np.array([[1.0]]), np.array([[3.0]]))[0, 0] == pytest.approx(0.0, abs=1e-9)


def test_wave_is_a_function_of_place_only() -> None:
    wave = Wave(np.random.default_rng(0), 40.0, 2.0)
    x = np.linspace(-20, 20, 81)
    assert np.allclose(wave(x)[10:20], wave(x[10:20]))


# ultrasound


def test_speckle_of_homogeneous_tissue_is_rayleigh() -> None:
    amplitude = ultrasound.envelope(plain(), QUIET, (0.15, 0.25), np.random.default_rng(1))
    assert amplitude.mean() / amplitude.std() == pytest.approx(1.9131, abs=0.06)
    assert (amplitude**2).mean() == pytest.approx(1.0, abs=0.06)
    quantile = np.quantile(amplitude, [0.1, 0.5, 0.9])  # Rayleigh: sqrt(-ln(1 - q)) for mean square 1
    assert quantile == pytest.approx(np.sqrt(-np.log(1 - np.array([0.1, 0.5, 0.9]))), rel=0.06)


def test_few_scatterers_make_heavier_tails_and_compounding_lighter_ones() -> None:
    rng = np.random.default_rng(2)
    tissue = plain()
    full = ultrasound.envelope(tissue, QUIET, (0.15, 0.25), rng)
    tissue.density = np.full(tissue.echo.shape, 0.03)
    sparse = ultrasound.envelope(tissue, QUIET, (0.15, 0.25), rng)
    tissue.density = None
    compounded = ultrasound.envelope(tissue, Machine(8.0, noise=-120.0, looks=3), (0.15, 0.25), rng)
    snr = [float(a.mean() / a.std()) for a in (sparse, full, compounded)]
    assert snr[0] < snr[1] - 0.2 < snr[2] - 0.4


def test_attenuation_shadows_and_enhances() -> None:
    for loss, sign in ((1.6, -1.0), (0.1, 1.0)):
        tissue = plain()
        tissue.attenuation[80:130, 60:100] = loss
        amplitude = ultrasound.envelope(tissue, QUIET, (0.15, 0.25), np.random.default_rng(3))
        behind, beside = amplitude[150:, 70:90], amplitude[150:, :40]
        expected = -2 * (loss - 0.6) * 8.0 * 50 * 0.15 / 10
        decibel = 10 * np.log10((behind**2).mean() / (beside**2).mean())
        assert decibel == pytest.approx(expected, abs=1.5)
        assert np.sign(decibel) == sign


def test_excess_loss_is_zero_where_the_time_gain_fits() -> None:
    assert np.allclose(ultrasound.excess_loss(np.full((10, 4), 0.5), 0.5, 9.0, 0.2), 0.0)
    loss = ultrasound.excess_loss(np.full((10, 4), 1.5), 0.5, 10.0, 1.0)
    assert loss[-1, 0] == pytest.approx(2 * 1.0 * 10 * 0.95)


def test_beam_is_narrowest_at_the_focus() -> None:
    machine = Machine(8.0, noise=-120.0, f_number=3.0, focus=0.4, focal_range=0.15)
    amplitude = ultrasound.envelope(plain(400, 300), machine, (0.1, 0.12), np.random.default_rng(4))
    intensity = amplitude**2 - (amplitude**2).mean()

    def width(rows: slice) -> float:
        """Lateral autocorrelation at lag 3."""
        part = intensity[rows]
        return float((part[:, 3:] * part[:, :-3]).mean() / (part**2).mean())

    near, focus, far = width(slice(0, 40)), width(slice(140, 180)), width(slice(360, 400))
    assert focus < near - 0.1
    assert focus < far - 0.1
    assert ultrasound.beam_width(np.array([10.0]), 10.0, 5.0, 0.2, 2.355)[0] == pytest.approx(0.2)


def test_lower_frequency_makes_coarser_speckle() -> None:
    def coarse(frequency: float) -> float:
        machine = Machine(frequency, cycles=4, noise=-120.0)
        a = ultrasound.envelope(plain(), machine, (0.1, 0.2), np.random.default_rng(5)) ** 2
        a = a - a.mean()
        return float((a[2:] * a[:-2]).mean() / (a**2).mean())

    assert coarse(4.0) > coarse(12.0) + 0.1


def test_compression_gain_range_and_noise_floor() -> None:
    amplitude = 10 ** (np.array([[0.0, -20.0, 10.0, -300.0] * 8] * 16).repeat(8, 1) / 20)
    machine = Machine(8.0, dynamic_range=60.0, smooth=0.01)
    level = ultrasound.compress(amplitude, machine, 0.0)[8, 4::8]
    assert level[0] - level[1] == pytest.approx(255 * 20 / 60, abs=0.5)
    assert level[3] == 0.0
    assert ultrasound.compress(amplitude, machine, 6.0)[8, 4] > level[0]
    empty = Tissue(np.full((256, 64), -200.0), np.full((256, 64), 0.6))
    noise = ultrasound.envelope(empty, Machine(8.0, noise=-40.0), (0.15, 0.25), np.random.default_rng(6))
    assert noise[200:].mean() > 5 * noise[:50].mean()  # the time gain lifts it with depth


def test_scan_conversion_keeps_places_and_is_black_outside() -> None:
    machine = Machine(3.5, sector=30.0, radius=50.0)
    z, _ = ultrasound.beam_grid(machine, 100.0, 200, 100)
    polar = z.copy()
    zz, xx = np.meshgrid(np.linspace(10, 90, 50), np.linspace(-20, 20, 41), indexing="ij")
    assert np.abs(ultrasound.scan_convert(polar, machine, 100.0, zz, xx) - zz).max() < 0.5
    assert ultrasound.scan_convert(polar, machine, 100.0, np.array([[5.0]]), np.array([[60.0]]))[0, 0] == 0.0


# volumes


def test_mr_noise_is_rician() -> None:
    rng = np.random.default_rng(7)
    background = radiology.rician(rng, np.zeros(200_000), 2.0)
    assert background.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)
    assert background.std() == pytest.approx(2.0 * np.sqrt(2 - np.pi / 2), rel=0.01)
    signal = radiology.rician(rng, np.full(200_000, 40.0), 2.0)
    assert signal.mean() == pytest.approx(np.sqrt(40**2 + 2.0**2), rel=0.002)
    assert (signal**2).mean() == pytest.approx(40**2 + 2 * 2.0**2, rel=0.005)


def test_bias_field_is_smooth_positive_and_centred() -> None:
    field = radiology.bias_field(np.random.default_rng(8), (40, 40, 30), 0.3)
    assert field.min() > 0
    assert np.log(field).mean() == pytest.approx(0.0, abs=1e-9)
    assert np.abs(np.diff(field, axis=0)).max() < 0.2
    assert np.ptp(field) > 0.2


def test_streaks_need_dense_voxels() -> None:
    dense = np.zeros((30, 30, 6), bool)
    assert not radiology.streaks(np.random.default_rng(9), dense, 50.0).any()
    dense[14:17, 14:17, 2] = True
    rays = radiology.streaks(np.random.default_rng(9), dense, 50.0)
    assert np.abs(rays[:, :, 2]).max() > 20
    assert not rays[:, :, 0].any()


def test_shapes() -> None:
    at = grid_points((41, 41, 41), (1.0, 1.0, 1.0))
    ball = ellipsoid(at, (0, 0, 0), (10, 10, 10), random_rotation(np.random.default_rng(0), 1.0))
    assert (ball > 0).sum() == pytest.approx(4 / 3 * np.pi * 1000, rel=0.03)
    pipe = tube(at, [(-15, 0, 0), (15, 0, 0)], 4.0)
    assert (pipe > 0)[20].sum() == pytest.approx(np.pi * 16, rel=0.15)
    assert (shape_union([ball, pipe], 5.0) >= np.maximum(ball, pipe) - 1e-9).all()


# data sets


def test_a_data_set_without_a_phantom_says_so() -> None:
    class Without(TUS):
        phantom_class = None

    with pytest.raises(LookupError, match="'tus' has no phantom"):
        Without.phantom(Without.Options(), PhantomOptions())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPECS))
def test_cases_obey_the_card(name: str) -> None:
    card, data = CARD[name], make(name, cases=2 * SPECS[name].frames)
    refs = data.index()
    assert [ref.id for ref in refs] == sorted(ref.id for ref in refs)
    seen: set[int] = set()
    for ref in refs[:: SPECS[name].frames]:
        case, truth = data.read(ref), data.truth(ref)
        assert case.image.shape == (card.channels, *case.frame.shape)
        assert case.image.dtype == torch.float32 and torch.isfinite(case.image).all()
        assert case.label is not None and case.label.dtype == torch.uint8
        assert torch.equal(case.label, truth.label)
        assert data.files(ref) == ()
        assert ref.domain in card.domains
        seen |= set(case.label.unique().tolist())
        if card.dims == 2:
            assert case.image.min() >= 0 and case.image.max() <= 1
            assert min(case.frame.shape) >= 150 and max(case.frame.shape) <= 300
            assert (case.spacing is None) == (name != "hc18")
        else:
            assert case.spacing is not None and len(case.spacing) == 3
            assert abs(float(case.image.mean())) < 1e-3
    assert seen == set(range(len(card.classes)))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_case_is_the_same_whatever_the_number_and_order(name: str) -> None:
    few, many = make(name, cases=2), make(name, cases=30)
    assert many.index()[:2] == few.index()
    a, b = few.read(few.index()[1]), many.read(many.index()[1])
    assert torch.equal(a.image, b.image)
    assert torch.equal(a.label, b.label)


def test_seeds_give_other_cases() -> None:
    a, b = draw("msd-hippocampus", 0, 0).image, draw("msd-hippocampus", 1, 0).image
    assert a.shape != b.shape or not np.array_equal(a, b)


@pytest.mark.parametrize("name", sorted(PINNED))
def test_pinned_digits(name: str) -> None:
    drawing = draw(name, 0, 1)
    mean, deviation, labeled = PINNED[name]
    assert drawing.image.mean() == pytest.approx(mean, abs=2e-3)
    assert drawing.image.std() == pytest.approx(deviation, abs=2e-3)
    assert abs(int((drawing.label > 0).sum()) - labeled) <= 2


@pytest.mark.parametrize("name", IMAGES)
def test_stored_images_are_grey_levels(name: str) -> None:
    image = draw(name, 0, 2).image
    assert np.array_equal(image, np.rint(image))
    assert image.min() >= 0 and image.max() <= 255
    assert 25 < image.mean() < (150 if CARD[name].modality == "ultrasound" else 220)
    assert image.std() > 15


@pytest.mark.slow
@pytest.mark.parametrize("name", [*IMAGES, *VOLUMES])
def test_the_truth_alone_is_the_truth_of_the_image(name: str) -> None:
    data = make(name, cases=3)
    for ref in data.index():
        alone, with_image = make(name, cases=3).truth(ref), data.read(ref).label
        assert with_image is not None and torch.equal(alone.label, with_image)


def test_busi_has_its_share_of_normals_and_the_others_none() -> None:
    normal = [is_normal(SPECS["busi"], group) for group in range(1000)]
    assert sum(normal) == 170
    data = make("busi", cases=12)
    assert [not data.truth(ref).label.any() for ref in data.index()] == normal[:12]
    assert sum(normal[:12]) == 2
    tus = make("tus", cases=240)
    assert all(tus.truth(ref).label.any() for ref in tus.index()[::30])


def test_lesions_only_leaves_the_normals_out() -> None:
    class Options(DatasetOptions, frozen=True, extra="forbid"):
        lesions_only: bool = True

    data = PHANTOM["busi"](CARD["busi"], Options(), PhantomOptions(cases=100))
    refs = data.index()
    assert len(refs) == 83
    assert set(refs) < set(make("busi", cases=100).index())


def test_tus_has_three_machines_of_patients_with_frames() -> None:
    data = make("tus")
    refs = data.index()
    assert len(refs) == 240 and len({ref.group for ref in refs}) == 120
    domains = {ref.group: ref.domain for ref in refs}
    assert sorted(domains.values()) == sorted(["machine-1", "machine-2", "machine-3"] * 40)
    first, second = data.read(refs[0]), data.read(refs[1])
    assert first.image.shape == second.image.shape
    assert not torch.equal(first.image, second.image)
    overlap = (first.label & second.label).sum() * 2 / (first.label.sum() + second.label.sum())
    assert 0.3 < float(overlap) < 1.0


def test_machines_look_different() -> None:
    def look(group: int) -> tuple[float, float]:
        image = draw("tus", 0, group).image
        part = image[60:120, 60:140]
        part = part - part.mean()
        return float(image.mean()), float((part[:, 2:] * part[:, :-2]).mean() / (part**2).mean())

    grain = [np.mean([look(g)[1] for g in range(m, 12, 3)]) for m in range(3)]
    assert grain[1] > grain[0] + 0.03


def test_vendors_and_modalities_look_different() -> None:
    ct, mr = draw("mmwhs", 0, 1).image, draw("mmwhs", 0, 0).image
    assert ct.min() < -800 and ct.max() > 300
    assert mr.min() >= 0
    stored = [draw("mnms", 0, group).image.max() for group in range(4)]
    assert stored[3] > stored[1] * 3


def test_mnms_systole_is_smaller_than_diastole_and_slices_are_thick() -> None:
    for group in range(4):
        diastole, systole = draw("mnms", 0, group, 0), draw("mnms", 0, group, 1)
        assert diastole.image.shape == systole.image.shape
        assert (systole.label == 1).sum() < 0.85 * (diastole.label == 1).sum()
        assert diastole.spacing is not None and diastole.spacing[0] > 3 * diastole.spacing[1]


@pytest.mark.parametrize("name", ["hc18", "la", "msd-hippocampus"])
def test_these_labels_are_in_one_piece(name: str) -> None:
    for group in range(2):
        assert components(draw(name, 0, group).label > 0)[1] == 1


def test_scale_and_working_size() -> None:
    ref = make("udiat", cases=1).index()[0]
    native, large = make("udiat", cases=1).read(ref), make("udiat", cases=1, scale=1.5).read(ref)
    assert large.frame.shape[0] == pytest.approx(1.5 * native.frame.shape[0], abs=1)
    share = [float((case.label > 0).float().mean()) for case in (native, large) if case.label is not None]
    assert share[0] == pytest.approx(share[1], rel=0.35)
    small = make("udiat", cases=1, size=(64, 64)).read(ref)
    assert small.image.shape == (3, 64, 64) and small.label is not None and small.label.shape == (64, 64)
    assert small.frame.shape == native.frame.shape
    volume = make("la", cases=1, size=(32, 32, 24))
    case = volume.read(volume.index()[0])
    assert case.spacing is not None and case.frame.spacing is not None
    assert case.spacing[0] == pytest.approx(case.frame.spacing[0] * case.frame.shape[0] / 32)
    assert volume.truth(case.ref).label.shape == case.frame.shape


def test_fingerprint_names_the_content() -> None:
    prints = {make("la", **change).fingerprint for change in ({}, {"cases": 3}, {"seed": 1}, {"scale": 2.0})}
    assert len(prints) == 4
    assert make("la").fingerprint == make("la").fingerprint != make("mmwhs").fingerprint


def test_normalise_can_be_the_editions_own() -> None:
    data = PHANTOM["udiat"](CARD["udiat"], DatasetOptions(), PhantomOptions(cases=1), lambda image: image * 0 + 7)
    assert (data.read(data.index()[0]).image == 7).all()


@pytest.mark.parametrize("name", ["bus-bra", "mnms", "la", "isic2018"])
def test_contact_sheet(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = contact_sheet(make(name, cases=6), tmp_path / "sheet.png", n=3)
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert path.stat().st_size < 300_000
