from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.transform
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torchvision.transforms import v2

from lungdet.config.nodes import check_nodes
from lungdet.data.counter_random import sample_keys
from lungdet.data.image_augment import (
    ImageAugmentation,
    JpegCompression,
    QuarterTurns,
    RandomGamma,
    RotateWithEdges,
    rotate_with_edges,
    sample_seeds,
)
from lungdet.errors import ConfigError, ShapeError

CONF = Path(__file__).parents[2] / "conf"
PRESETS = sorted(path.stem for path in (CONF / "data/augment2d").glob("*.yaml"))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def smooth(channels: int, height: int, width: int) -> Tensor:
    """A bright ellipse on a slope: smooth, so that interpolations agree."""
    y, x = np.mgrid[:height, :width]
    blob = 120 * np.exp(-(((y - height * 0.4) / 12) ** 2) - ((x - width * 0.6) / 20) ** 2)
    plane = np.clip(blob + 0.5 * x + 0.3 * y, 0, 255).astype(np.uint8)
    return torch.from_numpy(np.stack([plane] * channels))


def strong() -> ImageAugmentation:
    return ImageAugmentation(
        {
            "flip": v2.RandomHorizontalFlip(),
            "rotate": RotateWithEdges(20),
            "color": v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
            "noise": v2.RandomApply([v2.GaussianBlur(3)], p=0.5),
        }
    )


def seeds_of(n: int, *, seed: int = 0, epoch: int = 0) -> Tensor:
    return sample_seeds(np.arange(n), seed=seed, epoch=epoch)


def test_seeds_are_the_keys_of_the_house_and_differ_in_every_part() -> None:
    draws = np.arange(50)
    variants = [sample_seeds(draws, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(torch.cat(variants).tolist())) == 200
    expected = sample_keys(draws, seed=1, epoch=0)
    assert np.array_equal(variants[2].numpy().view(np.uint64), expected)


def test_an_image_comes_out_the_same_alone_in_any_batch_and_whatever_was_drawn_before() -> None:
    images, seeds, augmentation = noise(6, 3, 32, 32), seeds_of(6), strong()
    together = augmentation.apply(images, seeds)
    torch.manual_seed(99)
    torch.randn(7)
    backwards = augmentation.apply(images.flip(0), seeds.flip(0)).flip(0)
    alone = torch.stack(
        [augmentation(image, seed=int(seed)) for image, seed in zip(images, seeds.tolist(), strict=True)]
    )
    assert torch.equal(together, backwards)
    assert torch.equal(together, alone)
    assert not torch.equal(together, augmentation.apply(images, seeds_of(6, epoch=1)))


def test_equal_images_are_changed_differently_and_the_given_ones_not_at_all() -> None:
    images = noise(1, 3, 24, 24).repeat(8, 1, 1, 1)
    before = images.clone()
    augmented = strong().apply(images, seeds_of(8))
    assert torch.equal(images, before)
    assert len({image.numpy().tobytes() for image in augmented}) == 8


def test_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    torch.randn(1)  # leaves a second normal number cached in the generator's state
    state = torch.get_rng_state()
    strong().apply(noise(4, 3, 16, 16), seeds_of(4))
    assert torch.equal(torch.get_rng_state(), state)

    def fails(image: Tensor) -> Tensor:
        torch.rand(3)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ImageAugmentation([fails]).apply(noise(1, 1, 8, 8), seeds_of(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_it_survives_the_trip_to_a_loader_process() -> None:
    images, seeds, augmentation = noise(3, 3, 16, 16), seeds_of(3), strong()
    assert torch.equal(pickle.loads(pickle.dumps(augmentation)).apply(images, seeds), augmentation.apply(images, seeds))


def test_nulled_transforms_are_left_out_and_none_at_all_copies() -> None:
    augmentation = ImageAugmentation({"gamma": None, "quarter": QuarterTurns()})
    assert list(augmentation.transforms) == ["quarter"]
    images = noise(2, 1, 5, 7)
    copied = ImageAugmentation({}).apply(images, seeds_of(2))
    assert torch.equal(copied, images)
    assert copied.data_ptr() != images.data_ptr()


def test_sizes_may_change_if_all_agree() -> None:
    images = noise(3, 3, 20, 30)
    assert ImageAugmentation([v2.Resize([8, 9])]).apply(images, seeds_of(3)).shape == (3, 3, 8, 9)
    with pytest.raises(ConfigError, match=r"come out as \d+ x \d+ and .*crop of fixed size"):
        ImageAugmentation([v2.RandomResize(8, 19)]).apply(images, seeds_of(3))


@pytest.mark.parametrize("transform", [v2.ToDtype(torch.float32, scale=True), v2.Grayscale(), lambda image: image[0]])
def test_a_transform_that_changes_dtype_or_channels_is_refused_by_name(transform: Any) -> None:
    with pytest.raises(ConfigError, match=r"data\.augment\.transforms\.odd: made .* of torch\.uint8 \[3, 8, 8\]"):
        ImageAugmentation({"fine": QuarterTurns(), "odd": transform}).apply(noise(1, 3, 8, 8), seeds_of(1))


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.augment\.transforms\.a=3 is not a transform"):
        ImageAugmentation({"a": 3})  # type: ignore[dict-item]


@pytest.mark.parametrize("angle", [-30.0, -5.0, 5.0, 45.0, 120.0])
@pytest.mark.parametrize("size", [(60, 60), (48, 90)])
def test_rotation_is_that_of_scikit_image_with_edges(angle: float, size: tuple[int, int]) -> None:
    image = smooth(1, *size)
    reference: Any = skimage.transform.rotate
    expected = reference(image[0].numpy(), angle, mode="edge", order=1, preserve_range=True)
    difference = np.abs(rotate_with_edges(image, angle)[0].numpy() - expected)
    assert difference.max() <= 1.0


def test_rotation_invents_no_dark_corner() -> None:
    bright = torch.full((3, 40, 40), 200, dtype=torch.uint8)
    assert torch.equal(rotate_with_edges(bright, 33.0), bright)
    assert torch.equal(rotate_with_edges(noise(1, 9, 14), 0.0), noise(1, 9, 14))


def test_rotation_angles_are_uniform_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def remember(image: Tensor, angle_deg: float) -> Tensor:
        seen.append(angle_deg)
        return image

    monkeypatch.setattr("lungdet.data.image_augment.rotate_with_edges", remember)
    ImageAugmentation([RotateWithEdges(5)]).apply(noise(500, 1, 2, 2), seeds_of(500))
    counts, _ = np.histogram(seen, bins=5, range=(-5, 5))
    assert counts.sum() == 500
    assert counts.min() > 65  # 100 expected, standard deviation 9


def test_flip_and_quarter_turns_give_the_eight_symmetries() -> None:
    square = noise(1, 3, 6, 6)
    augmentation = ImageAugmentation({"flip": v2.RandomHorizontalFlip(), "turn": QuarterTurns()})
    made = {image.numpy().tobytes() for image in augmentation.apply(square.repeat(100, 1, 1, 1), seeds_of(100))}
    views = [np.rot90(plane, k, axes=(1, 2)) for plane in (square[0].numpy(), square[0].numpy()[:, :, ::-1])
             for k in range(4)]  # fmt: skip
    assert made == {np.ascontiguousarray(view).tobytes() for view in views}


def test_quarter_turns_need_a_square() -> None:
    with pytest.raises(ShapeError, match="these are 4 high and 6 wide"):
        QuarterTurns()(noise(1, 4, 6))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.7])
def test_gamma_is_that_of_torchvision(gamma: float) -> None:
    image = noise(3, 16, 16)
    expected = v2.functional.adjust_gamma(image.double() / 255, gamma) * 255
    assert torch.equal(RandomGamma(gamma, gamma)(image), expected.round().to(torch.uint8))


def test_gamma_is_as_often_lighter_as_darker() -> None:
    middle = torch.full((400, 1, 2, 2), 128, dtype=torch.uint8)
    out = ImageAugmentation([RandomGamma(0.5, 2.0)]).apply(middle, seeds_of(400))[:, 0, 0, 0]
    assert 150 < int((out > 128).sum()) < 250
    assert 170 < int(out.max()) <= round(255 * (128 / 255) ** 0.5)
    assert round(255 * (128 / 255) ** 2) <= int(out.min()) < 72


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RotateWithEdges(-1), "degrees=-1 must be from 0 to 180"),
        (lambda: RandomGamma(0, 1), "must be 0 < low <= high"),
        (lambda: RandomGamma(1.5, 1), "must be 0 < low <= high"),
    ],
)
def test_values_out_of_range_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make()


