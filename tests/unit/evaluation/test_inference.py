"""Whole image, slices, sliding window, and the way back to the native grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom
from torch import Tensor, nn

from semibench import Frame, Inference, UnsupportedError
from semibench.evaluation.geometry import gaussian, resize, window_corners, window_starts, zoom_index
from semibench.evaluation.inference import native_labels, predict, predict_many, resolve, working_labels
from semibench.evaluation.network import Network

PLAIN = Inference(mode="window", overlap=0.5, blend="constant")


def pointwise(images: Tensor) -> Tensor:
    """Logits that depend on each voxel alone, so that every way of inference must give the same."""
    return torch.cat([torch.zeros_like(images[:, :1]), images[:, :1], 0.5 * images[:, :1] - 1], dim=1)


def expected(image: Tensor) -> Tensor:
    return pointwise(image[None])[0].softmax(dim=0)


class Recorder(nn.Module):
    """Remembers the shapes and values it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.clone())
        return pointwise(images)


@pytest.mark.parametrize(
    ("size", "patch", "stride", "starts"),
    [
        (150, 112, 18, [0, 18, 36, 38]),
        (88, 80, 4, [0, 4, 8]),
        (80, 80, 4, [0]),
        (60, 80, 4, [0]),
        (10, 4, 3, [0, 3, 6]),
    ],
)
def test_window_starts(size, patch, stride, starts) -> None:
    assert window_starts(size, patch, stride) == starts


def test_windows_cover_every_voxel() -> None:
    for inference in (PLAIN, Inference(mode="window", stride=(18, 18, 4)), Inference(mode="window", overlap=0.0)):
        seen = np.zeros((21, 17, 9), dtype=int)
        for corner in window_corners(seen.shape, (8, 8, 4), inference):
            seen[tuple(slice(c, c + p) for c, p in zip(corner, (8, 8, 4), strict=True))] += 1
        assert seen.min() >= 1
    with pytest.raises(ValueError, match="stride"):
        window_starts(10, 4, 0)
    with pytest.raises(UnsupportedError, match="2 steps"):
        window_corners((10, 10), (4, 4), Inference(mode="window", stride=(1, 1, 1)))


@pytest.mark.parametrize("blend", ["constant", "gaussian"])
@pytest.mark.parametrize("size", [(20, 14, 9), (5, 14, 3)])
@pytest.mark.parametrize("flips", [False, True])
def test_window_of_a_pointwise_network_changes_nothing(blend, size, flips) -> None:
    image = torch.randn(2, *size)
    inference = Inference(mode="window", overlap=0.5, blend=blend, flips=flips)
    found = predict(pointwise, image, inference, Network(dims=3, patch=(8, 8, 4), batch=3))
    assert found.shape == (3, *size) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected(image), atol=1e-5, rtol=0)


def test_window_is_the_mean_over_the_windows_that_see_a_voxel() -> None:
    def place_in_window(images: Tensor) -> Tensor:
        ramp = torch.arange(images.shape[2], dtype=torch.float32)[None, None, :, None, None]
        p = (ramp + 1) / (images.shape[2] + 2) * torch.ones_like(images[:, :1])
        return torch.cat([(1 - p).log(), p.log()], dim=1)

    found = predict(
        place_in_window,
        torch.zeros(1, 6, 2, 2),
        Inference(mode="window", stride=(2, 2, 2), blend="constant"),
        Network(dims=3, patch=(4, 2, 2)),
    )
    # windows at 0 and 2; the network says (i + 1) / 6 for place i in its window
    wanted = torch.tensor([1, 2, (3 + 1) / 2, (4 + 2) / 2, 3, 4]) / 6
    torch.testing.assert_close(found[1, :, 0, 0], wanted)


def test_a_volume_smaller_than_the_patch_is_padded_with_zeros_on_both_sides() -> None:
    net = Recorder()
    predict(net, torch.ones(1, 3, 4, 4), PLAIN, Network(dims=3, patch=(6, 4, 4)))
    assert net.seen[0][0, 0, :, 0, 0].tolist() == [0, 1, 1, 1, 0, 0]


