"""Features of VGG for perceptual losses, in plain torch; absent weights are an error.

K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition",
ICLR 2015. Order and names of layers are those of torchvision's published files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class WeightsUnavailable(ValueError):
    """The weights of a loss are absent: states what was asked, found, and the remedy."""

    def __init__(self, asked: str, found: str, remedy: str) -> None:
        self.asked, self.found, self.remedy = asked, found, remedy
        super().__init__(f"{asked}: {found}. {remedy}")


@dataclass(frozen=True)
class Kind:
    """One of the published networks.

    Args:
        file: name of the published file; its SHA-256 begins with what follows the dash.
        blocks: convolutions in each of the five blocks.
        batch_norm: whether each is followed by a batch norm.
    """

    file: str
    blocks: tuple[int, ...]
    batch_norm: bool


KINDS: Mapping[str, Kind] = {
    "vgg16_bn": Kind("vgg16_bn-6c64b313.pth", (2, 2, 3, 3, 3), True),
    "vgg19": Kind("vgg19-dcbb9e9d.pth", (2, 2, 4, 4, 4), False),
}
WIDTHS = (64, 128, 256, 512, 512)


def layers(kind: Kind) -> list[nn.Module]:
    """Return the feature layers in order, a pooling after each block."""
    found: list[nn.Module] = []
    inputs = 3
    for width, convolutions in zip(WIDTHS, kind.blocks, strict=True):
        for _ in range(convolutions):
            found.append(nn.Conv2d(inputs, width, 3, padding=1))
            found += [nn.BatchNorm2d(width)] if kind.batch_norm else []
            found.append(nn.ReLU())
            inputs = width
        found.append(nn.MaxPool2d(2))
    return found


class VggFeatures(nn.Module):
    """Outputs of chosen layers; frozen, always in evaluation mode.

    Args:
        kind: ``vgg16_bn`` or ``vgg19``.
        taps: indices of the layers whose outputs are returned, rising.
    """

    def __init__(self, kind: str, taps: Sequence[int]) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"network is {kind!r}: it is one of {', '.join(KINDS)}")
        self.kind, self.taps = kind, tuple(taps)
        self.features = nn.Sequential(*layers(KINDS[kind])[: self.taps[-1] + 1])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), False)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> VggFeatures:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the tapped maps of ``(N, 3, H, W)``, normalised by ImageNet's mean and deviation.

        The input is not rescaled: the weights were trained on [0, 1]. In torchvision ReLUs work
        in place, so a tap followed by a ReLU holds its output, except at the last layer that is
        computed; the maps here are the same.
        """
        x = (x - self.mean) / self.deviation  # type: ignore[operator]
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                found.append(x)
            elif index - 1 in self.taps and isinstance(layer, nn.ReLU):
                found[-1] = x
        return found

    def take(self, state: Mapping[str, Tensor]) -> VggFeatures:
        """Load the tapped layers of a published state; its classifier is left out."""
        own = {k: v for k, v in self.state_dict().items() if k.startswith("features.")}
        missing = sorted(own.keys() - state.keys())
        if missing:
            raise WeightsUnavailable(
                f"the weights {self.kind}",
                f"{len(missing)} of {len(own)} tensors are absent, the first is {missing[0]}",
                f"Give the state of torchvision's {KINDS[self.kind].file}",
            )
        self.load_state_dict({name: state[name] for name in own}, strict=True)
        return self


def usual_folders() -> tuple[Path, ...]:
    """Return ``$RSBENCH_WEIGHTS``, where set, and the folder that torch downloads to."""
    named = os.environ.get("RSBENCH_WEIGHTS")
    xdg = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    torch_home = Path(os.environ.get("TORCH_HOME") or Path(xdg) / "torch")
    found = [Path(named).expanduser()] if named else []
    return (*found, torch_home / "hub" / "checkpoints")


def vgg(kind: str, taps: Sequence[int], folders: Iterable[Path]) -> VggFeatures:
    """Return a network with the published weights, from the first folder that has the file.

    Raises:
        WeightsUnavailable: if no folder has it, or what is there is another file.
    """
    network = VggFeatures(kind, taps)
    name = KINDS[kind].file
    folders = tuple(folders)
    for folder in folders:
        path = folder / name
        if path.is_file():
            return network.take(_state(path))
    looked = ", ".join(str(folder) for folder in folders) or "no folder"
    raise WeightsUnavailable(
        f"the weights {kind} of a perceptual loss",
        f"{name} is not in {looked}",
        "Copy torchvision's file there, or ask for the loss without its perceptual part",
    )


def _state(path: Path) -> Mapping[str, Tensor]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    listed = path.stem.rpartition("-")[2]
    if not digest.startswith(listed):
        raise WeightsUnavailable(
            f"the weights in {path}",
            f"their SHA-256 begins with {digest[: len(listed)]}, not {listed}",
            "Fetch the published file again",
        )
    # The restricted reader: tensors only, no code runs.
    found: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return found
