"""AllSpark: its attention, grouping and memory against naive versions and worked numbers, who sees whom, what is learned."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from support.methods_support import case_of, clock, quiet, reached, samples
from torch import Tensor

from semibench import Clock, Samples, Term
from semibench.blocks import cross_entropy, estimate_statistics, supervised_loss
from semibench.run.settings import term_records
from semibench_plugins.methods.pseudo_labels.allspark.method import AllSpark
from semibench_plugins.methods.pseudo_labels.allspark.rebirth import Rebirth
from semibench_plugins.methods.pseudo_labels.allspark.semantic_memory import SemanticMemory, class_of_channels

torch.set_num_threads(1)

EARLY, LATE = clock(step=0), clock(step=50)


def allspark(dims: int = 2, **changes: Any) -> tuple[AllSpark, Any]:
    case = case_of(AllSpark, dims, **changes)
    method = quiet(case.build().train())
    assert isinstance(method, AllSpark)
    return method, case.data()


# block


def identity(channels: int) -> Rebirth:
    """A block with one head whose attention has identity weights."""
    block = Rebirth(2, channels, 1, 0.0)
    with torch.no_grad():
        for layer in (block.across.query, block.across.key, block.across.value, block.across.out):
            layer.weight.copy_(torch.eye(channels))
    return block


def test_orthogonal_channels_find_themselves() -> None:
    """64 channels: normalised scores are sqrt 63 on the diagonal and -1 / sqrt 63 beside it, whatever the norm."""
    features = 50.0 * torch.linalg.qr(torch.randn(64, 64))[0].unsqueeze(0)
    own = math.exp(math.sqrt(63.0) + 1.0 / math.sqrt(63.0))
    share = own / (own + 63.0)
    rebuilt = identity(64).alone(features)
    other = (1.0 - share) / 63.0
    expected = (share - other) * features + other * features.sum(2, keepdim=True)
    assert share == pytest.approx(0.981, abs=0.002)
    assert torch.allclose(rebuilt, expected, atol=1e-2)


def test_reborn_alone_and_within_against_loops() -> None:
    """Channel by channel, with two heads: all heads and all samples of the keys are one set of channels."""
    torch.manual_seed(0)
    block = Rebirth(2, 3, 2, 0.0)
    f, keys = torch.randn(2, 5, 3), torch.randn(4, 5, 3)
    across = block.across
    crossed, alone = block.reborn(f, keys), block.alone(f)
    for b in range(2):
        query = across.query(f[b]).T  # (hC, N)
        for given, found in ((keys, crossed[b]), (f[b : b + 1], alone[b])):
            key = torch.cat([across.key(one).T for one in given]).detach().numpy()
            value = torch.cat([across.value(one).T for one in given]).detach().numpy()
            scores = query.detach().numpy() @ key.T
            weights = np.exp((scores - scores.mean()) / np.sqrt(scores.var() + 1e-5))
            weights /= weights.sum(1, keepdims=True)
            expected = across.out(torch.as_tensor(weights @ value).float().T)
            assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(block.within(f)[:1], block.within(f[:1]), atol=1e-6), "each sample looks at itself"


def test_a_wide_map_has_a_narrower_block() -> None:
    assert [Rebirth(3, channels, 1, 0.0).width for channels in (16, 512)] == [16, 512]
    block = Rebirth(2, 600, 1, 0.0)
    parameters = sum(parameter.numel() for parameter in Rebirth(2, 512, 2, 0.1).parameters())
    assert parameters == 8 * 512 * 1024 + 2 * (512 * 512 + 512) + 2 * 2 * 512, "the published layers: 4.72 M"
    maps = torch.randn(1, 600, 2, 3)
    x, f = block.tokens(maps)
    assert x.shape == f.shape == (1, 6, 512)
    assert block.folded(x, f, maps.shape[2:]).shape == maps.shape
    assert torch.allclose(f.mean(2), torch.zeros(1, 6), atol=1e-5), "norm over the channels of a position"


def test_tokens_keep_their_places() -> None:
    """Positions don't mix where the attention adds nothing."""
    block = Rebirth(3, 4, 1, 0.0)
    maps = torch.randn(1, 4, 2, 3, 2)
    changed = maps.clone()
    changed[..., 1, 2, 0] += 1.0
    both = []
    for given in (maps, changed):
        x, _ = block.tokens(given)
        both.append(block.folded(x, torch.zeros_like(x), given.shape[2:]))
    differ = (both[0] != both[1]).any(1)[0]
    assert differ.nonzero().tolist() == [[1, 2, 0]]


