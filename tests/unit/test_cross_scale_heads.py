"""Heads over tokens: by hand, by loops and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cross_scale_toys import draw
from torch import Tensor, nn

from rsbench.core.errors import InputError
from rsbench_baselines.cross_scale import heads
from rsbench_baselines.cross_scale.heads import ClosedForm, Knn, Lda, Linear, LinearPixels, head
from rsbench_baselines.discriminant import discriminant, shrinkage


def one_hot(label: Tensor, classes: int) -> Tensor:
    """``(B, H, W)`` to ``(B, K, H, W)``."""
    return nn.functional.one_hot(label, classes).permute(0, 3, 1, 2).float()


def example(seed: int = 0, images: int = 6) -> tuple[list[Tensor], Tensor, Tensor]:
    """Tokens around the mean of their class, 4×4 with two pixels a side, a fifth not valid."""
    label = torch.randint(0, 3, (images, 4, 4), generator=torch.Generator().manual_seed(seed))
    means = 1.5 * draw(3, 5, seed=9)
    tokens = (means[label] + draw(images, 4, 4, 5, seed=seed + 1)).permute(0, 3, 1, 2)
    pixels = label.repeat_interleave(2, 1).repeat_interleave(2, 2)
    pixels[:, 0, 0] = (pixels[:, 0, 0] + 1) % 3  # a token of two classes
    valid = torch.rand(images, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) > 0.2
    return [tokens], one_hot(pixels, 3), valid


def fitted(made: ClosedForm, *batches: tuple[list[Tensor], Tensor, Tensor]) -> nn.Module:
    sums = made.statistics(*batches[0])
    for batch in batches[1:]:
        sums = made.merge(sums, made.statistics(*batch))
    made.solve(sums)
    assert isinstance(made, nn.Module)
    return made


def flat(tokens: Tensor, truth: Tensor, valid: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Valid pixels, each with the features of its token."""
    pixels = tokens.repeat_interleave(2, 2).repeat_interleave(2, 3).permute(0, 2, 3, 1)
    shown = valid[:, 0]
    return pixels[shown].double().numpy(), truth.argmax(1)[shown].numpy()


def test_logits_of_tokens_are_resized_between_their_centres() -> None:
    made = Linear(2, 3)
    maps = [draw(1, 2, 2, 2)]
    logits = made(maps, (4, 4)).detach()
    coarse = made.layer(maps[0]).detach()
    # Pixel centres at −1/4, 1/4, 3/4 and 5/4 of a token: weights 1, 3/4, 1/4 and 0 of the first.
    across = torch.tensor([1.0, 0.75, 0.25, 0.0])
    rows = torch.stack([across, 1 - across])
    expected = torch.einsum("bkij,ir,jc->bkrc", coarse, rows, rows)
    torch.testing.assert_close(logits, expected)
    assert sum(p.numel() for p in made.parameters()) == (2 + 1) * 3


def test_a_token_gives_each_of_its_pixels_logits() -> None:
    made = LinearPixels(1, 2, 2)
    with torch.no_grad():
        made.layer.weight.copy_(torch.arange(1.0, 9.0)[:, None, None, None])
    found = made([torch.tensor([[[[1.0, 10.0]]]])], (2, 4))
    # Outputs 1 to 4 are class 0 at the pixels (0,0), (0,1), (1,0), (1,1); 5 to 8 are class 1.
    assert found[0, 0].tolist() == [[1, 2, 10, 20], [3, 4, 30, 40]]
    assert found[0, 1].tolist() == [[5, 6, 50, 60], [7, 8, 70, 80]]
    assert sum(p.numel() for p in made.parameters()) == (1 + 1) * 2 * 4


