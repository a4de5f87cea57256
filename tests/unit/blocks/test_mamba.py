"""The Mamba layer: names and shapes, the sheet's worked numbers, an independent recurrence, laws, the call of the kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench.blocks import Mamba, selective_scan
from semibench.blocks import mamba as module

torch.set_num_threads(1)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def naive(u: np.ndarray, delta: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The recurrence, index by index."""
    batch, length, inner = u.shape
    y = np.zeros_like(u)
    for s in range(batch):
        for i in range(inner):
            h = np.zeros(a.shape[1])
            for t in range(length):
                h = np.exp(delta[s, t, i] * a[i]) * h + delta[s, t, i] * b[s, t] * u[s, t, i]
                y[s, t, i] = c[s, t] @ h + d[i] * u[s, t, i]
    return y


def inputs(length: int, batch: int = 2, inner: int = 3, state: int = 4, seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    steps = F.softplus(normal(batch, length, inner))
    return [normal(batch, length, inner), steps, -normal(inner, state).exp(), normal(batch, length, state),
            normal(batch, length, state), normal(inner)]  # fmt: skip


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 16, 25, 245])
def test_scans_are_the_recurrence(length: int) -> None:
    values = inputs(length)
    expected = torch.from_numpy(naive(*[value.numpy() for value in values]))
    for scan in ("parallel", "recurrence", "auto"):
        torch.testing.assert_close(selective_scan(*values, scan=scan), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("length", [1, 2, 5, 8, 30])
def test_gradients_of_the_scans_agree(length: int) -> None:
    gradients = []
    for scan in ("parallel", "recurrence"):
        values = [value.requires_grad_() for value in inputs(length)]
        y = selective_scan(*values, scan=scan)
        weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view_as(y)
        gradients.append(torch.autograd.grad((weights * y.square()).sum(), values))
    for mine, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-10)


def test_gradient_of_the_parallel_scan_is_the_numerical_one() -> None:
    values = [value.requires_grad_() for value in inputs(6, batch=1, inner=2, state=2)]
    assert torch.autograd.gradcheck(lambda *v: selective_scan(*v, scan="parallel"), values)


def test_worked_scan() -> None:
    ones = torch.ones(1, 3, 2)
    y = selective_scan(
        torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1), torch.full((1, 3, 1), 0.5), torch.tensor([[-1.0, -2.0]]), ones, ones,
        torch.ones(1),
    ).flatten()  # fmt: skip
    assert y.tolist() == pytest.approx([2.0, 4.4872, 7.2260], abs=5e-5)
    assert (y * F.silu(torch.tensor(1.0))).tolist() == pytest.approx([1.4621, 3.2804, 5.2826], abs=5e-5)


ORDER = ("conv1d{}.weight", "conv1d{}.bias", "x_proj{}.weight", "dt_proj{}.weight", "dt_proj{}.bias")
WORKED = {
    "forward": ((-0.007543, -0.023903, 0.014499, 0.019684), (0.008327, -0.008048, -0.005985, 0.009790), -0.001587),
    "both": ((0.000073, -0.007054, 0.001980, 0.006478), (-0.001783, 0.003092, 0.000883, -0.003349), -0.004155),
    "slices": ((0.007670, 0.014419, -0.011865, -0.010966), (-0.012171, 0.018013, 0.006930, -0.020029), -0.002635),
}


def worked(directions: str, scan: str = "auto") -> tuple[Mamba, Tensor]:
    net = Mamba(4, state=3, kernel=3, directions=directions, scan=scan).double()  # type: ignore[arg-type]
    names = ["in_proj.weight", *(name.format("") for name in ORDER), "out_proj.weight"]
    for suffix in module.SUFFIXES[directions][1:]:  # type: ignore[index]
        names += [name.format(suffix) for name in ORDER]
    named = dict(net.named_parameters())
    with torch.no_grad():
        for k, name in enumerate(names):
            index = torch.arange(1, named[name].numel() + 1, dtype=torch.float64)
            named[name].copy_((0.3 * torch.sin(index + 10 * k)).view_as(named[name]))
        for suffix in module.SUFFIXES[directions]:  # type: ignore[index]
            named[f"A{suffix}_log"].copy_(torch.log(torch.arange(1.0, 4.0, dtype=torch.float64)).expand(8, 3))
    return net, torch.cos(torch.arange(1, 25, dtype=torch.float64)).view(1, 6, 4)


