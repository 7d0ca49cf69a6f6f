"""The procedural landscape: one world, seamless, the same every time."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srsat_dask.errors import BoundsError
from srsat_dask.sandbox import landscape_scenes
from srsat_dask.sandbox.camera import ground_metres, render
from srsat_dask.sandbox.landscape import BOX, LandscapeScene
from srsat_dask.sandbox.noise import uniform
from srsat_dask.sandbox.scenes import SceneProvider, thumbnail, to_pixels


@pytest.fixture(scope="module")
def scene() -> LandscapeScene:
    """Choose the first of the default places."""
    return landscape_scenes(1)[0]


def middle(scene: LandscapeScene, zoom: int) -> tuple[int, int]:
    """Tile in the middle of a scene."""
    x, y = to_pixels(scene.lon, scene.lat, zoom)
    return int(x) // 256, int(y) // 256


def test_scenes_are_the_same_every_time() -> None:
    """The same arguments give the same scenes, and fewer of them are a subset."""
    assert landscape_scenes(4) == landscape_scenes(4)
    assert set(landscape_scenes(2)) < set(landscape_scenes(4))
    assert not set(landscape_scenes(2)) & set(landscape_scenes(2, seed=1))


def test_scenes_look_like_the_service_s_own() -> None:
    """Ids, dates, clouds and places are of the kind the service lists."""
    west, south, east, north = BOX
    for scene in landscape_scenes(6):
        assert isinstance(scene, SceneProvider)
        assert re.fullmatch(r"\d{17}_AS1", scene.entity_id)
        assert scene.entity_id.startswith(f"{scene.acquired:%Y%m%d%H%M%S}")
        assert 2017 <= scene.acquired.year <= 2019
        assert scene.acquired.tzinfo is not None
        assert 0 <= scene.cloud_cover <= 100
        assert west < scene.bounds[0] < scene.bounds[2] < east
        assert south < scene.bounds[1] < scene.bounds[3] < north


def test_the_footprint_has_the_asked_size() -> None:
    """A turned square of a given side has the bounds and the area that follow from it."""
    scene = landscape_scenes(1, size_m=1000.0)[0]
    west, south, east, north = scene.bounds
    left, top = ground_metres(west, north)
    right, bottom = ground_metres(east, south)
    side = 1000 * (np.cos(np.radians(10)) + np.sin(np.radians(10)))
    assert (right - left, bottom - top) == pytest.approx((side, side), rel=1e-6)
    share = (thumbnail(scene)[..., 3] == 255).mean()
    assert share == pytest.approx(1000**2 / side**2, abs=0.02)


def test_the_corners_of_a_turned_footprint_are_transparent(scene: LandscapeScene) -> None:
    """The corners of the bounds lie outside, zero in all bands; the middle is opaque."""
    picture = thumbnail(scene)
    for row in (0, -1):
        for column in (0, -1):
            assert not picture[row, column].any()
    assert not picture[picture[..., 3] == 0].any()
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2, 3] == 255


@pytest.mark.parametrize("zoom", [15, 17, 18])
def test_tiles_meet_without_a_seam(zoom: int) -> None:
    """Four tiles rendered one by one equal one rendering of the four, bit for bit."""
    [scene] = landscape_scenes(1, size_m=6000.0)
    x, y = middle(scene, zoom)
    whole = render(zoom, x * 256, y * 256, width=512, height=512, seed=scene.seed)
    for row in (0, 1):
        for column in (0, 1):
            tile = scene.tile(zoom, x + column, y + row)
            assert tile is not None
            part = whole[row * 256 : row * 256 + 256, column * 256 : column * 256 + 256]
            assert tile[..., 3].all()
            np.testing.assert_array_equal(tile[..., :3], part)


@settings(max_examples=8, deadline=None)
@given(
    x=st.integers(0, 2**17 * 256 - 1).map(lambda x: x % 20_000 + 29_600_000),
    y=st.integers(13_100_000, 13_200_000),
    dx=st.integers(0, 40),
    dy=st.integers(0, 40),
)
def test_a_pixel_does_not_know_what_is_rendered_around_it(x: int, y: int, dx: int, dy: int) -> None:
    """A small window equals the same part of a larger one, wherever they lie."""
    large = render(17, x, y, width=90, height=80, seed=3)
    small = render(17, x + dx, y + dy, width=50, height=40, seed=3)
    np.testing.assert_array_equal(small, large[dy : dy + 40, dx : dx + 50])


@pytest.mark.parametrize("zoom", [12, 14, 15, 16, 17])
def test_zooms_show_the_same_world(scene: LandscapeScene, zoom: int) -> None:
    """A tile resembles the two-by-two average of the four below it."""
    x, y = middle(scene, zoom)
    parent = scene.tile(zoom, x, y)
    assert parent is not None
    fine = np.zeros((512, 512, 4), np.uint8)
    for row in (0, 1):
        for column in (0, 1):
            child = scene.tile(zoom + 1, 2 * x + column, 2 * y + row)
            if child is not None:
                fine[row * 256 : row * 256 + 256, column * 256 : column * 256 + 256] = child
    mean = fine.reshape(256, 2, 256, 2, 4).mean((1, 3))
    inside = (mean[..., 3] == 255) & (parent[..., 3] == 255)
    assert inside.sum() > 500
    assert np.corrcoef(mean[inside][:, :3].ravel(), parent[inside][:, :3].ravel())[0, 1] > 0.9


def test_there_is_fine_structure_to_recover(scene: LandscapeScene) -> None:
    """Averaging pixels by fours loses much of what is there, unlike in a smooth picture."""
    x, y = middle(scene, 17)
    tile = scene.tile(17, x, y)
    assert tile is not None
    grey = tile[..., :3].mean(2)
    blocks = grey.reshape(64, 4, 64, 4).mean((1, 3)).repeat(4, 0).repeat(4, 1)
    assert np.std(grey - blocks) > 8


def test_scenes_show_different_places() -> None:
    """No two default scenes have the same picture."""
    scenes = landscape_scenes(3)
    tiles = [scene.tile(17, *middle(scene, 17)) for scene in scenes]
    for k, tile in enumerate(tiles):
        assert tile is not None
        for other in tiles[:k]:
            assert not np.array_equal(tile, other)


def test_a_tile_off_the_footprint_is_none(scene: LandscapeScene) -> None:
    """Far away there is nothing at any zoom."""
    for zoom in (9, 14, 17):
        assert scene.tile(zoom, 3, 3) is None


@pytest.mark.parametrize("options", [{"count": 0}, {"size_m": 10.0}, {"size_m": 1e6}])
def test_arguments_out_of_range_are_refused(options: dict[str, float]) -> None:
    """The message names the argument."""
    with pytest.raises(BoundsError, match=next(iter(options))):
        landscape_scenes(**options)


def test_hashing_spreads_evenly() -> None:
    """Neighbouring cells, negative ones too, get unrelated numbers."""
    axis = np.arange(-200, 200)
    drawn = uniform(axis[None, :], axis[:, None], 5)
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert counts.std() / counts.mean() < 0.05
    for neighbour in (drawn[1:, :-1], drawn[:-1, 1:], drawn[1:, 1:]):
        assert abs(np.corrcoef(drawn[:-1, :-1].ravel(), neighbour.ravel())[0, 1]) < 0.02
