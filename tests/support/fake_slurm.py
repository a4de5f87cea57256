"""A single-machine scheduler with Slurm's commands: enough of sbatch, srun, sacct, scancel and scontrol for submitit.

`sbatch` starts a server process that runs an array's tasks, a few at a time, and stores the state of each task in a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

STATES_VARIABLE = "FAKE_SLURM"
"""Environment variable with the folder of task states."""


def install(folder: Path) -> dict[str, str]:
    """Writes the commands to folder/bin; returns the environment variables that a process needs to find them."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    for name in ("sbatch", "srun", "sacct", "scancel", "scontrol"):
        script = commands / name
        script.write_text(
            f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {name} "$@"\n', encoding="utf-8"
        )
        script.chmod(0o755)
    return {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", STATES_VARIABLE: str(folder)}


def states() -> Path:
    return Path(os.environ[STATES_VARIABLE])


def state_file(job: str, task: int) -> Path:
    return states() / f"{job}_{task}.json"


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Within the block no other process changes a state, so that a task is cancelled either before its start or after it."""
    with (states() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(job: str, task: int, **record: object) -> None:
    path = state_file(job, task)
    previous = json.loads(path.read_text()) if path.exists() else {}
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(previous | record))
    draft.replace(path)


def read(job: str, task: int) -> dict[str, object]:
    return json.loads(state_file(job, task).read_text())


def sbatch(words: list[str]) -> None:
    script = Path(words[-1])
    number = 100
    while (states() / f"{number}.sh").exists():
        number += 1
    text = script.read_text(encoding="utf-8")
    (states() / f"{number}.sh").write_text(text)
    found = re.search(r"^#SBATCH --array=0-(\d+)(?:%(\d+))?", text, re.MULTILINE)
    count, width = (int(found[1]) + 1, int(found[2] or 1)) if found else (1, 1)
    for task in range(count):
        write(str(number), task, state="PENDING")
    subprocess.Popen(
        [sys.executable, __file__, "serve", str(number), str(count), str(width)], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    print(f"Submitted batch job {number}")


def serve(words: list[str]) -> None:
    """Runs the tasks; a task whose state is REQUEUED when it ends runs again."""
    job, count, width = words[0], int(words[1]), int(words[2])
    waiting, running = list(range(count)), {}
    while waiting or running:
        while waiting and len(running) < width:
            task = waiting.pop(0)
            same = dict.fromkeys(("SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID"), "0")
            given = same | {
                "SLURM_JOB_ID": f"{job}_{task}", "SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": str(task),
                "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here",
            }  # fmt: skip
            log = (states() / f"{job}_{task}.log").open("ab")
            with one_at_a_time():
                if read(job, task)["state"] == "CANCELLED":
                    continue
                process = subprocess.Popen(
                    ["bash", str(states() / f"{job}.sh")],
                    env=os.environ | given,
                    start_new_session=True,
                    stdout=log,
                    stderr=log,
                )
                restarts = int(str(read(job, task).get("starts", 0))) + 1
                write(job, task, state="RUNNING", session=process.pid, starts=restarts)
            running[task] = process
        for task, process in list(running.items()):
            code = process.poll()
            if code is None:
                continue
            del running[task]
            with one_at_a_time():
                if read(job, task)["state"] == "REQUEUED":
                    write(job, task, state="PENDING")
                    waiting.append(task)
                elif read(job, task)["state"] not in ("CANCELLED", "NODE_FAIL"):
                    write(job, task, state="COMPLETED" if code == 0 else "FAILED")
        time.sleep(0.05)


def srun(words: list[str]) -> None:
    """Replaces this process by the command after the options; the options redirect its output."""
    job, task = os.environ["SLURM_ARRAY_JOB_ID"], os.environ["SLURM_ARRAY_TASK_ID"]
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in ("--output", "--error"):
            name = words.pop(0).replace("%A", job).replace("%a", task).replace("%t", "0")
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(target, 1 if option == "--output" else 2)
    os.execvp(words[0], words)


def sacct(words: list[str]) -> None:
    print("JobID|State|NodeList")
    jobs = {word.split("_")[0] for word in words if word[0].isdigit()}
    for path in sorted(states().glob("*_*.json")):
        if path.stem.split("_")[0] in jobs:
            state = json.loads(path.read_text())["state"]
            print(f"{path.stem}|{'PENDING' if state == 'REQUEUED' else state}|here")


def scancel(words: list[str]) -> None:
    for word in (word for word in words if word[0].isdigit()):
        job, _, task = word.partition("_")
        with one_at_a_time():
            record = read(job, int(task))
            write(job, int(task), state="CANCELLED")
        if record["state"] == "RUNNING":
            send(job, int(task), signal.SIGTERM)


def scontrol(words: list[str]) -> None:
    if words[0] == "requeue":
        job, _, task = words[1].partition("_")
        with one_at_a_time():
            write(job, int(task), state="REQUEUED")
    else:
        print("here")


def send(job: str, task: int, number: signal.Signals) -> None:
    """Sends a signal to every process of a task's step, as Slurm does; signals that end a task also reach its script."""
    import psutil

    script = psutil.Process(int(str(read(job, task)["session"])))
    step = script.children(recursive=True)
    for process in step if number == signal.SIGUSR2 else [*step, script]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end by itself, or with its parent
            process.send_signal(number)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
