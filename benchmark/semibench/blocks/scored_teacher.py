"""Methods whose teacher is what counts: a moving average that predicts, while the student only learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from semibench.blocks.teacher import Teacher
from semibench.contracts.method import Method
from semibench.contracts.schedule import Clock


class ScoredTeacher(Method):
    """A method whose student is trained and whose teacher, the moving average of the student, predicts.

    A subclass sets `student`, any module that maps images to logits, and `teacher` in its `__init__` and writes `losses`. This
    class updates the teacher after each iteration, predicts with it, and has both scored. In the first `copied` of the run (a
    share, 0 by default) the teacher is a copy of the student. `StudentTeacher` is the same with the student as predictor.

    Examples:
        >>> ScoredTeacher.copied
        0.0
    """

    student: nn.Module
    teacher: Teacher
    copied: float = 0.0

    def after_step(self, clock: Clock) -> None:
        """Updates the moving average, or copies the student in the first steps."""
        if clock.progress < self.copied:
            self.teacher.copy(self.student)
        else:
            self.teacher.update(self.student)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the teacher."""
        logits: Tensor = self.teacher(images)
        return logits

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The teacher (the default) and the student."""
        return {"teacher": self.teacher, "student": self.student}
