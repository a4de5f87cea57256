"""What every split must hold, drawn or published."""

from __future__ import annotations

from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import UsageError
from semibench.protocols.ordering import group_of


def crossings(split: Split) -> list[str]:
    """Sentences about groups that stand on both sides of training and validation or test; empty when there are none."""
    training = {group_of(ref) for ref in split.labeled + split.unlabeled}
    found = []
    for role, refs in (("validation", split.validation), ("test", split.test)):
        shared = sorted({group_of(ref) for ref in refs} & training)
        if shared:
            names = ", ".join("/".join(group) for group in shared[:5])
            found.append(
                f"{len(shared)} groups stand in training and in {role}: {names}{' ...' if len(shared) > 5 else ''}"
            )
    both = sorted({group_of(ref) for ref in split.validation} & {group_of(ref) for ref in split.test})
    if both:
        found.append(f"{len(both)} groups stand in validation and in test: {', '.join('/'.join(g) for g in both[:5])}")
    return found


def check(split: Split, *, published: bool) -> list[str]:
    """Raises UsageError where a split can't be used; returns warnings. Published lists are used as they are: their
    crossings are warnings; a drawn split with a crossing is an error."""
    roles = split.roles()
    for role in ("labeled", "test"):
        if not roles[role]:
            raise UsageError(f"the split has no {role} cases; give more cases or other ratios")
    unlabeled_truth = [ref.key for ref in split.labeled + split.validation + split.test if not ref.has_label]
    if unlabeled_truth:
        raise UsageError(
            f"{len(unlabeled_truth)} labeled, validation or test cases have no label, e.g. {unlabeled_truth[0]}; "
            "exclude them or use them as unlabeled only"
        )
    seen: dict[CaseRef, str] = {}
    for role, refs in roles.items():
        for ref in refs:
            if seen.setdefault(ref, role) != role and not (published and {seen[ref], role} == {"labeled", "unlabeled"}):
                raise UsageError(f"case {ref.key} stands in {seen[ref]} and in {role}")
        if len(set(refs)) != len(refs):
            raise UsageError(f"the split names a {role} case twice")
    found = crossings(split)
    if found and not published:
        raise UsageError("; ".join(found))
    return found