def test_window_agrees_with_monai() -> None:
    monai = pytest.importorskip("monai.inferers")
    torch.manual_seed(0)
    net = nn.Conv3d(1, 2, 3, padding=1).eval()
    image = torch.randn(1, 16, 12, 8)
    with torch.no_grad():
        found = predict(net, image, PLAIN, Network(dims=3, patch=(8, 8, 4)))
        wanted = monai.sliding_window_inference(
            image[None], (8, 8, 4), 4, lambda x: net(x).softmax(1), overlap=0.5, mode="constant"
        )[0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_gaussian_is_highest_in_the_middle_and_never_zero() -> None:
    weight = gaussian((9, 8))
    assert weight.max() == weight[4, 3] == weight[4, 4] and weight.min() >= 1e-3
    torch.testing.assert_close(weight, weight.flip(0, 1))


def test_whole_image_is_padded_to_the_divisor_and_cropped_back() -> None:
    net = Recorder()
    image = torch.randn(1, 13, 16)
    found = predict(net, image, Inference(), Network(dims=2, patch=(16, 16), divisor=8))
    assert net.seen[0].shape == (1, 1, 16, 16)
    torch.testing.assert_close(found, expected(image))
    assert torch.equal(net.seen[0][0, 0, 0], image[0, 0])  # edges are repeated


def test_flips_are_averaged() -> None:
    torch.manual_seed(1)
    net = nn.Conv2d(1, 2, 3, padding=1)
    image = torch.randn(1, 6, 7)
    network = Network(dims=2, patch=(6, 7))
    with torch.no_grad():
        found = predict(net, image, Inference(flips=True), network)
        mirrored = predict(net, image.flip(1), Inference(flips=True), network)
        single = [
            net(image[None].flip(axes)).softmax(1).flip(axes) if axes else net(image[None]).softmax(1)
            for axes in ((), (2,), (3,), (2, 3))
        ]
    torch.testing.assert_close(found, torch.cat(single).mean(0))
    torch.testing.assert_close(found, mirrored.flip(1))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("how", ["linear", "nearest"])
def test_slices_are_cut_along_the_axis_and_stacked_again(axis, how) -> None:
    net = Recorder()
    image = torch.randn(1, 5, 6, 7)
    size = tuple(n for a, n in enumerate((5, 6, 7)) if a != axis)
    network = Network(dims=2, patch=size, slice_axis=axis, batch=4)
    found = predict(net, image, Inference(mode="slices", resize=how), network)
    torch.testing.assert_close(found, expected(image))
    assert sum(len(batch) for batch in net.seen) == image.shape[axis + 1] and max(map(len, net.seen)) <= 4


def test_slices_of_another_size_are_resized_and_brought_back() -> None:
    net = Recorder()
    image = torch.randn(1, 3, 10, 12).abs()
    network = Network(dims=2, patch=(16, 16), slice_axis=0)
    linear = predict(net, image, Inference(), network)
    assert net.seen[0].shape[2:] == (16, 16) and linear.shape == (3, 3, 10, 12)
    torch.testing.assert_close(linear.sum(0), torch.ones(3, 10, 12))
    # SSL4MIS: zoom(order=0), argmax at the patch, zoom(order=0) of the label map back
    net.seen.clear()
    found = working_labels(predict(net, image, Inference(mode="slices", resize="nearest"), network))
    for index in range(3):
        zoomed = zoom(image[0, index].numpy(), (16 / 10, 16 / 12), order=0)
        assert np.array_equal(net.seen[0][index, 0].numpy(), zoomed)
        labels = pointwise(torch.from_numpy(zoomed)[None, None]).argmax(1)[0].numpy()
        assert np.array_equal(found[index], zoom(labels, (10 / 16, 12 / 16), order=0))


def test_nearest_resize_is_scipys_zoom_of_order_zero() -> None:
    for old, new in [(256, 216), (216, 256), (256, 232), (208, 224), (5, 1), (1, 4), (7, 7), (333, 256)]:
        values = np.random.default_rng(0).random(old)
        picked = zoom_index(old, new)
        found = np.where(picked < 0, 0, values[picked])
        assert np.array_equal(found, zoom(values, new / old, order=0)), (old, new)
    assert zoom_index(256, 216)[-1] == -1  # scipy's rounding; reproduced, see its docstring
    for old, new in (((11, 13), (16, 9)), ((256, 232), (216, 256))):
        labels = torch.randint(1, 4, (2, 1, *old)).float()
        wanted = zoom(labels[0, 0].numpy(), (new[0] / old[0], new[1] / old[1]), order=0)
        assert np.array_equal(resize(labels, new, "nearest")[0, 0].numpy(), wanted)
        assert labels.min() == 1


def test_several_cases_at_once_are_the_single_ones() -> None:
    images = torch.randn(5, 1, 8, 8)
    network = Network(dims=2, patch=(8, 8), batch=2)
    found = predict_many(pointwise, images, Inference(), network)
    torch.testing.assert_close(found, torch.stack([predict(pointwise, i, Inference(), network) for i in images]))


def test_resolved_inferences_are_shared() -> None:
    assert resolve(Inference(), dims=2, case_dims=2) == resolve(Inference(mode="whole"), dims=2, case_dims=2)
    assert resolve(Inference(), dims=2, case_dims=3) == resolve(Inference(mode="slices"), dims=2, case_dims=3)
    assert resolve(Inference(), dims=3, case_dims=3) == resolve(Inference(mode="window"), dims=3, case_dims=3)
    fixed = Inference(mode="window", stride=(1, 1, 1))
    assert resolve(fixed, dims=3, case_dims=3) == resolve(
        fixed.model_copy(update={"overlap": 0.9}), dims=3, case_dims=3
    )
    assert resolve(Inference(mode="slices", resize="nearest"), dims=2, case_dims=3).resize == "nearest"


def test_impossible_combinations_say_why() -> None:
    with pytest.raises(UnsupportedError, match="3D network cannot be applied to 2D"):
        resolve(Inference(), dims=3, case_dims=2)
    with pytest.raises(UnsupportedError, match="a 2D network on volumes"):
        resolve(Inference(mode="slices"), dims=3, case_dims=3)
    with pytest.raises(UnsupportedError, match="needs a 3D network"):
        resolve(Inference(mode="window"), dims=2, case_dims=3)
    with pytest.raises(UnsupportedError, match="axis"):
        predict(pointwise, torch.zeros(1, 4, 4, 4), Inference(), Network(dims=2, patch=(4, 4)))
    with pytest.raises(ValueError, match="3 sides"):
        predict(pointwise, torch.zeros(1, 4, 4, 4), Inference(), Network(dims=3, patch=(4, 4)))
    for wrong in (lambda x: x, lambda x: pointwise(x)[:, :, :-1], lambda x: (x, x)):
        with pytest.raises(ValueError, match="logits"):
            predict(wrong, torch.zeros(1, 4, 4), Inference(), Network(dims=2, patch=(4, 4)))


# --- back to the native grid ---


def one_hot(labels: np.ndarray, classes: int) -> Tensor:
    return torch.stack([torch.from_numpy(labels == k).float() for k in range(classes)])


def test_place_pastes_the_box_into_background() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (4, 5)).astype(np.uint8)
    native = native_labels(one_hot(labels, 3), Frame(shape=(9, 8), box=((2, 6), (1, 6))))
    assert native.dtype == np.uint8 and native.shape == (9, 8)
    assert np.array_equal(native[2:6, 1:6], labels)
    assert native.sum() == labels.sum()


