"""Latent diffusion: closed forms of the forward process, DDIM against an oracle and against diffusers, sizes of the
published setting, determinism, resumption."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from support.generator_toys import frames
from torch import Tensor, nn

from semibench import SemibenchError, UsageError
from semibench_plugins.generators import latent_diffusion, networks, stages
from semibench_plugins.generators.cards import semibench_generators
from semibench_plugins.generators.diffusion import alpha_bars, ddim, ddim_times, noise_of_velocity, noised, velocity
from semibench_plugins.generators.latent_diffusion import LatentDiffusion
from semibench_plugins.generators.options import PRESETS, LatentDiffusionOptions

torch.set_num_threads(1)
PAPER = LatentDiffusionOptions()
TINY: dict[str, Any] = {**PRESETS["smoke"], "vae_steps": 3, "unet_steps": 3, "ddim_steps": 3}


# The forward process and DDIM


def test_abar_falls_from_about_one_to_about_zero() -> None:
    bars = alpha_bars(1000, 0.002, 0.02)
    assert (bars.diff() < 0).all()
    assert bars[0].item() == pytest.approx(0.998, abs=1e-12)
    assert bars[-1] < 1e-3
    betas = 1 - bars[1:] / bars[:-1]
    assert betas[-1].item() == pytest.approx(0.02, abs=1e-12)
    roots = betas.sqrt()
    torch.testing.assert_close(roots.diff(), roots.diff()[:1].expand(998), rtol=1e-6, atol=1e-12)


def test_schedule_is_that_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(beta_start=0.002, beta_end=0.02, beta_schedule="scaled_linear")
    torch.testing.assert_close(alpha_bars(1000, 0.002, 0.02).float(), scheduler.alphas_cumprod, rtol=1e-4, atol=1e-7)


def test_noised_latents_of_unit_variance_keep_unit_variance() -> None:
    draw = torch.Generator().manual_seed(0)
    bars = alpha_bars(1000, 0.002, 0.02)[[0, 250, 500, 999]]
    clean, noise = (torch.randn(4, 200_000, generator=draw) for _ in range(2))
    noisy = noised(clean, noise, bars)
    torch.testing.assert_close(noisy.var(1), torch.ones(4), rtol=0.02, atol=0)
    correlation = (noisy * clean).mean(1)
    torch.testing.assert_close(correlation, bars.sqrt().float(), rtol=0, atol=0.01)


def test_velocity_and_noise_are_two_names_of_one_prediction() -> None:
    draw = torch.Generator().manual_seed(1)
    clean, noise = (torch.randn(3, 2, 4, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    bars = torch.tensor([0.9, 0.5, 0.01], dtype=torch.float64)
    noisy, v = noised(clean, noise, bars), velocity(clean, noise, bars)
    torch.testing.assert_close(noise_of_velocity(v, noisy, bars), noise)
    a = bars.view(3, 1, 1, 1)
    torch.testing.assert_close(v, a.sqrt() * noise - (1 - a).sqrt() * clean)


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1000])
def test_ddim_with_a_perfect_oracle_returns_the_clean_latent(steps: int) -> None:
    draw = torch.Generator().manual_seed(1)
    bars = alpha_bars(1000, 0.002, 0.02)
    clean, noise = (torch.randn(2, 3, 4, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    start = noised(clean, noise, bars[[999, 999]])
    # the oracle knows the noise that was added and never looks: only the right schedule leads back
    found = ddim(lambda noisy, times: noise, start, bars, ddim_times(1000, steps))
    torch.testing.assert_close(found, clean, rtol=0, atol=1e-5)

    def from_state(noisy: Tensor, times: Tensor) -> Tensor:
        bar = bars[times].view(-1, 1, 1, 1)
        return (noisy - bar.sqrt() * clean) / (1 - bar).sqrt()

    for eta in (0.0, 1.0):
        found = ddim(
            from_state,
            start,
            bars,
            ddim_times(1000, steps),
            eta=eta,
            draw=lambda: torch.randn(clean.shape, generator=draw),
        )
        torch.testing.assert_close(found, clean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_ddim_steps_are_those_of_diffusers_where_its_spacing_is_exact(eta: float) -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.002, beta_end=0.02, beta_schedule="scaled_linear", clip_sample=False, timestep_spacing="leading"
    )
    scheduler.set_timesteps(10)
    start = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(2))

    def predict(noisy: Tensor, times: Tensor) -> Tensor:
        return (noisy * (0.5 + times.view(-1, 1, 1, 1) / 2000)).tanh()

    theirs, draw = start, torch.Generator().manual_seed(3)
    for time in scheduler.timesteps:
        noise = predict(theirs, time.view(1))
        variance = torch.randn(start.shape, generator=draw) if eta > 0 else None
        theirs = scheduler.step(noise, time, theirs, eta=eta, variance_noise=variance).prev_sample
    again = torch.Generator().manual_seed(3)
    bars = alpha_bars(1000, 0.002, 0.02)
    ours = ddim(
        predict,
        start,
        bars,
        scheduler.timesteps.tolist(),
        eta=eta,
        draw=lambda: torch.randn(start.shape, generator=again),
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_ddim_times_are_evenly_spaced_and_checked() -> None:
    times = ddim_times(1000, 100)
    assert times[0] == 999 and times[-1] == 0 and len(times) == 100
    assert {a - b for a, b in pairwise(times)} == {10, 11}
    with pytest.raises(ValueError, match="between 1 and 1000"):
        ddim_times(1000, 1001)
    with pytest.raises(ValueError, match="draw"):
        ddim(lambda noisy, at: noisy, torch.zeros(1, 1), alpha_bars(10, 0.01, 0.02), [9, 0], eta=1.0)


# Networks of the published setting


@pytest.mark.slow
def test_the_published_setting_maps_512_to_64() -> None:
    assert PAPER.size == (512, 512) and PAPER.latent_size == (64, 64)
    with torch.device("meta"):
        vae: Any = networks.autoencoder(PAPER, 3)
        unet: Any = networks.denoiser(PAPER)
        latent = vae.encode(torch.zeros(1, 3, 512, 512)).latent_dist.mean
        assert tuple(latent.shape) == (1, 8, 64, 64)
        assert tuple(vae.decode(latent).sample.shape) == (1, 3, 512, 512)
        noise = unet(latent, torch.zeros(1, dtype=torch.long)).sample
        assert tuple(noise.shape) == tuple(latent.shape)
    names = [name for net in (vae, unet) for name, _ in net.named_modules()]
    assert not [name for name in names if ".attentions." in name], "no attention in either network"
    assert unet.time_embedding.linear_2.out_features == 1024


def test_options_say_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        LatentDiffusionOptions(size=(500, 512))
    with pytest.raises(ValueError, match="vae_groups"):
        LatentDiffusionOptions(vae_channels=(12, 24))
    with pytest.raises(ValueError, match="clip_latents"):
        LatentDiffusionOptions(clip_latents=1.0)
    for values in PRESETS.values():
        LatentDiffusionOptions(**values)
    assert {card.name for card in semibench_generators()} == {LatentDiffusion.card.name}


# Fitting and sampling


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[LatentDiffusion, Path, dict[str, Any]]:
    generator = LatentDiffusion(LatentDiffusionOptions(**TINY))
    directory = tmp_path_factory.mktemp("fitted")
    record = generator.fit(list(frames(6)), directory, seed=0, device="cpu").record
    return generator, directory, dict(record)


def test_fit_leaves_a_complete_directory(fitted: tuple[LatentDiffusion, Path, dict[str, Any]]) -> None:
    _, directory, record = fitted
    assert sorted(path.name for path in directory.iterdir()) == [
        "autoencoder.json",
        "autoencoder.safetensors",
        "denoiser.safetensors",
        "model.json",
    ]
    assert record["grey"] and record["images"] == 6 and record["latent"] == [4, 8, 8]
    for stage in ("autoencoder", "denoiser"):
        assert record[stage]["steps"] == [0, 1, 2] and all(math.isfinite(loss) for loss in record[stage]["loss"])


def test_samples_are_deterministic_images_on_the_working_grid(
    fitted: tuple[LatentDiffusion, Path, dict[str, Any]],
) -> None:
    generator, directory, _ = fitted
    state = torch.random.get_rng_state()
    first = generator.sample(directory, 5, seed=7, device="cpu")
    assert first.shape == (5, 3, 40, 40) and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1 and torch.equal(first[:, 0], first[:, 2])
    assert torch.equal(torch.random.get_rng_state(), state), "the global random state is left alone"
    assert torch.equal(generator.sample(directory, 5, seed=7, device="cpu"), first)
    assert not torch.equal(generator.sample(directory, 5, seed=8, device="cpu"), first)
    assert (first[0] - first[1]).abs().max() > 1e-3, "samples differ from each other"
    torch.testing.assert_close(generator.sample(directory, 2, seed=7, device="cpu"), first[:2])
    small = LatentDiffusion(generator.options.model_copy(update={"sample_batch": 2, "eta": 1.0}))
    stochastic = small.sample(directory, 3, seed=7, device="cpu")
    torch.testing.assert_close(small.sample(directory, 3, seed=7, device="cpu"), stochastic)
    assert generator.sample(directory, 0, seed=7, device="cpu").shape == (0, 3, 40, 40)


def test_fit_is_deterministic_and_knows_when_it_is_done(
    fitted: tuple[LatentDiffusion, Path, dict[str, Any]], tmp_path: Path
) -> None:
    generator, directory, record = fitted
    generator.fit(list(frames(6)), tmp_path, seed=0, device="cpu")
    for name in ("autoencoder.safetensors", "denoiser.safetensors"):
        assert _digest(directory / name) == _digest(tmp_path / name)
    told: list[str] = []
    again = generator.fit(
        list(frames(6)), directory, seed=0, device="cpu", progress=lambda what, done, of, values: told.append(what)
    )
    assert again.record == record and not told, "a fitted directory isn't fitted again"
    generator.fit(
        list(frames(6)), tmp_path, seed=1, device="cpu", progress=lambda what, done, of, values: told.append(what)
    )
    assert set(told) == {"autoencoder", "denoiser"}, "another seed is another model"
    assert _digest(directory / "denoiser.safetensors") != _digest(tmp_path / "denoiser.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["autoencoder", "denoiser"])
def test_an_interrupted_fit_goes_on_with_the_same_digits(stage: str, tmp_path: Path) -> None:
    options = LatentDiffusionOptions(**{**TINY, "vae_steps": 12, "unet_steps": 12, "checkpoint_every": 3, "ema": 0.9})
    generator, images = LatentDiffusion(options), list(frames(5))
    generator.fit(images, tmp_path / "whole", seed=0, device="cpu")

    class Killed(RuntimeError):
        pass

    def kill(what: str, done: int, of: int, values: Any) -> None:
        if what == stage and done == 10:
            raise Killed

    with pytest.raises(Killed):
        generator.fit(images, tmp_path / "parts", seed=0, device="cpu", progress=kill)
    assert (tmp_path / "parts" / f"{stage}.pt").exists() and not (tmp_path / "parts" / "model.json").exists()
    with pytest.raises(UsageError, match="fit it first"):
        generator.sample(tmp_path / "parts", 1, seed=0, device="cpu")
    generator.fit(images, tmp_path / "parts", seed=0, device="cpu")
    for name in ("autoencoder.safetensors", "denoiser.safetensors"):
        assert _digest(tmp_path / "whole" / name) == _digest(tmp_path / "parts" / name)


def test_the_second_stage_leaves_the_autoencoder_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[nn.Module] = []
    before: list[str] = []
    build, second = networks.autoencoder, stages.fit_denoiser

    def remember(*args: Any) -> nn.Module:
        made.append(build(*args))
        return made[-1]

    def watch(*args: Any) -> Any:
        before.append(_state_digest(made[0]))
        made[0].zero_grad(set_to_none=True)
        assert not any(parameter.requires_grad for parameter in made[0].parameters())
        assert not args[1][0].requires_grad and not args[1][1].requires_grad
        return second(*args)

    monkeypatch.setattr(networks, "autoencoder", remember)
    monkeypatch.setattr("semibench_plugins.generators.latent_diffusion.fit_denoiser", watch)
    LatentDiffusion(LatentDiffusionOptions(**TINY)).fit(list(frames(4)), tmp_path, seed=0, device="cpu")
    assert all(parameter.grad is None for parameter in made[0].parameters())
    assert before == [_state_digest(made[0])]


@pytest.mark.slow
def test_losses_fall_and_latents_have_unit_deviation(tmp_path: Path) -> None:
    options = LatentDiffusionOptions(**{**PRESETS["smoke"], "vae_steps": 30, "unet_steps": 40, "ssim": 0.1})
    told: list[tuple[str, int, int]] = []
    generator = LatentDiffusion(options)
    record = generator.fit(
        list(frames(12)),
        tmp_path,
        seed=0,
        device="cpu",
        progress=lambda what, done, of, _: told.append((what, done, of)),
    ).record
    assert record["autoencoder"]["loss"][-1] < 0.7 * record["autoencoder"]["loss"][0]
    assert record["denoiser"]["loss"][-1] < 0.9 * record["denoiser"]["loss"][0]
    assert ("autoencoder", 30, 30) in told and ("denoiser", 40, 40) in told
    assert record["latent_deviation"] == pytest.approx(1.0, rel=2e-3)


def test_latents_are_normalised_as_asked() -> None:
    draw = torch.Generator().manual_seed(0)
    mean = torch.randn(500, 8, 4, 4, generator=draw) * torch.arange(1.0, 9).view(8, 1, 1) + 5
    spread = torch.full_like(mean, 0.5)
    latents = mean + spread * torch.randn(mean.shape, generator=draw)
    for normalise in ("none", "scale", "channels"):
        shift, scale = latent_diffusion._normalisation(mean, spread, LatentDiffusionOptions(normalise=normalise))
        made = (latents - shift) * scale
        if normalise == "none":
            assert torch.equal(made, latents)
        if normalise == "scale":
            assert made.std().item() == pytest.approx(1.0, abs=0.01) and len(scale.unique()) == 1 and not shift.any()
        if normalise == "channels":
            torch.testing.assert_close(made.mean((0, 2, 3)), torch.zeros(8), rtol=0, atol=0.03)
            torch.testing.assert_close(made.std((0, 2, 3)), torch.ones(8), rtol=0, atol=0.03)
        torch.testing.assert_close(made / scale + shift, latents)


def test_fit_refuses_what_it_cannot_learn(tmp_path: Path) -> None:
    generator = LatentDiffusion(LatentDiffusionOptions(**TINY))
    for images, message in (
        ([], "at least one"),
        ([torch.rand(1, 8, 8, 8)], "2D images"),
        ([torch.rand(1, 32, 32), torch.rand(1, 32, 40)], "the same shape"),
        ([torch.randn(1, 32, 32)], r"\[0, 1\]"),
        ([torch.full((1, 32, 32), float("nan"))], r"\[0, 1\]"),
    ):
        with pytest.raises(UsageError, match=message):
            generator.fit(images, tmp_path, seed=0, device="cpu")
    diverging = LatentDiffusion(LatentDiffusionOptions(**{**TINY, "vae_lr": 1e30, "vae_steps": 20, "clip_norm": 0.0}))
    with pytest.raises(SemibenchError, match="autoencoder: the loss became"):
        diverging.fit(list(frames(4)), tmp_path, seed=0, device="cpu")


def test_every_image_is_seen_once_per_pass() -> None:
    seen = torch.cat([stages.positions(7, 3, step, seed=5) for step in range(14)]).view(6, 7)
    assert all(sorted(turn.tolist()) == list(range(7)) for turn in seen)
    assert len({tuple(turn.tolist()) for turn in seen}) > 1


def test_ssim_is_one_for_equal_images_and_agrees_with_skimage() -> None:
    from skimage.metrics import structural_similarity

    a, b = frames(2, channels=1)[:1], frames(2, channels=1)[1:]
    assert stages.structural_similarity(a, a).item() == pytest.approx(1.0, abs=1e-5)
    _, picture = structural_similarity(
        a[0, 0].double().numpy(), b[0, 0].double().numpy(), data_range=2.0, full=True, use_sample_covariance=False
    )
    ours = stages.structural_similarity(a.double(), b.double()).item()
    assert ours == pytest.approx(picture[3:-3, 3:-3].mean(), abs=1e-6)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _state_digest(network: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in network.state_dict().values())).hexdigest()
