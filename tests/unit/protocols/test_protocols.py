"""Laws of the splits: disjoint by group, nested, independent of order, seeded; and the protocols' own meaning."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.protocol_toys import DOMAINS, TOY, Toy, card, refs

from semibench import CaseRef, Split, UsageError
from semibench.protocols.checks import check, crossings
from semibench.protocols.domains import DomainAdaptation, DomainGeneralisation
from semibench.protocols.ordering import count_of, group_of
from semibench.protocols.pooled import SimilarDomain, SyntheticDomain
from semibench.protocols.single import SelfDomain, Ssmis


def draw(protocol: Any, catalog: Toy, draw: int = 0, fold: int | None = None, **options: Any) -> Split:
    values = dict(protocol.defaults(catalog)) | options
    split: Split = protocol.draw(catalog, protocol.Options(**values), draw, fold)
    check(split, published=False)
    return split


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(12, 80),
    each=st.integers(1, 4),
    labeled=st.floats(0.02, 1.0),
    test=st.floats(0.1, 0.5),
    seed=st.integers(0, 10**6),
)
def test_drawn_splits_are_disjoint_complete_and_grouped(
    groups: int, each: int, labeled: float, test: float, seed: int
) -> None:
    catalog = Toy(card(), {"toy": refs(groups, each)})
    split = draw(SelfDomain(), catalog, seed, labeled=labeled, test=test)
    everyone = [ref for role in split.roles().values() for ref in role]
    assert sorted(everyone) == sorted(catalog.cases())
    assert crossings(split) == []


@settings(max_examples=30, deadline=None)
@given(low=st.floats(0.05, 0.4), more=st.floats(0.0, 0.5), seed=st.integers(0, 1000))
def test_labeled_sets_are_nested(low: float, more: float, seed: int) -> None:
    few = draw(SelfDomain(), TOY, seed, labeled=low)
    many = draw(SelfDomain(), TOY, seed, labeled=low + more)
    assert set(few.labeled) <= set(many.labeled)
    assert (few.test, few.validation) == (many.test, many.validation)


def test_labeled_counts_are_nested_too() -> None:
    sets = [set(draw(SelfDomain(), TOY, labeled=n).labeled) for n in (1, 2, 5, 11, 20)]
    assert all(a < b for a, b in itertools.pairwise(sets))
    assert len({group_of(ref) for ref in sets[3]}) == 11


def test_the_order_of_files_does_not_matter() -> None:
    shuffled = list(refs())
    random.Random(3).shuffle(shuffled)
    other = draw(SelfDomain(), Toy(card(), {"toy": tuple(shuffled)}))
    one = draw(SelfDomain(), TOY)
    assert {role: set(r) for role, r in one.roles().items()} == {role: set(r) for role, r in other.roles().items()}


def test_adding_a_case_to_a_group_moves_no_other_group() -> None:
    one = draw(SelfDomain(), TOY)
    more = (*refs(), CaseRef("toy", "000-9", "p000", "a", True))
    other = draw(SelfDomain(), Toy(card(), {"toy": more}))
    for role, found in one.roles().items():
        assert {group_of(r) for r in found} == {group_of(r) for r in other.roles()[role]}


def test_draws_differ_and_repeat() -> None:
    assert draw(SelfDomain(), TOY, 1).test != draw(SelfDomain(), TOY, 2).test
    assert draw(SelfDomain(), TOY, 1) == draw(SelfDomain(), TOY, 1)


@pytest.mark.parametrize(
    ("ratio", "total", "expected"),
    [(0.05, 80, 4), (0.1, 80, 8), (0.001, 80, 1), (0.025, 20, 1), (1.0, 7, 7), (0.5, 5, 3)],
)
def test_a_ratio_is_rounded_half_up_and_at_least_one(ratio: float, total: int, expected: int) -> None:
    assert count_of(ratio, total) == expected


def test_every_domain_has_its_share_of_labels() -> None:
    split = draw(SelfDomain(), TOY, labeled=0.1)
    assert {ref.domain for ref in split.labeled} == set(DOMAINS)


def test_folds_cover_every_group_once() -> None:
    seen = [group_of(ref) for k in range(5) for ref in draw(SelfDomain(), TOY, fold=k, folds=5).test]
    assert sorted(set(seen)) == sorted({group_of(ref) for ref in TOY.cases()})
    assert len(seen) == len(TOY.cases())


@pytest.mark.parametrize("side", ["unlabeled", "labeled", "none"])
def test_validation_comes_from_the_side_that_is_named(side: str) -> None:
    split = draw(SelfDomain(), TOY, validation_from=side, labeled=0.5)
    reference = draw(SelfDomain(), TOY, validation_from="none", labeled=0.5)
    assert split.validation_from == side
    assert bool(split.validation) == (side != "none")
    if side == "unlabeled":
        assert len(split.labeled) == len(reference.labeled)
    if side == "labeled":
        assert set(split.validation) <= set(reference.labeled)


@pytest.mark.parametrize(
    ("options", "fold", "words"),
    [
        ({"labeled": 1000}, None, "asked for 1000"),
        ({}, 2, "does not draw folds"),
        ({"folds": 5}, 7, "0 to 4"),
        ({"source": "la-8"}, None, "la-8"),
    ],
)
def test_impossible_requests_say_why(options: dict[str, Any], fold: int | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        draw(SelfDomain(), TOY, fold=fold, **options)


def test_ssmis_takes_the_first_published_split() -> None:
    some = refs()
    published = Split(some[:4], some[4:20], (), some[20:30])
    catalog = Toy(card(), {"toy": some}, {"official": published, "other": Split((), (), (), ())})
    assert draw(Ssmis(), catalog) == published
    assert Ssmis().replicate(Ssmis.Options(source="official")) == (False, False)
    assert draw(Ssmis(), catalog, source="drawn") != published


def test_similar_adds_all_cases_of_the_similar_sets() -> None:
    others = refs(9, 1, "other", ("x",))
    catalog = Toy(card(similar=("other",)), {"toy": refs(), "other": others})
    own, alone = draw(SimilarDomain(), catalog), draw(SimilarDomain(), catalog, own=False)
    plain = draw(SelfDomain(), TOY)
    assert own.unlabeled == plain.unlabeled + others
    assert alone.unlabeled == others
    assert own.labeled == plain.labeled


def test_similar_without_similar_sets_is_unsupported() -> None:
    reason = SimilarDomain().unsupported(card(), SimilarDomain.Options())
    assert reason is not None
    assert "names no similar" in reason


def test_synthetic_with_all_labels_leaves_no_real_unlabeled_case() -> None:
    part, every = draw(SyntheticDomain(), TOY), draw(SyntheticDomain(), TOY, labels="all")
    assert set(every.labeled) == set(part.labeled) | set(part.unlabeled)
    assert every.unlabeled == ()
    wanted = SyntheticDomain().synthesis(SyntheticDomain.Options(count=12))
    assert (wanted.generator, wanted.count) == ("latent-diffusion", 12)


@pytest.mark.parametrize("side", ["source", "target", "none"])
def test_adaptation_keeps_source_and_target_apart(side: str) -> None:
    split = draw(DomainAdaptation(), TOY, source="b", target="a", validation_from=side)
    assert {ref.domain for ref in split.labeled} == {"b"}
    assert {ref.domain for ref in split.unlabeled + split.test} == {"a"}
    assert {ref.domain for ref in split.validation} == {"source": {"b"}, "target": {"a"}, "none": set()}[side]


@pytest.mark.parametrize("side", ["source", "target", "none"])
def test_target_supervision_labels_what_adaptation_leaves_unlabeled(side: str) -> None:
    bare = CaseRef("toy", "bare", "bare", "a", False)
    catalog = Toy(card(), {"toy": (*refs(), bare)})
    given = {"source": "b", "target": "a", "validation_from": side}
    adapted, bound = (draw(DomainAdaptation(), catalog, **given, labels=name) for name in ("source", "target"))
    assert bare in adapted.unlabeled
    assert bound.labeled == tuple(ref for ref in adapted.unlabeled if ref != bare)
    assert bound.unlabeled == () and {ref.domain for ref in bound.labeled} == {"a"}
    assert (bound.test, bound.validation) == (adapted.test, adapted.validation)


def test_target_supervision_of_a_published_split() -> None:
    of = {name: [ref for ref in refs() if ref.domain == name] for name in DOMAINS}
    listed = Split(tuple(of["b"]), tuple(of["a"][:20]), tuple(of["a"][20:24]), tuple(of["a"][24:]), "official")
    catalog = Toy(card(), {"toy": refs()}, {"b2a": listed})
    given = {"source": "b", "target": "a", "split": "b2a"}
    assert draw(DomainAdaptation(), catalog, **given) == listed
    bound = draw(DomainAdaptation(), catalog, **given, labels="target")
    assert bound == Split(listed.unlabeled, (), listed.validation, listed.test, "official")
    with pytest.raises(UsageError, match=r"labels=target: .*domain 'c', found none"):
        draw(DomainAdaptation(), catalog, **given | {"target": "c"}, labels="target")


def test_generalisation_never_trains_on_the_target() -> None:
    split = draw(DomainGeneralisation(), TOY, target="c", labeled=0.1)
    assert {ref.domain for ref in split.labeled} == {"a", "b"}
    assert "c" not in {ref.domain for ref in split.unlabeled + split.validation}
    assert {ref.domain for ref in split.test} == {"c"}
    assert len(split.test) == sum(ref.domain == "c" for ref in TOY.cases())


@pytest.mark.parametrize(
    ("protocol", "options"),
    [(DomainAdaptation(), {"source": "a", "target": "z"}), (DomainAdaptation(), {"source": "a", "target": "a"}),
     (DomainGeneralisation(), {"target": "z"}), (DomainGeneralisation(), {"target": "a", "sources": ("a", "b")})],
)  # fmt: skip
def test_wrong_domains_are_unsupported_with_a_reason(protocol: Any, options: dict[str, Any]) -> None:
    assert protocol.unsupported(card(), protocol.Options(**options))


def test_generalisation_needs_three_domains() -> None:
    reason = DomainGeneralisation().unsupported(card(domains=("a", "b")), DomainGeneralisation.Options(target="a"))
    assert reason is not None
    assert "three" in reason


def test_check_refuses_leaks_and_missing_labels() -> None:
    some = refs(6, 2)
    leaky = Split(some[:1], (), (), some[1:2])
    with pytest.raises(UsageError, match="groups are in both training and test"):
        check(leaky, published=False)
    assert check(leaky, published=True) != []
    bare = CaseRef("toy", "x", "x", "a", False)
    with pytest.raises(UsageError, match="have no label"):
        check(Split(some[:2], (), (), (bare,)), published=True)
    with pytest.raises(UsageError, match="no labeled cases"):
        check(Split((), some[:2], (), some[2:4]), published=False)
    with pytest.raises(UsageError, match="is in both labeled and test"):
        check(Split(some[:2], (), (), some[:2]), published=True)