def test_place_drops_what_lies_beyond_the_native_grid() -> None:
    labels = np.arange(36).reshape(6, 6).astype(np.uint8) % 3
    native = native_labels(one_hot(labels, 3), Frame(shape=(4, 4), box=((-1, 5), (0, 6))))
    assert np.array_equal(native, labels[1:5, :4])


@pytest.mark.parametrize("shape", [(30, 21), (14, 10, 12)])
def test_place_resizes_probabilities_before_the_argmax(shape) -> None:
    torch.manual_seed(2)
    probabilities = torch.randn(4, *(n // 2 for n in shape)).softmax(0)
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
    wanted = nn.functional.interpolate(probabilities[None], size=shape, mode=mode)[0].argmax(0).numpy()
    assert np.array_equal(native_labels(probabilities, Frame(shape=shape)), wanted)


def test_ties_go_to_the_lower_class() -> None:
    even = torch.full((3, 2, 2), 1 / 3)
    assert not native_labels(even, Frame(shape=(2, 2))).any() and not native_labels(even, Frame(shape=(5, 5))).any()


def test_slabs_see_the_same_neighbours_as_training() -> None:
    """A predictor that returns the middle channel of a slab reproduces the slices; the first channel is the slice before."""
    from semibench.evaluation.inference import predict
    from semibench.evaluation.inference import resolve as settle
    from semibench.evaluation.network import Network

    volume = torch.rand(1, 5, 6, 4)
    seen: list[torch.Tensor] = []

    def predictor(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return torch.cat([-images[:, 1:2], images[:, 1:2]], 1)

    network = Network(2, (6, 4), slice_axis=0, slab=3)
    predict(predictor, volume, settle(Inference(), dims=2, case_dims=3), network)
    slabs = torch.cat(seen)
    assert slabs.shape == (5, 3, 6, 4)
    assert torch.equal(slabs[:, 1], volume[0])
    assert torch.equal(slabs[1:, 0], volume[0, :-1])
    assert torch.equal(slabs[0, 0], volume[0, 0])
    assert torch.equal(slabs[-1, 2], volume[0, -1])