def composed(preset: str, folder: Path, *overrides: str) -> DictConfig:
    """The preset as a root with 40 x 40 pixel images gets it."""
    shutil.copytree(CONF / "data/augment2d", folder / "data/augment2d")
    (folder / "root.yaml").write_text(
        f"defaults: [{{data/augment2d: {preset}}}, _self_]\ndata: {{store: {{size_hw: [40, 40]}}}}\n"
    )
    with initialize_config_dir(str(folder), version_base=None):
        return compose("root", list(overrides))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build_and_augment(preset: str, tmp_path: Path) -> None:
    cfg = composed(preset, tmp_path)
    if preset == "none":
        assert cfg.data.augment is None
        return
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert list(check_nodes("", plain, {})) == []
    images = noise(8, 1 if preset.startswith("chest_xray") else 3, 40, 40)
    augmented = instantiate(cfg.data.augment).apply(images, seeds_of(8))
    assert augmented.shape == images.shape
    assert sum(not torch.equal(a, b) for a, b in zip(augmented, images, strict=True)) >= 6


def test_a_transform_is_nulled_by_its_name(tmp_path: Path) -> None:
    cfg = composed("chest_xray", tmp_path, "data.augment.transforms.rotate=null")
    assert list(instantiate(cfg.data.augment).transforms) == ["flip"]


@pytest.mark.parametrize("channels", [1, 3])
def test_compression_is_pillows_at_a_drawn_quality(channels: int) -> None:
    image = noise(1, channels, 24, 32)[0]
    (low,) = ImageAugmentation([JpegCompression(5, 5)]).apply(image[None], seeds_of(1))
    (high,) = ImageAugmentation([JpegCompression(100, 100)]).apply(image[None], seeds_of(1))
    assert low.shape == high.shape == image.shape
    lost = [(made.float() - image.float()).abs().mean() for made in (low, high)]
    assert lost[0] > 1.3 * lost[1] > 0
    many = ImageAugmentation([JpegCompression(5, 95)]).apply(image.expand(20, -1, -1, -1), seeds_of(20))
    assert len({made.numpy().tobytes() for made in many}) > 10
    with pytest.raises(ConfigError, match="low=50, high=20 must be 1 <= low <= high <= 100"):
        JpegCompression(50, 20)
