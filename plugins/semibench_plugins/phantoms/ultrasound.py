"""Simulates B-mode ultrasound images: scatterers, pulse, beam, attenuation, envelope and log compression.

The acoustics are linear, on one grid (axis 0: depth, axis 1: lateral). Rows of `Tissue` maps are display pixels; the echo
itself is computed on rows that are `OVERSAMPLING` times finer, so that the carrier of the pulse is resolved. The statistics
follow Burckhardt 1978 (IEEE Trans. Sonics Ultrason. 25:1), the convolution model Bamber & Dickinson 1980 (Phys. Med. Biol.
25:463).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates

from semibench.blocks import FloatArray, spline_basis

SOUND = 1.54
"""The speed of sound in soft tissue, in mm per microsecond."""

OVERSAMPLING = 4
"""The number of samples of the radio-frequency echo per display row."""

_WHITE = 20.0
"""The level shown as white at gain 0, in dB above fully developed speckle of reference tissue."""

_BOOST_LIMIT = 45.0
"""The most by which the time gain amplifies the electronic noise, in dB."""


@dataclass(frozen=True)
class Machine:
    """An ultrasound machine and its settings, which determine the appearance of a domain.

    Pairs are ranges, from which each case or patient draws.

    Attributes:
        frequency: centre frequency, in MHz.
        cycles: length of the pulse, in cycles.
        f_number: depth over aperture; it sets the beam width at the focus.
        focus: depth of the transmit focus, as a fraction of the displayed depth.
        focal_range: distance over which the beam widens by sqrt(2), as a fraction of the displayed depth.
        looks: number of frequency bands that are compounded.
        dynamic_range: dynamic range of the log compression, in dB.
        gain: gain of the log compression, in dB.
        gamma: exponent of the grey map.
        noise: electronic noise at the surface, in dB relative to reference speckle.
        tgc: attenuation that the time gain compensates, in dB / (cm MHz).
        smooth: low-pass filter of the display, as a standard deviation in rows (1.4 times that in columns).
        depth: displayed depth, in mm.
        rows: native image height, in pixels.
        columns: native image width, in pixels.
        sector: half the opening angle of a curved array, in degrees; 0 for a linear array.
        radius: radius of the surface of a curved array, in mm.
        edge: strength of the edge enhancement.
    """

    frequency: float
    cycles: float = 2.0
    f_number: float = 2.0
    focus: float = 0.45
    focal_range: float = 0.35
    looks: int = 1
    dynamic_range: float = 60.0
    gain: tuple[float, float] = (-3.0, 3.0)
    gamma: float = 1.0
    noise: float = -62.0
    tgc: float = 0.6
    smooth: float = 0.7
    depth: tuple[float, float] = (35.0, 45.0)
    rows: tuple[int, int] = (190, 220)
    columns: tuple[int, int] = (180, 220)
    sector: float = 0.0
    radius: float = 50.0
    edge: float = 0.0


@dataclass
class Tissue:
    """Acoustic properties on (rows, columns).

    Attributes:
        echo: backscatter, in dB relative to reference tissue.
        attenuation: in dB / (cm MHz).
        mirror: amplitude of specular reflection, which is coherent over about 6 mm along a row.
        density: share of points of the fine grid that contain a scatterer, in (0, 1]; 1 gives fully developed speckle.
    """

    echo: FloatArray
    attenuation: FloatArray
    mirror: FloatArray | None = None
    density: FloatArray | None = None


def beam_width(depth: FloatArray, focus: float, focal_range: float, wavelength: float, f_number: float) -> FloatArray:
    """Computes the lateral standard deviation (mm) of the two-way beam at each `depth` (mm). Its full width at half maximum is
    wavelength x f-number at the focus, and grows hyperbolically away from it."""
    waist = wavelength * f_number / 2.355
    return waist * np.sqrt(1.0 + ((depth - focus) / focal_range) ** 2)


def excess_loss(attenuation: FloatArray, tgc: float, frequency: float, pixel: float) -> FloatArray:
    """Computes the loss of the echo on its way down and up that the time gain doesn't compensate, in dB, (rows, columns). It is
    negative behind tissue that attenuates less (posterior enhancement). pixel: mm per row."""
    per_row = 2.0 * (attenuation - tgc) * frequency * pixel / 10.0
    return np.cumsum(per_row, axis=0) - per_row / 2


def envelope(tissue: Tissue, machine: Machine, pixel: tuple[float, float], rng: np.random.Generator) -> FloatArray:
    """Computes the echo amplitude (rows, columns) before compression. Reference tissue has a mean square of 1 at all depths.

    rf(z, x)   = sum of scatterers (white Gaussian where density = 1) x amplitude(z, x) 10^(-excess loss / 20)
    iq(z, x)   = one-sided spectrum of rf, weighted by the pulse's Gaussian exp(-(f - f0)^2 / 2 s_f^2), moved to baseband:
                 the Hilbert transform and demodulation in one step; |iq| is the envelope
    beam       : each row is convolved with a Gaussian of its own width (exact for a depth-dependent beam)
    f0         = 2 frequency / SOUND cycles per mm; folded to what the grid resolves (band-pass sampling: the band is
                 narrow, the envelope doesn't change)
    """
    rows, columns = tissue.echo.shape
    wavelength = SOUND / machine.frequency
    loss = excess_loss(tissue.attenuation, machine.tgc, machine.frequency, pixel[0])
    loss = gaussian_filter1d(loss, max(0.6 / pixel[1], 0.5), axis=1, mode="nearest")
    amplitude = 10.0 ** ((tissue.echo - np.clip(loss, -14.0, 60.0)) / 20.0)

    rf = rng.standard_normal((rows, OVERSAMPLING, columns))
    if tissue.density is not None:
        density = np.clip(tissue.density, 0.02, 1.0)[:, None]
        rf *= (rng.random(rf.shape) < density) / np.sqrt(density)
    rf *= amplitude[:, None]
    if tissue.mirror is not None:
        patches = max(2, round(columns * pixel[1] / 6.0))
        roughness = (
            rng.standard_normal((rows, patches + 3)) @ spline_basis(columns, patches).T * np.sqrt(2.0 * OVERSAMPLING)
        )
        rf[:, 0] += tissue.mirror * roughness * 10.0 ** (-np.clip(loss, -14.0, 60.0) / 20.0)
    spectrum = np.fft.rfft(rf.reshape(rows * OVERSAMPLING, columns), axis=0)

    sigma = np.hypot(machine.cycles * wavelength / 2 / 2.355 / pixel[0], 0.8)
    width = 1.0 / (2.0 * np.pi * sigma)
    side = 0.6 * width * (machine.looks - 1)
    carrier = np.clip(2.0 * pixel[0] / wavelength, 0.5 + side, OVERSAMPLING / 2 - 0.5 - side)
    depth = (np.arange(rows) + 0.5) * pixel[0]
    extent = rows * pixel[0]
    beam = beam_width(depth, machine.focus * extent, machine.focal_range * extent, wavelength, machine.f_number)
    beam = np.hypot(beam / pixel[1], 0.55)
    lateral = np.fft.fftfreq(columns)
    spread = np.exp(-2.0 * (np.pi * beam[:, None] * lateral) ** 2) * np.sqrt(2.0 * np.sqrt(np.pi) * beam)[:, None]
    boost = np.minimum(2.0 * machine.tgc * machine.frequency * depth / 10.0, _BOOST_LIMIT)
    time_gain = 10.0 ** ((machine.noise + boost) / 20.0)

    total: FloatArray = np.zeros((rows, columns))
    for look in range(machine.looks):
        centre = carrier + 1.2 * width * (look - (machine.looks - 1) / 2)
        bins = round(float(centre * rows)) + np.arange(rows) - rows // 2
        bins = np.clip(bins, 0, len(spectrum) - 1)
        pulse = np.exp(-0.5 * ((bins / rows - centre) / width) ** 2)
        pulse *= np.sqrt(2.0 * np.sqrt(np.pi) * sigma) / np.sqrt(OVERSAMPLING * 1.0) / rows
        band = np.fft.ifftshift(spectrum[bins] * pulse[:, None], axes=0)
        iq = np.fft.ifft(np.fft.fft(np.fft.ifft(band, axis=0, norm="forward"), axis=1) * spread, axis=1)
        noise = rng.standard_normal((2, rows, columns))
        iq += (noise[0] + 1j * noise[1]) * (time_gain / np.sqrt(2.0))[:, None]
        total += np.abs(iq)
    return total / machine.looks


def _smooth(image: FloatArray, sigma: float) -> FloatArray:
    return gaussian_filter1d(gaussian_filter1d(image, sigma, axis=0, truncate=3), 1.4 * sigma, axis=1, truncate=3)


def compress(amplitude: FloatArray, machine: Machine, gain: float) -> FloatArray:
    """Applies log compression and the grey map: returns grey levels in 0..255 (rows, columns), not rounded."""
    decibel: FloatArray = 20.0 * np.log10(np.maximum(amplitude, 1e-6)) + gain
    decibel = _smooth(np.maximum(decibel, _WHITE - machine.dynamic_range - 6.0), machine.smooth)
    if machine.edge > 0:
        decibel += machine.edge * (decibel - _smooth(decibel, 1.5))
    level = np.clip((decibel - _WHITE) / machine.dynamic_range + 1.0, 0.0, 1.0)
    return 255.0 * level**machine.gamma


def scan(
    tissue: Tissue, machine: Machine, pixel: tuple[float, float], gain: float, rng: np.random.Generator
) -> FloatArray:
    """Images `tissue` with `machine`: returns grey levels in 0..255 (rows, columns). pixel: (mm per row, mm per column)."""
    return compress(envelope(tissue, machine, pixel, rng), machine, gain)


def beam_grid(machine: Machine, depth: float, rows: int, beams: int) -> tuple[FloatArray, FloatArray]:
    """Returns the positions z, x in mm (rows, beams) of the samples of a curved array; z = 0 at the surface of its middle beam."""
    radius = machine.radius + (np.arange(rows) + 0.5) / rows * depth
    angle = np.deg2rad(machine.sector) * (2.0 * (np.arange(beams) + 0.5) / beams - 1.0)
    return radius[:, None] * np.cos(angle) - machine.radius, radius[:, None] * np.sin(angle)


def scan_convert(grey: FloatArray, machine: Machine, depth: float, z: FloatArray, x: FloatArray) -> FloatArray:
    """Resamples a curved array (rows, beams) at positions z, x in mm; the result is black outside the sector."""
    rows, beams = grey.shape
    radius = np.sqrt((z + machine.radius) ** 2 + x**2)
    angle = np.arctan2(x, z + machine.radius) / np.deg2rad(machine.sector)
    coordinates = np.stack([(radius - machine.radius) / depth * rows - 0.5, (angle + 1.0) / 2.0 * beams - 0.5])
    return map_coordinates(grey, coordinates, order=1, mode="constant", cval=0.0)
