"""Cards of the built-in engines. An engine's module is imported when a matrix uses it."""

from __future__ import annotations

from semibench import EngineCard, hookimpl


@hookimpl
def semibench_engines() -> list[EngineCard]:
    """Return the engines of the harness."""
    return [
        EngineCard(
            name="local",
            title="This machine",
            load="semibench.matrix.local:Local",
            summary="as many processes as the cores and GPUs of this machine allow",
        ),
        EngineCard(
            name="slurm",
            title="Slurm",
            load="semibench.matrix.slurm:Slurm",
            summary="array jobs through submitit; preempted cells are queued again",
            url="https://github.com/facebookincubator/submitit",
            extra="slurm",
        ),
        EngineCard(
            name="ray",
            title="Ray",
            load="semibench.matrix.on_ray:OnRay",
            summary="tasks on a Ray cluster, or on one started here; cells of a lost node are run again",
            url="https://docs.ray.io",
            extra="ray",
        ),
    ]
