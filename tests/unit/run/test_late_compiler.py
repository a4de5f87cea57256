"""torch's compiler is imported by what compiles, and by nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import copy, os, sys, traceback
import torch
from semibench.run.late_compiler import LateCompiler, import_late

import_late()
network = torch.nn.Linear(3, 2)
same = copy.deepcopy(network)


def train(network):
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    for _ in range(3):
        optimiser.zero_grad()
        network(torch.arange(6.0).reshape(2, 3)).square().mean().backward()
        optimiser.step()
        optimiser.load_state_dict(optimiser.state_dict())
    return [value.detach().clone() for value in network.parameters()]


trained = train(network)
assert isinstance(sys.modules["torch._dynamo"], LateCompiler), "the compiler was imported by a plain training"
assert not hasattr(torch._dynamo, "__wrapped__") and isinstance(torch._dynamo, LateCompiler), "a look imports it"
assert not any(name.startswith("torch._dynamo.") for name in sys.modules)


def compiled_afterwards():
    compiled = torch.compile(network, backend="eager")
    assert torch.equal(compiled(torch.ones(1, 3)), network(torch.ones(1, 3)))
    assert type(torch._dynamo) is type(sys) and torch._dynamo is sys.modules["torch._dynamo"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, "it was not compiled"
    assert all(map(torch.equal, train(same), trained)), "the steps are those of the real compiler"
    plain = torch.optim.Optimizer.zero_grad.__wrapped__
    assert plain.__dynamo_disable is not plain, "torch's own switch works again"


def a_module_of_it_is_loaded_once():
    import torch._dynamo.eval_frame as first
    import torch._dynamo.config
    assert first is sys.modules["torch._dynamo.eval_frame"] is torch._dynamo.eval_frame
    assert first.__spec__.origin == first.__file__
    assert not [finder for finder in sys.meta_path if type(finder).__name__ == "_Submodules"]


def a_function_of_a_user_gets_the_real_switch():
    mine = torch.compiler.disable(lambda x: x + 1)
    assert not isinstance(torch._dynamo, LateCompiler) and mine(1) == 2
    import_late()
    assert not isinstance(torch._dynamo, LateCompiler), "what is imported stays"


for check in (compiled_afterwards, a_module_of_it_is_loaded_once, a_function_of_a_user_gets_the_real_switch):
    sys.stderr.flush()
    child = os.fork()  # each begins where nothing is compiled yet
    if not child:
        try:
            check()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, check.__name__
"""


@pytest.mark.slow
def test_the_compiler_is_imported_by_what_compiles_and_by_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
