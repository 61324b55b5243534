"""Draws test pictures and has Pillow resize them as OpenAI's CLIP does.

    python pictures.py test/fixtures/pictures

writes NAME.jpg or NAME.png and, beside each, NAME.SIZE.png: what CLIP's preprocessing makes of it, before
it is normalised. src/data/picture.test.ts compares.
"""

import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw


def photo(width, height, seed, slope):
    """Noise with the spectrum of photographs, 1 / f^slope, and discs with hard edges."""
    random = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width)[None] * width
    frequency = np.maximum(np.hypot(fy, fx), 1)

    def noise(slope):
        spectrum = np.fft.fft2(random.standard_normal((height, width))) / frequency**slope
        values = np.fft.ifft2(spectrum).real
        return values / max(values.std(), 1e-9)

    light = noise(slope)
    pixels = 128 + 50 * np.stack([light + 0.5 * noise(slope + 0.4) for _ in range(3)], -1)
    y, x = np.mgrid[:height, :width]
    for _ in range(8):
        centre = random.uniform(0, 1, 2) * (width, height)
        radius = random.uniform(0.05, 0.25) * min(width, height)
        disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
        pixels[disc] = (pixels[disc] + random.uniform(0, 255, 3)) / 2
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def lines(width, height):
    """Line art, with stripes of a pixel each in a corner."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    random = np.random.default_rng(5)
    for _ in range(40):
        points = [tuple(random.uniform(0, 1, 2) * (width, height)) for _ in range(3)]
        colour = tuple(int(v) for v in random.integers(0, 200, 3))
        draw.line(points, fill=colour, width=int(random.integers(1, 4)))
    for x in range(0, width // 3, 2):
        draw.line([(x, 0), (x, height // 5)], fill="black")
    return image


def gradient(width, height):
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    return Image.fromarray(np.stack([red, green, (red + green) / 2], -1).astype(np.uint8))


def preprocess(image, size):
    """torchvision's Resize(size, BICUBIC) and CenterCrop(size), on pictures of Pillow's, as CLIP calls them."""
    width, height = image.size
    if width <= height:
        resized = size, int(size * height / width)
    else:
        resized = int(size * width / height), size
    left, top = (int(round((side - size) / 2.0)) for side in resized)
    image = image.resize(resized, Image.BICUBIC)
    return image.crop((left, top, left + size, top + size))


# name: (picture, how it is saved, size)
CASES = {
    "photo-landscape": (photo(320, 213, 1, 1.2), "jpg", 64),
    "photo-portrait": (photo(213, 320, 2, 1.2), "jpg", 64),
    "photo-alike": (photo(110, 99, 3, 1.2), "jpg", 96),
    "photo-large": (photo(1200, 800, 4, 1.7), "jpg", 64),
    "photo-large-odd": (photo(901, 1203, 5, 1.7), "jpg", 64),
    "photo-long": (photo(700, 97, 6, 1.2), "jpg", 64),
    "photo-enlarged": (photo(50, 38, 7, 1.2), "png", 64),
    "lines": (lines(301, 227), "png", 64),
    "lines-large": (lines(1000, 1003), "png", 96),
    "lines-enlarged": (lines(63, 65), "png", 64),
    "gradient": (gradient(300, 449), "png", 64),
    "gradient-large": (gradient(1100, 1000), "jpg", 64),
    "tiny": (photo(5, 7, 8, 0.5), "png", 64),
    "dot": (Image.new("RGB", (1, 1), (200, 30, 90)), "png", 64),
}

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (image, kind, size) in CASES.items():
        path = folder / f"{name}.{kind}"
        if kind == "png":
            colours = image.getcolors(256)
            (image.quantize(len(colours), dither=Image.Dither.NONE) if colours else image).save(
                path, optimize=True)
        else:
            image.save(path, quality=60)
        with Image.open(path) as decoded:
            preprocess(decoded.convert("RGB"), size).save(folder / f"{name}.{size}.png", optimize=True)
