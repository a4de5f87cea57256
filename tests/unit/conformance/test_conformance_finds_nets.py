"""The battery finds what it is for: for each check a backbone that breaks exactly this fact."""

from __future__ import annotations

from typing import Any

import pytest
from support.conformance_toys import Tiny
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import (
    Backbone,
    BackboneCard,
    BackboneOptions,
    Decoder,
    UsageError,
)
from semibench.conformance import BACKBONE_CHECKS, BackboneSubject


class Unlike(Tiny):
    def encode(self, images: Tensor) -> list[Tensor]:
        return super().encode(images)[::-1]


class UnlikeDecoder(Tiny):
    def new_decoder(self, **variant: Any) -> Decoder:
        decoder = super().new_decoder(**variant)
        decoder.channels = (99,)
        return decoder


class HalfSize(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[..., ::2, ::2]


class OneOutput(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, :1]


class TakesAnySize(Tiny):
    def __init__(self, *, patch: Any, **keywords: Any) -> None:
        super().__init__(patch=(32, 32), **keywords)


class Registered(Tiny):
    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.again = nn.ModuleList([self.fine])


class WrongStages(Tiny):
    @property
    def stages(self) -> tuple[nn.Module, ...]:
        return self.fine[0], self.coarse


class SharedDecoder(Tiny):
    def new_decoder(self, **variant: Any) -> Decoder:
        if variant:
            raise UsageError("no")
        return getattr(self, "decoder", None) or super().new_decoder()


class AnyVariant(Tiny):
    def new_decoder(self, **variant: Any) -> Decoder:
        return super().new_decoder()


class FixedWeights(Tiny):
    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.1)


class NoCopy(Tiny):
    def __deepcopy__(self, memo: Any) -> Tiny:
        return self


class Detached(Tiny):
    def encode(self, images: Tensor) -> list[Tensor]:
        return [found.detach() for found in super().encode(images)]


class BatchDependent(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - images.mean())


class SecretDropout(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return F.dropout(super().forward(images), 0.5, self.training)


class SameWidth(Tiny):
    def __init__(self, *, options: Any, **keywords: Any) -> None:
        super().__init__(options=BackboneOptions(width=0.5), **keywords)


CARD = BackboneCard(name="tiny", title="Tiny", load="x:Tiny", dims=(2,), provides=("stages",))
WRONG_CARD = BackboneCard(name="tiny", title="Tiny", load="x:Tiny", dims=(2,), provides=("dropout",))
BROKEN_NETS: list[tuple[type[Backbone], str]] = [
    (Unlike, "maps_are_as_declared"),
    (UnlikeDecoder, "decoder_maps_are_as_declared"),
    (HalfSize, "forward_keeps_the_size"),
    (OneOutput, "channels_and_outputs"),
    (TakesAnySize, "wrong_size_is_refused"),
    (Registered, "no_parameter_has_two_names"),
    (WrongStages, "stages_give_the_maps"),
    (SharedDecoder, "new_decoder_is_fresh"),
    (AnyVariant, "unknown_variant_is_refused"),
    (FixedWeights, "two_networks_differ"),
    (NoCopy, "copies_are_independent"),
    (Detached, "every_parameter_gets_a_gradient"),
    (BatchDependent, "eval_is_independent_of_the_batch"),
    (SecretDropout, "dropout_is_as_declared"),
    (SameWidth, "options"),
]


@pytest.mark.parametrize("fact", BACKBONE_CHECKS)
def test_a_correct_backbone_passes(fact: str) -> None:
    assert BACKBONE_CHECKS[fact](BackboneSubject(Tiny, card=CARD)) is None


@pytest.mark.parametrize(("net", "fact"), BROKEN_NETS, ids=[kind.__name__ for kind, _ in BROKEN_NETS])
def test_a_broken_backbone_is_found(net: type[Backbone], fact: str) -> None:
    with pytest.raises(AssertionError):
        BACKBONE_CHECKS[fact](BackboneSubject(net))


def test_a_wrong_card_is_found() -> None:
    with pytest.raises(AssertionError, match="the card provides"):
        BACKBONE_CHECKS["card_agrees"](BackboneSubject(Tiny, card=WRONG_CARD))


def test_every_check_has_its_broken_backbone() -> None:
    elsewhere = {"card_agrees", "time_is_fused", "prompts_count"}  # above, in test_diff_vnet.py and test_sam.py
    assert {fact for _, fact in BROKEN_NETS} | elsewhere == set(BACKBONE_CHECKS)
