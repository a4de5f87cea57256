"""CPS and CTCT against the numbers of their sheets, and the laws of their terms."""

from __future__ import annotations

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock, quiet, reached

from semibench import Method, Term
from semibench.blocks import dice_ce, soft_dice
from semibench.run.settings import term_records
from semibench_plugins.methods.pseudo_labels.cps import CPS, pseudo_labels
from semibench_plugins.methods.pseudo_labels.ctct import CTCT

torch.set_num_threads(1)


def test_cps_worked_numbers() -> None:
    method = case_of(CPS).build()
    assert isinstance(method, CPS)
    method.first, method.second = Constant(torch.tensor([2.0, 0.0])), Constant(torch.tensor([0.0, 1.0]))  # type: ignore[assignment]
    cross = method.losses(blank(), clock())["cross"]
    assert cross.item() == pytest.approx(3.440190, abs=1e-6)
    method.first, method.second = method.second, method.first
    assert method.losses(blank(), clock())["cross"].item() == pytest.approx(3.440190, abs=1e-6)
    method.first, method.second = Constant(torch.tensor([20.0, -20.0])), Constant(torch.tensor([20.0, -20.0]))  # type: ignore[assignment]
    assert method.losses(blank(), clock())["cross"].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("method_class", [CPS, CTCT])
def test_two_networks_differ_and_give_labels_without_gradient(method_class: type[Method]) -> None:
    options = {"second_width": 0.125} if method_class is CTCT else {}
    case = case_of(method_class, options=options)
    method, batch = case.build().train(), case.data().batch(0)
    if method_class is CPS:
        pairs = zip(method.first.parameters(), method.second.parameters(), strict=True)  # type: ignore[union-attr]
        assert any(not torch.equal(one, two) for one, two in pairs)
    losses = method.losses(batch, clock())
    assert reached(losses["cross"], method.first) and reached(losses["cross"], method.second)  # type: ignore[arg-type]
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    valid[0, 0] = False
    label = pseudo_labels(logits, valid)
    assert not label.requires_grad and label[0, 0].eq(255).all() and torch.equal(label[1], logits[1].argmax(0))
    assert list(method.predictors()) == ["first", "second", "mean"]


def test_cps_on_all_samples_or_the_unlabeled() -> None:
    case = case_of(CPS)
    batch = case.data().batch(0)
    every, some = (quiet(case.variant(options={"on": on}).build()).eval() for on in ("all", "unlabeled"))
    assert every.losses(batch, clock())["sup"].item() == some.losses(batch, clock())["sup"].item()
    assert every.losses(batch, clock())["cross"].item() != some.losses(batch, clock())["cross"].item()
    assert every.weight("cross", clock()) == 1.5 and CPS.presets["ssl4mis"]["terms"]["cross"]["weight"] == 0.1


def test_the_3d_port_of_cps_weighs_labels_as_its_code() -> None:
    """CE + Dice, where `dice_ce` is half of it, beside a cross-entropy that ends at weight 1."""
    records = term_records(CPS.terms, CPS.presets["dhc"]["terms"])
    sup, cross = (Term.restore(records[name]) for name in ("sup", "cross"))
    assert (sup.at(0.0), sup.at(1.0), cross.at(1.0)) == (2.0, 2.0, 1.0)
    assert cross.at(0.0) == pytest.approx(0.0067379, rel=1e-4)


def test_ctct_is_dice_of_the_others_labels() -> None:
    case = case_of(CTCT, options={"second_width": 0.125})
    method = case.build()
    assert isinstance(method, CTCT)
    assert type(method.second).__name__ == "SwinUNet" and type(method.first).__name__ == "UNet"
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    method.first, method.second = Constant(a), Constant(b)  # type: ignore[assignment]
    label = torch.tensor([[[1, 1], [0, 0]]])
    losses = method.losses(blank(label), clock())
    z, y = (v.view(1, 2, 1, 1).expand(1, 2, 2, 2) for v in (a, b))
    ones = torch.ones(1, 2, 2, dtype=torch.int64)
    assert losses["cross"].item() == pytest.approx((soft_dice(z, ones) + soft_dice(y, 0 * ones)).item())
    assert losses["sup"].item() == pytest.approx((dice_ce(z, label) + dice_ce(y, label)).item())
    method.first, method.second = Constant(20 * a), Constant(20 * a)  # type: ignore[assignment]
    absent = method.losses(blank(label), clock())["cross"].item()
    assert absent == pytest.approx(0.0, abs=1e-3), "saturated and equal"


def test_ctct_is_for_two_dimensions() -> None:
    case = case_of(CTCT, 3)
    assert "2D" in (CTCT.unsupported(case.task, case.parsed_options()) or "")


# CCT