def test_first_weights_are_small_and_biases_zero() -> None:
    torch.manual_seed(0)
    made = Linear(200, 20)
    assert float(made.layer.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert made.layer.bias is not None
    assert float(made.layer.bias.detach().abs().max()) == 0


def test_scikit_learn_has_the_same_discriminant() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    maps, truth, valid = example()
    x, y = flat(maps[0], truth, valid)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(x, y)
    made = Lda(5, 3)
    sums = made.statistics(maps, truth, valid)
    found = discriminant(sums["count"], sums["total"], sums["products"])
    made.bias.copy_(found[:, 0])
    made.weight.copy_(found[:, 1:-1])
    asked = draw(1, 5, 4, 4, seed=7)
    ours = made([asked], (4, 4)).softmax(1).permute(0, 2, 3, 1).reshape(-1, 3)
    wanted = theirs.predict_proba(asked.permute(0, 2, 3, 1).reshape(-1, 5).numpy())
    np.testing.assert_allclose(ours, wanted, atol=1e-4)


def test_scikit_learn_has_the_same_shrinkage() -> None:
    from sklearn.covariance import OAS

    for count in (6, 40):
        x = draw(count, 8, seed=count).double() * torch.arange(1.0, 9.0).double()
        theirs = OAS(assume_centered=True).fit(x.numpy())
        ours = shrinkage(x.T @ x / count, torch.tensor(float(count), dtype=torch.float64))
        assert float(ours) == pytest.approx(theirs.shrinkage_, rel=1e-9)


def test_a_class_without_a_labelled_pixel_is_never_answered() -> None:
    """Also for features near the origin, which is the mean of no feature."""
    labels = torch.arange(400).reshape(1, 20, 20) % 2
    truth = one_hot(labels, 3)
    tokens = draw(1, 6, 20, 20) * 0.3 + 2 + labels[:, None]
    made = head("lda", width=6, classes=3, pixels=1)
    made.solve(made.statistics([tokens], truth, torch.ones(1, 1, 20, 20).bool()))
    share = made([torch.linspace(-5, 5, 400).reshape(1, 1, 20, 20) * torch.ones(6, 1, 1)], (20, 20))
    assert float(share.softmax(1)[:, 2].max()) < 1e-9


def test_a_discriminant_is_shrunk_by_its_tokens_and_not_by_their_pixels() -> None:
    """With fewer tokens than features the plain covariance has no inverse."""
    tokens = draw(1, 16, 2, 2)
    truth = one_hot(torch.tensor([[[0, 1], [1, 0]]]), 2)
    coarse = fitted(Lda(16, 2), ([tokens], truth, torch.ones(1, 1, 2, 2, dtype=torch.bool)))
    fine = truth.repeat_interleave(4, 2).repeat_interleave(4, 3)
    same = fitted(Lda(16, 2), ([tokens], fine, torch.ones(1, 1, 8, 8, dtype=torch.bool)))
    torch.testing.assert_close(coarse.weight, same.weight)
    assert float(coarse.weight.abs().max()) < 100


@pytest.mark.parametrize("name", ["lda", "knn"])
def test_statistics_add_up_over_batches(name: str) -> None:
    maps, truth, valid = example()
    parts = [([maps[0][i : i + 2]], truth[i : i + 2], valid[i : i + 2]) for i in (0, 2, 4)]
    made = [head(name, width=5, classes=3, pixels=2) for _ in range(2)]
    whole, joined = fitted(made[0], (maps, truth, valid)), fitted(made[1], *parts)
    asked = [draw(2, 5, 3, 3, seed=4)]
    torch.testing.assert_close(whole(asked, (6, 6)), joined(asked, (6, 6)))


@pytest.mark.parametrize("name", ["lda", "knn"])
def test_what_was_fitted_is_in_the_state(name: str) -> None:
    made = fitted(head(name, width=5, classes=3, pixels=2), example())
    other = head(name, width=5, classes=3, pixels=2)
    other.load_state_dict(made.state_dict())
    asked = [draw(1, 5, 4, 4, seed=4)]
    assert torch.equal(made(asked, (8, 8)), other(asked, (8, 8)))
    assert list(made.parameters()) == []


@pytest.mark.parametrize("name", ["lda", "knn"])
def test_a_split_without_labels_is_refused(name: str) -> None:
    maps, truth, valid = example()
    made = head(name, width=5, classes=3, pixels=2)
    with pytest.raises(InputError, match="no valid pixel"):
        fitted(made, (maps, truth, torch.zeros_like(valid)))


@pytest.mark.parametrize("name", ["lda", "knn"])
def test_invalid_pixels_say_nothing(name: str) -> None:
    maps, truth, valid = example()
    wrong = torch.where(valid, truth, truth.roll(1, 1))
    made = [head(name, width=5, classes=3, pixels=2) for _ in range(2)]
    first, second = fitted(made[0], (maps, truth, valid)), fitted(made[1], (maps, wrong, valid))
    asked = [draw(1, 5, 4, 4, seed=4)]
    assert torch.equal(first(asked, (8, 8)), second(asked, (8, 8)))


def test_the_votes_of_the_nearest_tokens_by_loops() -> None:
    maps, truth, valid = example()
    made = fitted(Knn(5, 3), (maps, truth, valid))
    counts = nn.functional.avg_pool2d(truth * valid, 2)
    kept = counts.sum(1) > 0
    stored = maps[0].permute(0, 2, 3, 1)[kept].numpy()
    labels = counts.argmax(1)[kept].numpy()
    asked = draw(1, 5, 2, 2, seed=4)
    found = made([asked], (2, 2)).softmax(1)
    for r, c in np.ndindex(2, 2):
        x = asked[0, :, r, c].numpy()
        cosine = stored @ x / np.linalg.norm(stored, axis=1) / np.linalg.norm(x)
        near = labels[np.argsort(-cosine)[: heads.NEIGHBOURS]]
        shares = np.bincount(near, minlength=3) / heads.NEIGHBOURS
        np.testing.assert_allclose(found[0, :, r, c], shares, atol=1e-5)


def test_no_class_keeps_more_tokens_than_the_limit() -> None:
    """Of many batches a random part is kept, from early and late ones alike."""
    made = Knn(1, 2, stored=50)
    label = torch.zeros(1, 5, 5, dtype=torch.long)
    label[0, 0] = 1
    truth, valid = one_hot(label, 2), torch.ones(1, 1, 5, 5, dtype=torch.bool)
    sums: dict[str, Tensor] = {}
    for i in range(40):
        found = made.statistics([torch.ones(1, 1, 5, 5)], truth, valid)
        found["tokens"].fill_(i)  # the batch that a token is from
        sums = made.merge(sums, found) if sums else found
    assert torch.bincount(sums["label"]).tolist() == [50, 50]
    assert float(sums["tokens"].min()) <= 4
    assert float(sums["tokens"].max()) >= 35


def test_upernet_has_few_weights_and_takes_four_maps() -> None:
    for width, classes in ((64, 5), (384, 15)):
        with torch.device("meta"):
            made = head("upernet", width=width, classes=classes, pixels=4)
        assert 100_000 < sum(p.numel() for p in made.parameters()) <= 500_000
    made = head("upernet", width=8, classes=3, pixels=4)
    maps = [draw(2, 8, 6, 6, seed=i).requires_grad_() for i in range(4)]
    found = made(maps, (24, 24))
    assert found.shape == (2, 3, 24, 24)
    found.square().sum().backward()
    assert all(m.grad is not None and float(m.grad.abs().sum()) > 0 for m in maps)
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in made.parameters())
    with pytest.raises(InputError, match="4 maps"):
        made(maps[:1], (24, 24))


def test_no_head_depends_on_its_neighbours_in_a_batch() -> None:
    torch.manual_seed(0)
    for name in ("linear", "linear.p2", "upernet"):
        made = head(name, width=8, classes=3, pixels=2).eval()
        maps = [draw(3, 8, 6, 6, seed=i) for i in range(4)]
        alone = made([m[1:2] for m in maps], (12, 12))
        torch.testing.assert_close(made(maps, (12, 12))[1:2], alone, atol=1e-5, rtol=1e-5)


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(InputError, match="upernet"):
        head("mlp", width=8, classes=3, pixels=2)
