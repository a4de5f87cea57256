"""Cards of the built-in protocols."""

from __future__ import annotations

from semibench.contracts.cards import ProtocolCard
from semibench.discovery.hookspecs import hookimpl

SELF = ProtocolCard(
    name="self",
    title="Self-domain",
    load="semibench.protocols.single:SelfDomain",
    summary="labeled and unlabeled cases from one data set, split at random by group",
    paper="Tang et al., Multi-Level Global Context Cross-Consistency, arXiv 2305.09447, Table I",
)
SSMIS = ProtocolCard(
    name="ssmis",
    title="SSMIS",
    load="semibench.protocols.single:Ssmis",
    summary="semi-supervised medical image segmentation: published splits if there are any, otherwise drawn or k-fold ones",
)
SIMILAR = ProtocolCard(
    name="similar",
    title="Similar-domain",
    load="semibench.protocols.pooled:SimilarDomain",
    summary="adds unlabeled cases from other data sets of the same task",
    paper="Tang et al., arXiv 2305.09447, Table II",
    adds_to="self",
)
SYNTHETIC = ProtocolCard(
    name="synthetic",
    title="Synthetic-domain",
    load="semibench.protocols.pooled:SyntheticDomain",
    summary="adds unlabeled cases from a generator fitted to the training cases of the same draw",
    paper="Tang et al., arXiv 2305.09447, Tables III and IV",
    adds_to="self",
)
UMDA = ProtocolCard(
    name="umda",
    title="UMDA",
    load="semibench.protocols.domains:DomainAdaptation",
    summary="unsupervised domain adaptation: labels in the source domain, images and test in the target domain",
)
SEMI_MDG = ProtocolCard(
    name="semi-mdg",
    title="Semi-MDG",
    load="semibench.protocols.domains:DomainGeneralisation",
    summary="semi-supervised domain generalisation: some labels in several source domains, test in an unseen one",
)


@hookimpl
def semibench_protocols() -> list[ProtocolCard]:
    return [SELF, SIMILAR, SYNTHETIC, SSMIS, UMDA, SEMI_MDG]
