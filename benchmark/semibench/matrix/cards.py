"""Cards of the built-in engines. An engine's module is imported when a matrix uses it."""

from __future__ import annotations

from semibench import EngineCard, hookimpl


@hookimpl
def semibench_engines() -> list[EngineCard]:
    """Return the engines of the harness."""
    on_this_machine = EngineCard(
        name="local", title="This machine", load="semibench.matrix.local:Local",
        summary="as many processes as the cores and GPUs of this machine allow",
    )  # fmt: skip
    return [
        on_this_machine,
        _cluster("slurm:Slurm", "slurm", "Slurm", "https://github.com/facebookincubator/submitit",
                 "array jobs through submitit; preempted cells are queued again"),
        _cluster("on_ray:OnRay", "ray", "Ray", "https://docs.ray.io",
                 "tasks on a Ray cluster, or on one started here; cells of a lost node are run again"),
    ]  # fmt: skip


def _cluster(load: str, name: str, title: str, url: str, summary: str) -> EngineCard:
    """The card of an engine that needs the extra of its name."""
    return EngineCard(name=name, title=title, load=f"semibench.matrix.{load}", summary=summary, url=url, extra=name)
