"""Methods in which a student learns and a moving-average teacher follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from semibench.blocks.teacher import Teacher
from semibench.contracts.backbone import Backbone
from semibench.contracts.method import Method
from semibench.contracts.schedule import Clock


class StudentTeacher(Method):
    """A method whose student is trained and whose teacher is the moving average of the student.

    A subclass sets `student` and `teacher` in its `__init__` and writes `losses`. This class updates the teacher after each
    iteration, predicts with the student, and has both scored. For a teacher that sees other images than those that are
    tested, see `buffers` of `Teacher`.

    Examples:
        >>> sorted(name for name in vars(StudentTeacher) if name in ("after_step", "forward", "predictors"))
        ['after_step', 'forward', 'predictors']
    """

    student: Backbone
    teacher: Teacher

    def after_step(self, clock: Clock) -> None:
        """Updates the moving average."""
        self.teacher.update(self.student)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the student."""
        logits: Tensor = self.student(images)
        return logits

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The student (the default) and the teacher."""
        return {"student": self.student, "teacher": self.teacher}