@pytest.mark.parametrize("scan", ["auto", "recurrence"])
@pytest.mark.parametrize("directions", WORKED)
def test_worked_blocks(directions: str, scan: str) -> None:
    net, tokens = worked(directions, scan)
    out = net(tokens, slices=3)[0].detach()
    first, last, total = WORKED[directions]
    assert out[0].tolist() == pytest.approx(first, abs=1e-6)
    assert out[5].tolist() == pytest.approx(last, abs=1e-6)
    assert float(out.sum()) == pytest.approx(total, abs=1e-6)


def test_names_and_shapes_are_those_of_mamba_ssm() -> None:
    width, state, kernel = 48, 16, 4
    inner, rank = 2 * width, math.ceil(width / 16)
    shapes = {
        "in_proj.weight": (2 * inner, width),
        "conv1d.weight": (inner, 1, kernel),
        "conv1d.bias": (inner,),
        "x_proj.weight": (rank + 2 * state, inner),
        "dt_proj.weight": (inner, rank),
        "dt_proj.bias": (inner,),
        "A_log": (inner, state),
        "D": (inner,),
        "out_proj.weight": (width, inner),
    }
    net = Mamba(width)
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == shapes
    own = {"in_proj.weight", "out_proj.weight"}
    further = {}
    for suffix in ("_b", "_s"):
        for name, shape in shapes.items():
            head, dot, tail = name.partition(".")
            renamed = f"A{suffix}_log" if head == "A_log" else f"{head}{suffix}{dot}{tail}"
            further |= {} if name in own else {renamed: shape}
    tri = Mamba(width, directions="slices")
    assert {name: tuple(value.shape) for name, value in tri.state_dict().items()} == shapes | further
    result = tri.load_state_dict(net.state_dict(), strict=False)
    assert not result.unexpected_keys and set(result.missing_keys) == set(further)


def test_weights_go_to_mamba_ssm_and_back() -> None:
    official = pytest.importorskip("mamba_ssm", reason="needs mamba-ssm, which needs a CUDA build of torch")
    theirs, mine = official.Mamba(d_model=32), Mamba(32)
    given = {name: value.clone() for name, value in theirs.state_dict().items()}
    mine.load_state_dict(given)
    theirs.load_state_dict(Mamba(32).state_dict())
    theirs.load_state_dict(mine.state_dict())
    torch.testing.assert_close(theirs.state_dict(), given, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("width", "forward", "both", "slices"),
    [(16, 3360, 5184, 7008), (32, 9920, 13696, 17472), (48, 19680, 25536, 31392), (64, 32640, 40704, 48768),
     (96, 68160, 81024, 93888), (128, 116480, 134656, 152832), (192, 251520, 281856, 312192),
     (256, 437760, 482304, 526848), (384, 963840, 1042944, 1122048)],
)  # fmt: skip
def test_parameter_counts(width: int, forward: int, both: int, slices: int) -> None:
    assert [count(Mamba(width, directions=d)) for d in ("forward", "both", "slices")] == [forward, both, slices]  # type: ignore[arg-type]


def test_initial_values() -> None:
    torch.manual_seed(0)
    net = Mamba(64, directions="slices")
    for suffix in ("", "_b", "_s"):
        bias = net.get_parameter(f"dt_proj{suffix}.bias")
        assert bias.min() >= -6.9080 and bias.max() <= -2.2515
        steps = F.softplus(bias)
        assert steps.min() >= 0.999e-3 and steps.max() <= 0.1001 and steps.log().std() > 1
        assert net.get_parameter(f"dt_proj{suffix}.weight").abs().max() <= 4**-0.5
        torch.testing.assert_close(net.get_parameter(f"A{suffix}_log").exp()[5], torch.arange(1.0, 17.0))
        assert net.get_parameter(f"D{suffix}").eq(1).all()
    parity = Mamba(64, directions="slices", step_init="first")
    assert parity.get_parameter("dt_proj.bias").max() < -2.25
    assert parity.get_parameter("dt_proj_s.bias").abs().max() <= 0.5, "torch's default for rank 4"


# --- laws ---


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(1))