# memory


def test_channels_belong_to_the_class_that_they_resemble() -> None:
    scores = torch.rand(2, 3, 6)
    features = torch.randn(2, 6, 4)
    features[0, :, 1] = 7.0 * scores[0, 2]  # the direction counts, not the length
    found = class_of_channels(features, scores)
    for b in range(2):
        for j in range(4):
            f = features[b, :, j].numpy()
            cosines = [float(f @ s / np.linalg.norm(f) / np.linalg.norm(s)) for s in scores[b].numpy()]
            assert found[b, j] == int(np.argmax(cosines))
    assert found[0, 1] == 2


def test_queues_against_a_naive_version() -> None:
    """Random channels for many rounds, more than a queue of four holds; a class without any stays away."""
    torch.manual_seed(1)
    memory, naive = SemanticMemory(3, 4, 2), [deque[list[float]](maxlen=4) for _ in range(3)]
    assert memory.contents().shape == (0, 2, 4)
    for number in range(8):
        features, classes = torch.randn(2, 2, 4), torch.randint(2, (2, 4))
        if number == 5:
            classes.zero_()  # eight at once
        memory.add(features, classes)
        for b in range(2):
            for j in range(4):
                naive[int(classes[b, j])].append(features[b, :, j].tolist())
        for kind in range(3):
            stored = sorted(memory.queue[kind].tolist())
            empty = [[0.0, 0.0]] * (4 - len(naive[kind]))
            assert stored == sorted([*naive[kind], *empty])
        assert memory.filled.tolist() == [len(queue) for queue in naive]
    assert memory.contents().shape == (2, 2, 4) and memory.filled[2] == 0
    assert torch.equal(memory.contents(), memory.queue[:2].transpose(1, 2))


def test_the_oldest_goes_first() -> None:
    memory = SemanticMemory(1, 3, 1)
    for value in (1.0, 2.0):
        memory.add(torch.full((1, 1, 2), value), torch.zeros(1, 2, dtype=torch.int64))
    assert memory.queue.flatten().tolist() == [2.0, 1.0, 2.0], "one of the first two is replaced"
    assert (memory.pointer.item(), memory.filled.item()) == (1, 3)


# method


def losses_of(method: AllSpark, batch: Any, at: Clock) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(method.losses(batch, at))


def settled(method: AllSpark, batch: Any) -> None:
    """In eval mode, where batch norm doesn't tie samples together, with statistics of the images."""
    estimate_statistics(method.net, [batch["labeled"].image])
    method.eval()


def with_images(old: Samples, image: Tensor) -> Samples:
    return Samples(image, (), old.label, old.valid, old.domain, old.index)


@pytest.mark.parametrize("at", [EARLY, LATE])
def test_labeled_features_are_reborn_from_unlabeled_ones(at: Clock) -> None:
    """A loss on labels depends on the unlabeled images, by the batch or by the memory; a prediction on nothing but its image."""
    method, data = allspark()
    batch = data.batch(0)
    settled(method, batch)
    state = {name: value.clone() for name, value in method.state_dict().items()}
    one = losses_of(method, batch, at)["sup"]
    assert at is EARLY or bool(method.memory.filled.any())
    method.load_state_dict(state)
    other = {**batch, "unlabeled": with_images(batch["unlabeled"], batch["unlabeled"].image.flip(2) * 2.0)}
    two = losses_of(method, other, at)["sup"]
    assert one.item() != two.item()
    images = torch.cat([batch["labeled"].image, batch["unlabeled"].image])
    alone = torch.cat([method(image.unsqueeze(0)) for image in images])
    assert torch.allclose(method(images), alone, atol=1e-4)


