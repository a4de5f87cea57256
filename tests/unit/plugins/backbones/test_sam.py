"""SAM: published sizes, attention against a naive version, windows, LoRA, prompts, and files of published weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semibench import IdentityError, UsageError
from semibench.conformance import BackboneSubject
from semibench.conformance.backbones import BACKBONE_CHECKS
from semibench.run.assembly import load_weights
from semibench_plugins.backbones.sam.image_encoder import Attention, in_windows, resized, table
from semibench_plugins.backbones.sam.network import SAM, SAMOptions

SMALL = {"width": 1 / 16, "depth": 4, "window": 2}


def network(side: int = 48, outputs: int = 3, **options: Any) -> SAM:
    torch.manual_seed(0)
    given = SAMOptions(**{**SMALL, **options})
    return SAM(dims=2, channels=1, outputs=outputs, patch=(side, side), options=given).eval()


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes() -> None:
    """ViT-B of 1024 x 1024 and the two-way transformer of the decoder."""
    with torch.device("meta"):
        net = SAM(dims=2, channels=1, outputs=4, patch=(1024, 1024), options=SAMOptions())
    assert count(net.image_encoder) == 89_670_912
    assert count(net.decoder.transformer) == 3_291_264  # type: ignore[arg-type]
    assert [number for number, block in enumerate(net.image_encoder.blocks) if not block.window] == [2, 5, 8, 11]
    net.adapt(4)
    lora = [name for name, parameter in net.image_encoder.named_parameters() if parameter.requires_grad]
    assert all(".lora." in name for name in lora)
    assert sum(net.image_encoder.get_parameter(name).numel() for name in lora) == 12 * 2 * 2 * 4 * 768


def test_attention_equals_a_naive_version() -> None:
    torch.manual_seed(1)
    attention = Attention(12, 2, (3, 4)).double()
    with torch.no_grad():
        for positions in (attention.rel_pos_h, attention.rel_pos_w):
            positions.normal_()
    tokens = torch.randn(1, 3, 4, 12, dtype=torch.double)
    query, key, value = attention.qkv(tokens)[0].chunk(3, -1)
    expected = torch.zeros(3, 4, 12, dtype=torch.double)
    for head in range(2):
        part = slice(6 * head, 6 * head + 6)
        for y in range(3):
            for x in range(4):
                scores = torch.stack(
                    [
                        query[y, x, part] @ key[v, u, part] / 6**0.5
                        + query[y, x, part] @ attention.rel_pos_h[y - v + 2]
                        + query[y, x, part] @ attention.rel_pos_w[x - u + 3]
                        for v in range(3)
                        for u in range(4)
                    ]
                )
                expected[y, x, part] = scores.softmax(0) @ value[..., part].reshape(12, 6)
    assert torch.allclose(attention(tokens)[0], attention.proj(expected))


def test_windows_don_t_see_each_other_and_are_filled_with_zeros() -> None:
    tokens = torch.randn(2, 5, 3, 4)
    sums = in_windows(lambda cut: cut.sum((1, 2), keepdim=True).expand_as(cut), tokens, 2)  # type: ignore[arg-type]
    assert sums.shape == tokens.shape
    for y in range(5):
        for x in range(3):
            rows, columns = slice(y // 2 * 2, y // 2 * 2 + 2), slice(x // 2 * 2, x // 2 * 2 + 2)
            assert torch.allclose(sums[:, y, x], tokens[:, rows, columns].sum((1, 2)), atol=1e-5)


def test_relative_positions_of_another_size_are_interpolated() -> None:
    straight = torch.arange(7.0).view(7, 1)
    assert torch.equal(table(straight, 4)[:, :, 0], torch.tensor([[3.0 + q - k for k in range(4)] for q in range(4)]))
    assert table(straight, 8).shape == (8, 8, 1)
    assert torch.allclose(table(straight, 8)[0, 0], torch.tensor([3.0]))


def test_lora_starts_without_effect() -> None:
    plain, adapted = network(), network(lora=2)
    adapted.load_state_dict(plain.state_dict(), strict=False)
    images = torch.rand(1, 1, 48, 48)
    with torch.no_grad():
        assert torch.equal(plain(images), adapted(images))
        adapted.image_encoder.blocks[0].attn.lora.b_v.weight.fill_(0.1)
        assert not torch.allclose(plain(images), adapted(images))
    with pytest.raises(UsageError, match="has LoRA already"):
        adapted.adapt(2)


def test_prompts_of_other_classes_and_places_differ() -> None:
    net, images = network(), torch.rand(1, 1, 48, 48)
    features = net.encode(images)

    def prompted(y: int, x: int, kind: int) -> Tensor:
        tokens = net.prompt(torch.tensor([[[y, x]]]), torch.tensor([[kind]]), (48, 48))
        assert tokens.shape == (1, 2, net.channels[0]), "the point, and the end of the list"
        (logits,) = net.decoder(features, tokens)
        return logits

    with torch.no_grad():
        seen = [prompted(*given) for given in ((4, 30, 1), (30, 4, 1), (4, 30, 2))]
        seen.append(net.decoder(features)[0])
    assert not any(torch.equal(a, b) for n, a in enumerate(seen) for b in seen[:n])


def test_positions_of_points_are_those_of_the_grid() -> None:
    """A point at the centre of a token, between its pixels 7 and 8, has the vector of that token."""
    net = network()
    centres = torch.tensor([[[16 * y + 7.5, 16 * x + 7.5] for y in range(3) for x in range(3)]])
    labels = torch.zeros(1, 9, dtype=torch.long)
    tokens = net.prompt(centres, labels, (48, 48))[0, :-1] - net.points.classes[0]
    assert torch.allclose(tokens, net.positions.of_grid((3, 3)).flatten(0, 1), atol=1e-4)


def published(net: SAM, grid: int) -> dict[str, Tensor]:
    """A file with the names of SAM's, made for images of `grid` tokens: random weights in the shapes of this network."""
    torch.manual_seed(7)
    width = net.channels[0]
    state = {
        key: torch.randn_like(value) for key, value in net.state_dict().items() if key.startswith("image_encoder.")
    }
    tokens = state["image_encoder.pos_embed"].shape[-1]
    state["image_encoder.pos_embed"] = torch.randn(1, grid, grid, tokens)
    for number, block in enumerate(net.image_encoder.blocks):
        if not block.window:
            for axis in "hw":
                state[f"image_encoder.blocks.{number}.attn.rel_pos_{axis}"] = torch.randn(2 * grid - 1, tokens // 12)
    prompts = "prompt_encoder."
    state |= {f"{prompts}point_embeddings.{kind}.weight": torch.full((1, width), float(kind)) for kind in range(4)}
    state[f"{prompts}not_a_point_embed.weight"] = torch.full((1, width), -1.0)
    state[f"{prompts}no_mask_embed.weight"] = torch.full((1, width), 0.5)
    state[f"{prompts}pe_layer.positional_encoding_gaussian_matrix"] = torch.randn(2, width // 2)
    state[f"{prompts}mask_downscaling.0.weight"] = torch.randn(4, 1, 2, 2)
    state["mask_decoder.iou_token.weight"] = torch.randn(1, width)
    return state


def test_a_published_file_starts_encoder_and_prompts(tmp_path: Path) -> None:
    net = network(outputs=6)
    decoder = {key: value.clone() for key, value in net.decoder.state_dict().items()}
    extra = net.points.classes[4:].clone()
    state = published(net, grid=8)
    torch.save(state, tmp_path / "sam.pth")
    load_weights(net, tmp_path / "sam.pth", "sam")
    assert torch.equal(net.image_encoder.blocks[1].attn.qkv.weight, state["image_encoder.blocks.1.attn.qkv.weight"])
    assert torch.equal(net.image_encoder.pos_embed, resized(state["image_encoder.pos_embed"], (3, 3)))
    assert net.points.classes[:4, 0].tolist() == [0.0, 1.0, 2.0, 3.0] and torch.equal(net.points.classes[4:], extra)
    assert set(net.points.end.tolist()) == {-1.0} and set(net.no_mask.flatten().tolist()) == {0.5}
    assert all(torch.equal(value, decoder[key]) for key, value in net.decoder.state_dict().items())
    with torch.no_grad():
        assert torch.isfinite(net(torch.rand(1, 1, 48, 48))).all()


def test_a_file_of_another_width_is_refused(tmp_path: Path) -> None:
    torch.save(published(network(width=1 / 8), grid=8), tmp_path / "wide.pth")
    with pytest.raises(IdentityError, match=r"doesn.t fit backbone .sam.: shapes: .*expected"):
        load_weights(network(), tmp_path / "wide.pth", "sam")


def test_the_published_weights() -> None:
    """The real file, where there is one: names and shapes fit, and the map of an image is normalised by the neck."""
    folder = os.environ.get("SEMIBENCH_TEST_WEIGHTS")
    path = Path(folder or "") / "sam_vit_b_01ec64.pth"
    if not path.is_file():
        pytest.skip("the weights of SAM aren't here: SEMIBENCH_TEST_WEIGHTS names a folder with sam_vit_b_01ec64.pth")
    net = SAM(dims=2, channels=1, outputs=4, patch=(512, 512), options=SAMOptions()).eval()
    load_weights(net, path, "sam")
    with torch.no_grad():
        (maps,) = net.encode(torch.rand(1, 1, 512, 512))
    assert maps.shape == (1, 256, 32, 32) and torch.isfinite(maps).all()


class Deaf(SAM):
    """Its points all have one place."""

    def prompt(self, points: Tensor, labels: Tensor, size: Any) -> Tensor:
        return super().prompt(torch.zeros_like(points), labels, size)


def test_the_battery_finds_prompts_without_effect() -> None:
    def subject(cls: type[SAM]) -> BackboneSubject:
        return BackboneSubject(cls, dims=2, options={"width": 1 / 16, "depth": 4})

    BACKBONE_CHECKS["prompts_count"](subject(SAM))
    with pytest.raises(AssertionError, match="the place of a point has no effect"):
        BACKBONE_CHECKS["prompts_count"](subject(Deaf))


def test_a_patch_that_tokens_don_t_tile_is_refused() -> None:
    with pytest.raises(UsageError, match="multiples of 16, got 40 x 40"):
        network(side=40)
