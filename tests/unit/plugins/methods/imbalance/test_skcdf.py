"""SKCDF: its attention against a naive version, its rates, flow and losses against worked numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, quiet, reached
from torch import Tensor, nn

from semibench import IGNORE, Clock, UnsupportedError
from semibench_plugins.backbones.deeplabv3plus import DeepLabOptions, DeepLabV3Plus
from semibench_plugins.methods.imbalance.skcdf.attention import ChannelAttention, Complementarity, WindowAttention
from semibench_plugins.methods.imbalance.skcdf.method import SKCDF, classifier

torch.set_num_threads(1)


def method(dims: int = 2, **changes: Any) -> SKCDF:
    built = case_of(SKCDF, dims, **changes).build()
    assert isinstance(built, SKCDF)
    return built


def row_weights(scores: Tensor) -> Tensor:
    return ((scores - scores.mean()) / (scores.var(unbiased=False) + 1e-5).sqrt()).softmax(1)


def test_attention_within_and_between_samples() -> None:
    """Matrix by matrix: sample, window and head."""
    torch.manual_seed(0)
    layer, tokens, others = ChannelAttention(3, 2, 0.0), torch.randn(2, 4, 5, 3), torch.randn(3, 4, 5, 3)
    found, crossed = layer(tokens), layer(tokens, others)
    q, k, v = (part.weight for part in (layer.query, layer.key, layer.value))
    for b in range(2):
        for w in range(4):
            x, parts = tokens[b, w], []  # (n, C)
            query, key, value = (x @ m.T for m in (q, k, v))
            for head in range(2):
                scores = query[:, head::2].T @ key[:, head::2]
                parts.append((row_weights(scores) @ value[:, head::2].T).T)
            joined = torch.stack(parts, -1).flatten(1)
            assert torch.allclose(found[b, w], joined @ layer.out.weight.T, atol=1e-5)
            keys, values = (torch.cat([others[o, w] @ m.T for o in range(3)], 1) for m in (k, v))  # (n, 3 hC)
            mixed = (row_weights(query.T @ keys) @ values.T).T
            assert torch.allclose(crossed[b, w], mixed @ layer.out.weight.T, atol=1e-5)


@pytest.mark.parametrize(("grid", "window"), [((4, 6), (2, 2)), ((2, 4, 3), (2, 2, 1)), ((2, 3), (2, 3))])
def test_tokens_fold_back_to_their_places(grid: tuple[int, ...], window: tuple[int, ...]) -> None:
    """A convolution whose n-th filter picks the n-th place of a window makes tokens that fold back to the map."""
    block = WindowAttention(3, grid, window, 2, 0.0)
    size = math.prod(window)
    with torch.no_grad():
        block.tokens.weight.copy_(torch.eye(size).view(size, 1, *window))
        nn.init.zeros_(block.tokens.bias)  # type: ignore[arg-type]
    maps = torch.randn(2, 3, *grid)
    tokens = block.tokenised(maps)
    assert tokens.shape == (2, math.prod(grid) // size, size, 3)
    assert torch.equal(block.folded(tokens), maps)
    assert block(maps).shape == maps.shape and block(maps, torch.randn(1, 3, *grid)).shape == maps.shape


def test_samples_complement_each_other() -> None:
    """Labeled results depend on the unlabeled maps, without gradient; a map of another size is resized."""
    part = Complementarity(4, (2, 3), dropout=0.0)
    labeled, unlabeled = (torch.randn(2, 4, 2, 3, requires_grad=True) for _ in range(2))
    found = part.between(labeled, unlabeled)
    assert found.shape == (4, 4, 2, 3)
    assert not torch.allclose(found[:2], part.between(labeled, 0.5 * unlabeled)[:2], atol=1e-4)
    found[:2].sum().square().backward()
    assert labeled.grad is not None and bool(labeled.grad.any()) and unlabeled.grad is None
    assert part(torch.randn(1, 4, 5, 4)).shape == (1, 4, 5, 4)
    whole = part(labeled)
    assert torch.allclose(whole[:1], part(labeled[:1]), atol=1e-6), "each sample looks at itself"


def test_worked_rates() -> None:
    class Counts:
        def class_voxels(self) -> Tensor:
            return torch.tensor([9000.0, 900.0, 100.0, 0.0])

    built = method(classes=4)
    built.begin("train", Counts())  # type: ignore[arg-type]
    assert built.rates.tolist() == pytest.approx([0.01111, 0.11111, 1.0, 1.0], abs=1e-5), "the last class is nowhere"
    relaxed = [1 - t * (1 - built.rates) for t in (0.0, 0.5)]
    assert relaxed[0].tolist() == [1.0] * 4
    assert relaxed[1].tolist() == pytest.approx([0.50556, 0.55556, 1.0, 1.0], abs=1e-5)


def test_undrawn_voxels_are_published_by_default() -> None:
    """A voxel that isn't drawn adds ln K: 2.639057 for 14 classes."""
    assert SKCDF.Options().undrawn == "background"
    logits, label = torch.randn(1, 14, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
    loss = method(classes=14).drawn_loss(logits, label, torch.zeros(14))
    dice = 1 - 1 / (16 / 14 + 1)  # of each foreground class: predicted with 1 / 14 everywhere, never there
    assert 2 * loss.item() == pytest.approx(2.639057 + dice, abs=1e-5)


def test_maps_of_another_size_are_complemented_whole() -> None:
    torch.manual_seed(0)
    block = Complementarity(8, (4, 4)).eval()
    labeled, unlabeled = torch.randn(2, 8, 5, 5), torch.randn(1, 8, 5, 5)
    with torch.no_grad():
        found = block.between(labeled, unlabeled)
        labeled[:, :, 4] += 1.0
        moved = block.between(labeled, unlabeled)
    assert found.shape == (3, 8, 5, 5) and not torch.allclose(found[:, :, 4], moved[:, :, 4])


def test_a_patch_that_is_no_multiple_of_the_stride() -> None:
    """A network that rounds sides up has 5 x 5 places of 65 pixels with stride 16."""
    task = replace(case_of(SKCDF).task, patch=(65, 65))
    options = DeepLabOptions(width=0.0625, lineage="unimatch")
    net = DeepLabV3Plus(dims=2, channels=1, outputs=2, patch=(65, 65), options=options)
    built = SKCDF(task, lambda **_: net, SKCDF.Options())  # type: ignore[arg-type,misc]
    assert built.complement.grid == tuple(net.encode(torch.rand(2, 1, 65, 65))[-1].shape[2:])


def test_voxels_that_are_not_drawn() -> None:
    """Class 0 is never drawn. Left out, the loss is that of the rest; as published, the cross-entropy of the others is ln K."""
    logits, label = torch.randn(1, 3, 4, 4), torch.randint(3, (1, 4, 4))
    label[0, 0], label[0, 1] = 0, IGNORE
    rates = torch.tensor([0.0, 1.0, 1.0])
    drawn = label.ne(0) & label.ne(IGNORE)
    left_out, published = (
        method(classes=3, options={"undrawn": rule}).drawn_loss(logits, label, rates)
        for rule in ("ignored", "background")
    )
    p, y, n = logits.softmax(1), label[drawn], int(drawn.sum())
    own = -sum(float(logits[0, :, i, j].log_softmax(0)[label[0, i, j]]) for i, j in drawn[0].nonzero().tolist())
    zeros = int((label == 0).sum())
    dices = {"ignored": [], "background": []}  # type: ignore[var-annotated]
    for k in (1, 2):
        common, size = float(p[:, k][drawn & (label == k)].sum()), float(p[:, k][drawn].sum()) + int((y == k).sum())
        dices["ignored"].append((2 * common + 1) / (size + 1))
        dices["background"].append((2 * common + 1) / (size + zeros / 3 + 1))
    mean = {rule: 1 - sum(values) / 2 for rule, values in dices.items()}
    assert left_out.item() == pytest.approx(0.5 * (own / n + mean["ignored"]), rel=1e-5)
    entropy = (own + zeros * math.log(3)) / (n + zeros)
    assert published.item() == pytest.approx(0.5 * (entropy + mean["background"]), rel=1e-5)


def test_weights_flow() -> None:
    """Worked: all of D_u at 0, D_l at 1, the balanced heads at 3 and 5; then D_l.main = 1.02, D_u = .01 and so on."""
    built = method()
    parts = (built.net.decoder, 0.0), (built.labeled_decoder, 1.0), (built.balanced[0], 3.0), (built.balanced[1], 5.0)
    for module, value in parts:
        for parameter in module.parameters():
            nn.init.constant_(parameter, value)
    built.flow()
    last_l, last_u = classifier(built.labeled_decoder, 2), classifier(built.net.decoder, 2)
    assert last_l.weight.detach().unique().tolist() == pytest.approx([1.02])
    balanced_u = 5 - 0.01 * 2
    assert built.balanced[1].weight.detach().unique().tolist() == pytest.approx([balanced_u])  # type: ignore[union-attr,operator]
    assert last_u.weight.detach().unique().tolist() == pytest.approx([0.99 * 0.0102 + 0.01 * balanced_u])
    rest = [value for name, value in built.net.decoder.named_parameters() if "last" not in name]
    assert rest and all(torch.allclose(value, torch.tensor(0.01)) for value in rest)


@pytest.mark.parametrize("dims", [2, 3])
def test_who_learns_from_what(dims: int) -> None:
    case = case_of(SKCDF, dims)
    built = method(dims)
    losses = built.losses(case.data().batch(0), clock())
    own, other = (built.net.decoder, built.balanced[1]), (built.labeled_decoder, built.balanced[0])
    for part in (built.net.blocks, built.complement):  # type: ignore[attr-defined]
        assert reached(losses["sup"], part) and reached(losses["unsup"], part)
    assert all(reached(losses["unsup"], part) and not reached(losses["sup"], part) for part in own)
    assert all(reached(losses["sup"], part) and not reached(losses["unsup"], part) for part in other)


def test_the_relaxed_rates_draw_everything_at_the_start() -> None:
    """At t = 0 the balanced head of D_u counts every voxel, so both ways to treat the others agree."""
    built = quiet(method()).eval()
    built.rates.zero_()
    batch = case_of(SKCDF).data().batch(0)
    found = []
    for rule in ("ignored", "background"):
        built.options = SKCDF.Options(undrawn=rule, mixing=0.0)  # type: ignore[arg-type]
        found.append([built.losses(batch, Clock("train", s, 100, {}))["unsup"].item() for s in (0, 99)])
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert found[0][1] != pytest.approx(found[1][1], rel=1e-3)


def test_a_decoder_without_a_last_layer_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="last layer"):
        classifier(method().net.decoder, 7)