def test_gradients_of_the_labels_reach_unlabeled_features_through_the_batch_but_not_through_the_memory() -> None:
    for at, reaches in ((EARLY, True), (LATE, False)):
        method, data = allspark()
        batch = data.batch(0)
        settled(method, batch)
        keys: list[Tensor] = []
        reborn = method.rebirth.reborn

        def watched(f: Tensor, given: Tensor, seen: list[Tensor] = keys, reborn: Any = reborn) -> Tensor:
            seen.append(given)
            return reborn(f, given)

        method.rebirth.reborn = watched  # type: ignore[method-assign]
        sup = losses_of(method, batch, at)["sup"]
        assert keys[-1].requires_grad is reaches
        assert reached(sup, method.rebirth.across) and not reached(sup, method.rebirth.inside)


def test_pseudo_labels_are_the_networks_own_and_carry_no_gradient() -> None:
    method, data = allspark()
    batch = data.batch(0)
    label = method.eval()(batch["unlabeled"].image).argmax(1).masked_fill(~batch["unlabeled"].valid, 255)
    decode, seen = method.net.decode, []
    method.net.decode = lambda *given: seen.append(decode(*given)) or seen[-1]  # type: ignore[assignment,func-returns-value]
    found = losses_of(method.train(), batch, LATE)
    labels, training = seen
    assert not labels.requires_grad and torch.equal(labels.argmax(1).masked_fill(~batch["unlabeled"].valid, 255), label)
    count = len(batch["labeled"].image)
    assert found["pseudo"].item() == pytest.approx(supervised_loss(training[count:], label).item())
    assert found["sup"].item() == pytest.approx(supervised_loss(training[:count], batch["labeled"].target).item())
    assert method.training and all(part.training for part in method.modules())


def test_the_published_loss_is_the_mean_of_both_cross_entropies() -> None:
    preset = AllSpark.presets["voc"]
    method, data = allspark(options=preset["options"])
    batch = data.batch(0)
    decode, seen = method.net.decode, []
    method.net.decode = lambda *given: seen.append(decode(*given)) or seen[-1]  # type: ignore[assignment,func-returns-value]
    found = losses_of(method, batch, LATE)
    count = len(batch["labeled"].image)
    label = seen[0].argmax(1).masked_fill(~batch["unlabeled"].valid, 255)
    both = cross_entropy(seen[1][:count], batch["labeled"].target) + cross_entropy(seen[1][count:], label)
    terms = {name: Term.restore(record) for name, record in term_records(AllSpark.terms, preset["terms"]).items()}
    total = sum(terms[name].at(0.0) * value.item() for name, value in found.items())
    assert total == pytest.approx(both.item() / 2)


def test_scores_are_probabilities_or_logits() -> None:
    """Channels are compared with what the option says, on the grid of the map."""
    seen: dict[str, Tensor] = {}
    for option in ("probabilities", "logits"):
        method, _ = allspark(options={"scores": option})
        grid = torch.Size((2, 2))
        logits = torch.randn(1, 2, 2, 2).mul(4.0).repeat_interleave(16, 2).repeat_interleave(16, 3)
        scores = (logits.softmax(1) if option == "probabilities" else logits)[..., ::16, ::16].flatten(2)
        f = torch.randn(1, 4, method.rebirth.width)
        method.remember(f, logits, grid)
        seen[option] = method.memory.filled.clone()
        counts = torch.bincount(class_of_channels(f, scores).flatten(), minlength=2)
        assert torch.equal(seen[option], counts)


@pytest.mark.parametrize("dims", [2, 3])
def test_memory_has_the_size_of_the_patch_and_images_may_have_another(dims: int) -> None:
    method, _ = allspark(dims)
    grid = [side // method.net.strides[-1] for side in ((32, 32) if dims == 2 else (32, 32, 16))]
    assert method.memory.queue.shape == (2, method.net.channels[-1], math.prod(grid))
    images = torch.randn(1, 1, *((48, 16) if dims == 2 else (16, 32, 32)))
    assert method.eval()(images).shape == (1, 2, *images.shape[2:])


def test_padding_is_no_pseudo_label() -> None:
    method, data = allspark()
    batch = data.batch(0)
    old = batch["unlabeled"]
    nothing = samples(old.image)
    nothing.valid.zero_()
    assert losses_of(method, {**batch, "unlabeled": nothing}, LATE)["pseudo"].item() == 0.0
