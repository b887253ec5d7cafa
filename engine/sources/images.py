"""An image as tokens: its patches, compared by what can be measured on them, without a model."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from math import pi
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Grid, Origin, Refusal, param
from engine.contract.grid import squares, z_order
from engine.runtime.cached import cached_property
from engine.sources.drawings import DRAWINGS, Pixels, drawn
from engine.sources.synthetic import Declared

SIDE = 512
"""Pixels of the longer side, about: a patch has a whole number of them."""
LARGEST = 2**23
"""Bytes of an upload."""
MOST_PIXELS = 2**25
"""Pixels of an upload."""
FAR = 2.5
"""Standard deviations beyond which a feature counts no further."""
FAINT = 0.01
"""Change of luminance from pixel to pixel, of 1, that is hardly an edge."""
HEADS = (slice(0, 3), slice(3, 5), slice(5, 8), slice(0, 8))
"""Features that each head compares: colour, position, edges, and all together."""
WIDTH = 16
"""Of queries and keys: a cosine and a sine for each of the features."""


@dataclass(frozen=True)
class Image(Declared):
    """The patches of an image, in Z-order (Morton), each head comparing them in its own way.

    Head 0 compares mean colour, head 1 position, head 2 edges, head 3 all of these. No model is at
    work: each feature is standardised over the image, cut at 2.5 standard deviations and turned
    into an angle of at most a quarter turn; q = k = (cos, sin), so that a logit is `sharpness`
    times the mean cosine between the features of two patches, and a patch agrees most with its
    like. v is the mean colour (sRGB, 0 to 1). Not causal.

    With an `encoder`, a vision model's name or folder, nothing is measured: the patches are those
    that it reads, and each of its layers has Q, K and V of its own (`engine.models.vision`).

    In Z-order the patches of each square of 2, 4, 8 … a side follow one another: the units.

    Raises:
        ValueError: a parameter is out of range; the upload is no PNG or JPEG, or too large.
    """

    key: ClassVar[str] = "image"

    sample: str = param("house", choices=tuple(DRAWINGS))
    grid: int = param(16, low=2, high=64, slider=(4, 32), unit="patches")
    sharpness: float = param(16.0, low=0.0, high=1000.0, slider=(0.0, 64.0), step=1.0)
    encoder: str = param("")
    upload: str = param("")  # digest of a file that stands in for the sample
    data: bytes | None = field(default=None, repr=False, compare=False)  # that file

    @cached_property
    def pixels(self) -> Pixels:
        """The image as it is cut: (rows·p columns·p 3), the longer side having `grid` patches."""
        patch = max(4, SIDE // self.grid)
        if self.data is None:
            if self.upload:
                raise Refusal("the uploaded image isn't here: give its bytes as data")
            return drawn(self.sample, patch * self.grid)
        return decoded(self.data, self.grid, patch)

    @property
    def kind(self) -> str:
        """The format that suits it: "PNG" of flat colours, "JPEG" of a photograph."""
        return "PNG" if self.data is None else "JPEG"

    def encoded(self) -> tuple[str, bytes]:
        """Media type and bytes of the image as it is cut."""
        return encoded(self.pixels, self.kind)

    def make(self) -> QKV:
        """The QKV: q and k (4 n 16), v (4 n 3), float32 on the CPU.

        Raises:
            ValueError: an encoder reads the image, and has many layers.
        """
        if self.encoder:
            raise Refusal(
                "'{encoder}' has a QKV for each of its layers: "
                "engine.models.vision.load('{encoder}').view(image.pixels).layer(0)",
                encoder=self.encoder,
            )
        patch = max(4, SIDE // self.grid)
        rows, cols = (side // patch for side in self.pixels.shape[:2])
        place = z_order(rows, cols)
        at = place[:, 0] * cols + place[:, 1]
        raw = features(self.pixels, rows, cols)[at]
        q = queries(raw, self.sharpness).float()
        name = "upload" if self.data is not None else self.sample
        return QKV(
            q, q.clone(), raw[:, :3].float().expand(len(HEADS), -1, -1).contiguous(),
            units=squares(place), grid=Grid(rows, cols, place),
            tokens=tuple(f"({r + 1},{c + 1})" for r, c in place.tolist()),
            origin=Origin("image", f"{name} · {rows} × {cols}"),
        )  # fmt: skip


def encoded(pixels: Pixels, kind: str) -> tuple[str, bytes]:
    """Media type and bytes of an image in a format, "PNG" or "JPEG"."""
    import PIL.Image

    into = io.BytesIO()
    PIL.Image.fromarray((pixels * 255).round().astype(np.uint8)).save(into, kind)
    return f"image/{kind.lower()}", into.getvalue()


def decoded(data: bytes, grid: int, patch: int) -> Pixels:
    """A PNG or JPEG, turned as its camera says, on white where it is clear, scaled to patches.

    Raises:
        ValueError: it is none, it is damaged, or it is too large.
    """
    from PIL import Image, ImageOps

    if len(data) > LARGEST:
        raise Refusal("the image is larger than {mib} MiB", mib=LARGEST >> 20)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as file:
            if file.width * file.height > MOST_PIXELS:
                raise Refusal(
                    "the image has {width} × {height} pixels; at most {most:,} can be read",
                    width=file.width, height=file.height, most=MOST_PIXELS,
                )  # fmt: skip
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):  # which conversion would cut at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("RGBA")
    except Refusal:
        raise
    except Exception as error:  # a damaged file fails in many ways, which share no type
        raise Refusal("the file can't be read as a PNG or JPEG image") from error
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    longer = max(image.size)
    width, height = (patch * max(1, round(grid * side / longer)) for side in image.size)
    scaled = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(scaled, dtype=np.float64) / 255


def features(pixels: Pixels, rows: int, cols: int) -> Float[Tensor, "n 8"]:
    """What is measured on each patch, row by row.

    Mean red, green and blue; row and column; and of the gradient g of luminance (Rec. 709
    weights), the structure tensor's: its root mean square, and its direction with its coherence,
    (Σg_x² − Σg_y²)/Σ|g|² and 2Σg_x g_y/Σ|g|², near 0 where there is hardly an edge.
    """

    def means(x: np.ndarray) -> np.ndarray:
        """(H W f) -> (rows·cols f)."""
        high, wide = x.shape[0] // rows, x.shape[1] // cols
        return x.reshape(rows, high, cols, wide, -1).mean((1, 3)).reshape(rows * cols, -1)

    light = np.pad(pixels @ np.array([0.2126, 0.7152, 0.0722]), 1, mode="edge")
    down, right = light[2:, 1:-1] - light[:-2, 1:-1], light[1:-1, 2:] - light[1:-1, :-2]
    x, y = right / 2, down / 2
    square, straight, slanted = means(np.stack([x * x + y * y, x * x - y * y, 2 * x * y], -1)).T
    edge = np.stack([np.sqrt(square), *(a / (square + FAINT**2) for a in (straight, slanted))], 1)
    place = np.stack(np.divmod(np.arange(rows * cols), cols), 1)
    return torch.from_numpy(np.concatenate([means(pixels), place, edge], 1))


def queries(raw: Float[Tensor, "n 8"], sharpness: float) -> Float[Tensor, "4 n 16"]:
    """Of each head: q·k/√16 = sharpness · mean cos(angle − angle) over what it compares."""
    spread = raw.std(0, correction=0)
    z = torch.where(spread > 1e-9, (raw - raw.mean(0)) / spread.clamp_min(1e-9), 0)
    angle = z.clamp(-FAR, FAR) * (pi / 2 / FAR)
    turned = torch.stack([angle.cos(), angle.sin()], -1)  # (n 8 2)
    q = torch.zeros(len(HEADS), *turned.shape, dtype=raw.dtype)
    for head, part in enumerate(HEADS):
        count = part.stop - part.start
        q[head, :, part] = turned[:, part] * (sharpness * WIDTH**0.5 / count) ** 0.5
    return q.flatten(2)
