"""Rules that every split must satisfy, drawn or published."""

from __future__ import annotations

from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import UsageError
from semibench.protocols.ordering import group_of


def crossings(split: Split) -> list[str]:
    """Return a sentence for each pair of training, validation and test that share groups; none in a sound split."""
    training = {group_of(ref) for ref in split.labeled + split.unlabeled}
    sentences = []
    for role, refs in (("validation", split.validation), ("test", split.test)):
        shared = sorted({group_of(ref) for ref in refs} & training)
        if shared:
            names = ", ".join("/".join(group) for group in shared[:5])
            sentences.append(
                f"{len(shared)} groups are in both training and {role}: {names}{' ...' if len(shared) > 5 else ''}"
            )
    both = sorted({group_of(ref) for ref in split.validation} & {group_of(ref) for ref in split.test})
    if both:
        names = ", ".join("/".join(group) for group in both[:5])
        sentences.append(f"{len(both)} groups are in both validation and test: {names}")
    return sentences


def check(split: Split, *, published: bool) -> list[str]:
    """Raise UsageError if a split cannot be used; return warnings.

    Groups on both sides of a published split are a warning, because published lists are used unchanged. In a drawn split
    they are an error.
    """
    roles = split.roles()
    for role in ("labeled", "test"):
        if not roles[role]:
            raise UsageError(f"the split has no {role} cases; give more cases or other ratios")
    without_label = [ref.key for ref in split.labeled + split.validation + split.test if not ref.has_label]
    if without_label:
        raise UsageError(
            f"{len(without_label)} labeled, validation or test cases have no label, e.g. {without_label[0]}; "
            "exclude them or use them as unlabeled only"
        )
    seen: dict[CaseRef, str] = {}
    for role, refs in roles.items():
        for ref in refs:
            if seen.setdefault(ref, role) != role and not (published and {seen[ref], role} == {"labeled", "unlabeled"}):
                raise UsageError(f"case {ref.key} is in both {seen[ref]} and {role}")
        if len(set(refs)) != len(refs):
            raise UsageError(f"the split lists a {role} case twice")
    warnings = crossings(split)
    if warnings and not published:
        raise UsageError("; ".join(warnings))
    return warnings
