"""What all fusion networks share as models of the benchmark."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from torch import Tensor, nn

from rsbench import Frames, Given, InputError, Prediction, Stage, Want
from rsbench_baselines._checks import check_bands
from rsbench_baselines.fusion_images import SIGNED, Domain, Scene, Turn
from rsbench_baselines.released import LoadsReleased

N = TypeVar("N", bound=nn.Module)


class Banded(Protocol):
    """A size that states the number of bands of every image."""

    @property
    def bands(self) -> int:
        """Number of bands."""


S = TypeVar("S", bound=Banded)


class FusionModel(LoadsReleased, Generic[N, S]):
    """A fusion network with its size and its one stage of training.

    A subclass states how images enter the network, and implements :meth:`estimate`,
    :meth:`losses` and :meth:`LoadsReleased.released`.

    Attributes:
        name: of the card.
        references: number of reference dates.
        domain: lowest and highest value that the network is given.
        turn: how training samples are turned or mirrored; None leaves them as they are.
    """

    name: ClassVar[str]
    references: ClassVar[int] = 1
    domain: ClassVar[Domain] = SIGNED
    turn: ClassVar[Turn | None] = None

    def __init__(self, network: N, size: S, stage: Stage) -> None:
        self._network = network
        self._size = size
        self._stage = stage

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """Return the one stage of training."""
        return (self._stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Predict the fine image of the target date for every sample and member."""
        self._network.eval()
        scene = self._scene(given, want)
        return scene.answer(self.estimate(scene, want), want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the terms of the loss; ``total`` is minimised. See :meth:`losses`."""
        scene = self._scene(given, want)
        clean, valid = scene.target(truth, want)
        turn = type(self).turn
        if turn is not None and self._network.training:
            scene, clean, valid = scene.turned(clean, valid, turn)
        return self.losses(scene, clean, valid)

    @abstractmethod
    def estimate(self, scene: Scene, want: Want) -> Tensor:
        """Return ``(N, C, H, W)``, or ``(N·members, C, H, W)`` if members differ, in the domain."""

    @abstractmethod
    def losses(self, scene: Scene, clean: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
        """Return the terms of the loss, ``total`` among them.

        Args:
            scene: the inputs.
            clean: the truth ``(N, C, H, W)`` in the domain; the coarse target where not valid.
            valid: where the truth is known, the same shape, bool.
        """

    def _scene(self, given: Given, want: Want) -> Scene:
        check_bands(self.name, self._size.bands, want)
        if want.times.shape[1] != 1:
            raise InputError(
                f"{want.times.shape[1]} target dates of {self.name}",
                "it predicts one date (T) per call",
                "Call it once for each date",
            )
        return Scene.of(given, want, references=self.references, domain=self.domain)