def test_one_direction_is_causal(tokens: Tensor) -> None:
    torch.manual_seed(0)
    net = Mamba(8)
    changed = tokens.clone()
    changed[:, 7] += 1
    before, after = net(tokens), net(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])
    both = Mamba(8, directions="both")
    assert not torch.allclose(both(tokens)[:, :7], both(changed)[:, :7])


def test_equal_directions_make_it_equivariant_to_flips(tokens: Tensor) -> None:
    torch.manual_seed(0)
    net = Mamba(8, directions="both")
    state = net.state_dict()
    for name in state:
        if "_b" in name:
            state[name] = state[name.replace("_b", "", 1)]
    net.load_state_dict(state)
    torch.testing.assert_close(net(tokens.flip(1)), net(tokens).flip(1))


def test_samples_are_independent_and_small_steps_leave_the_skip(tokens: Tensor) -> None:
    torch.manual_seed(0)
    net = Mamba(8, directions="slices")
    torch.testing.assert_close(net(tokens, 3)[:1], net(tokens[:1], 3))
    u, _, a, b, c, d = inputs(9)
    torch.testing.assert_close(selective_scan(u, torch.full_like(u, 1e-300), a, b, c, d), d * u)
    torch.testing.assert_close(selective_scan(u, torch.ones_like(u), a, 0 * b, 0 * c, d), d * u)


def test_order_of_the_slices() -> None:
    index = torch.arange(12).view(1, 12, 1)
    turned = module.by_slices(index, 3)
    assert turned.flatten().tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert module.by_slices(turned, 4).flatten().tolist() == list(range(12))
    with pytest.raises(ValueError, match="12 positions cannot be cut into 5 equal slices"):
        module.by_slices(index, 5)


def test_single_precision_is_close_to_double(tokens: Tensor) -> None:
    torch.manual_seed(0)
    net = Mamba(8, directions="slices")
    single = net(tokens, 4)
    torch.testing.assert_close(net.double()(tokens.double(), 4).float(), single, rtol=1e-4, atol=1e-6)


def test_the_scan_is_not_in_half_precision(tokens: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    scan = module.selective_scan

    def noted(*arguments: Tensor | str) -> Tensor:
        y = scan(*arguments)  # type: ignore[arg-type]
        seen.append(y.dtype)
        return y

    monkeypatch.setattr(module, "selective_scan", noted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Mamba(8)(tokens)
    assert seen == [torch.float32]


# --- the kernels of mamba-ssm ---


@pytest.fixture
def forget() -> Iterator[None]:
    module._kernel.cache_clear()
    yield
    module._kernel.cache_clear()


def test_the_kernel_gets_its_layout() -> None:
    """A stand-in with the documented signature of `selective_scan_fn`: (B, D, L), (B, N, L), contiguous."""
    u, delta, a, b, c, d = inputs(7)

    def kernel(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
        assert u.shape == delta.shape == (2, 3, 7) and A.shape == (3, 4) and B.shape == C.shape == (2, 4, 7)
        assert all(tensor.is_contiguous() for tensor in (u, delta, A, B, C, D))
        swapped = [tensor.transpose(1, 2).numpy() for tensor in (u, delta, B, C)]
        y = naive(swapped[0], swapped[1], A.numpy(), swapped[2], swapped[3], D.numpy())
        return torch.from_numpy(y).transpose(1, 2)

    torch.testing.assert_close(
        module._on_kernel(kernel, u, delta, a, b, c, d), selective_scan(u, delta, a, b, c, d, scan="recurrence")
    )


@pytest.mark.usefixtures("forget")
def test_a_broken_mamba_ssm_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert module._kernel() is None
    module._kernel.cache_clear()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(__import__("sys").modules, "mamba_ssm", None)
    with pytest.warns(UserWarning, match="MAMBA_KEEP_CUDA_BUILD"):
        assert module._kernel() is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernels need a GPU")
def test_the_kernel_is_the_parallel_scan() -> None:
    pytest.importorskip("mamba_ssm", reason="needs mamba-ssm, which needs a CUDA build of torch")
    values = [value.float().cuda() for value in inputs(245)]
    torch.testing.assert_close(selective_scan(*values), selective_scan(*values, scan="parallel"), rtol=1e-4, atol=1e-4)
