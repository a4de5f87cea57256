"""Methods and networks as a user writes them: in a file beside the runs, without a package."""

from __future__ import annotations

METHOD = '''
"""Labels, and little entropy on unlabeled images."""
from semibench import Method, Ramp, Term
from semibench.blocks import supervised_loss
import confidence


class Sharpened(Method):
    """Learns from labels and from its own confidence."""

    terms = {"sup": Term(), "entropy": Term(0.1, Ramp("sigmoid"))}

    def __init__(self, task, backbones, options):
        super().__init__(task, backbones, options)
        self.network = backbones()

    def losses(self, batch, clock):
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        return {
            "sup": supervised_loss(self.network(labeled.image), labeled.target),
            "entropy": confidence.entropy(self.network(unlabeled.image)),
        }

    def forward(self, images):
        return self.network(images)


class Plain:
    """No method."""
'''

BESIDE = """
def entropy(logits):
    chance = logits.softmax(1)
    return -(chance * (chance + 1e-6).log()).sum(1).mean()
"""

TINY = ["phantom.cases=20", "phantom.scale=0.25", "iterations=2", "evaluate_every=2", "labeled=0.5"]
"""Settings of a run of seconds on the phantom of tus."""
