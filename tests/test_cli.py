"""The command line: what it prints and where, what it writes, and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import urllib3
import zarr
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_validate

from srsat_dask import cli
from srsat_dask.harvesting.scene import TileError
from srsat_dask.harvesting.tellus import TellusSource
from srsat_dask.model.file import ModelFile, save_model
from srsat_dask.model.inference import upscale_image
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.ledger import done_shards, state_counts
from srsat_dask.mosaic.store import scenes_of
from srsat_dask.sandbox import Sandbox, landscape_scenes

MakeScene = Callable[..., MosaicScene]
MakeModel = Callable[..., Any]
Srsat = Callable[..., "Ended"]

JAPAN = ("--bbox", "138.0", "35.2", "140.5", "37.1")
SEA = ("--bbox", "-30", "10", "-29", "11")
THREADS = ("--cluster", "threads")


class Ended:
    """How a command ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def document(self) -> Any:
        """Return standard output as one strict JSON document."""
        assert self.status == 0, self.err
        return strict(self.out)


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def srsat(capfd: pytest.CaptureFixture[str]) -> Srsat:
    """Run a command in this process; its output is what reaches the file descriptors."""

    def run(*arguments: Any) -> Ended:
        capfd.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as left:  # argparse
            status = int(str(left.code))
        return Ended(status, *capfd.readouterr())

    return run


def process(*arguments: Any, **environment: str) -> Ended:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "srsat_dask.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=120,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def assert_refused(ended: Ended, said: str) -> None:
    """Check for exit status 2, and one line on stderr that says it."""
    assert ended.status == 2, ended.err
    assert ended.out == ""
    assert ended.err.startswith("srsat: error: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    assert re.search(said, ended.err), ended.err


@pytest.fixture
def model(tmp_path: Path, make_model: MakeModel) -> Path:
    """Write a small model for ×4."""
    path = tmp_path / "model.keras"
    save_model(make_model(4, filters=(4,), kernels=(5, 3)), path)
    return path


def write_raster(path: Path, image: np.ndarray, **options: Any) -> Path:
    profile = {
        "driver": "GTiff",
        "count": image.shape[0],
        "height": image.shape[1],
        "width": image.shape[2],
        "dtype": image.dtype,
        "crs": "EPSG:32654",
        "transform": from_origin(400_000, 3_950_000, 0.5, 0.5),
        **options,
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(image)
    return path


@pytest.fixture
def raster(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Write a raster of 40 × 56 px."""
    image = rng.integers(0, 256, (3, 40, 56), dtype=np.uint8)
    return write_raster(tmp_path / "scene.tif", image)


def everything_in(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Loading


def test_help_loads_nothing_heavy() -> None:
    """Neither the import nor any ``--help`` loads Dask, xarray, Zarr or TensorFlow."""
    code = """
import sys
import srsat_dask
from srsat_dask import cli
for command in ([], ["harvest"], ["train"], ["evaluate"], ["upscale"], ["export"], ["demo"]):
    try:
        cli.main([*command, "--help"])
    except SystemExit as left:
        assert left.code == 0
heavy = {"tensorflow", "keras", "openvino", "dask", "distributed", "xarray", "zarr", "rasterio",
         "matplotlib", "skimage", "numpy"}
sys.exit(" ".join(sorted(heavy & set(sys.modules))) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("demo", "sandbox", "scenes", "harvest", "status", "verify", "train"):
        assert re.search(rf"^ +{command} ", done.stdout, re.MULTILINE)
    assert "--max-tiles" in done.stdout


def test_help_is_there_at_once() -> None:
    """CPU time, not wall time: a busy machine is no failure."""
    before = os.times()
    ended = process("--help")
    after = os.times()
    assert ended.status == 0
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 1.0


def test_bad_arguments_end_with_status_2(srsat: Srsat) -> None:
    """No command, an unknown one, no box, or an option that is no number."""
    for arguments, said in [
        ((), "COMMAND"),
        (("conquer",), "invalid choice: 'conquer'"),
        (("train", "m.zarr", "--model", "m.keras", "--filters", "64,many"), "'64,many' is not a"),
        (("train", "m.zarr", "--model", "m.keras", "--kernels", ""), "'' is not a list of whole"),
        (("harvest", "m.zarr"), "give --bbox W S E N or --scene ID"),
        (("harvest", "m.zarr", *JAPAN, "--scene", "A"), "not allowed with argument --bbox"),
        (("scenes", "--bbox", "138", "35"), "expected 4 arguments"),
        (("demo", "--scale", "5"), "invalid choice: 5"),
    ]:
        ended = srsat(*arguments)
        assert ended.status == 2
        assert said in ended.err
        assert "Traceback" not in ended.err


# What cannot be done is refused in one line


def test_token_that_is_missing_or_unknown(
    srsat: Srsat, landscape: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable to set, never the token."""
    monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "not-this-one")
    ended = srsat("scenes", *JAPAN)
    assert_refused(ended, "refused the token .*SRSAT_TELLUS_TOKEN")
    assert "not-this-one" not in ended.err
    monkeypatch.delenv("SRSAT_TELLUS_TOKEN")
    assert_refused(srsat("scenes", *JAPAN), "no Tellus token: set .* SRSAT_TELLUS_TOKEN")


def test_token_that_cannot_be_sent_is_not_shown(
    srsat: Srsat, landscape: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line break or a letter that no header may hold leaks nothing."""
    for token in ("secret\nsecret", "sécret→secret", "secret\rsecret"):
        monkeypatch.setenv("SRSAT_TELLUS_TOKEN", token)
        ended = srsat("scenes", *JAPAN)
        assert_refused(ended, "holds a character that no HTTP header may hold")
        assert "secret" not in ended.err
        assert "sécret" not in ended.err


def test_service_that_does_not_answer(srsat: Srsat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port and an address that is none are told with what was asked for."""
    monkeypatch.setattr(urllib3.Retry, "sleep", lambda *_: None)
    monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "any")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("SRSAT_TELLUS_URL", f"http://127.0.0.1:{port}")
    assert_refused(srsat("scenes", *JAPAN), f"no answer from http://127.0.0.1:{port}/.*refused")
    monkeypatch.setenv("SRSAT_TELLUS_URL", "tellus")
    assert_refused(srsat("scenes", *JAPAN), "tellus/.* is no address: it must begin with https://")


def test_boxes_zooms_and_sources_out_of_range(
    srsat: Srsat, landscape: Sandbox, tmp_path: Path
) -> None:
    """The value and the range are in the message, and no store is made."""
    store = tmp_path / "m.zarr"
    wrong = ("--bbox", "140.5", "35.2", "138.0", "37.1")
    assert_refused(srsat("scenes", *wrong), r"west 140\.5 must be less than east 138\.0")
    assert_refused(srsat("harvest", store, *wrong), r"west 140\.5 must be less than east 138\.0")
    assert_refused(srsat("scenes", "--bbox", "1", "2", "3", "95"), "latitudes must lie in -90..90")
    assert_refused(srsat("harvest", store, *JAPAN, "--zoom", 25), "zoom 25 .* choose 9 to 18")
    assert_refused(srsat("scenes", *SEA), r"no scenes .* in the box \(-30\.0, 10\.0, -29\.0, 11\.0")
    assert_refused(srsat("harvest", store, *SEA), "no scenes .* in the box")
    assert_refused(srsat("harvest", store, "--scene", "nothing"), "no scene nothing")
    assert_refused(srsat("harvest", store, *JAPAN, "--sample", 9), "cannot draw 9 of 2 scenes")
    assert_refused(srsat("harvest", store, *JAPAN, "--max-tiles", 0), "0 must be at least 1")
    assert_refused(srsat("scenes", *JAPAN, "--source", "atlas"), "atlas")
    assert not store.exists()


def test_cluster_profiles_that_are_none(
    srsat: Srsat, landscape: Sandbox, tmp_path: Path, raster: Path, model: Path
) -> None:
    """An unknown name, a missing file and a silent scheduler leave no store behind."""
    store = tmp_path / "m.zarr"
    assert_last_line(srsat("harvest", store, *JAPAN, "--cluster", "moon"), "profile 'moon'")
    assert_last_line(
        srsat("upscale", raster, store, "--model", model, "--cluster", tmp_path / "c.yaml"),
        "c.yaml does not exist",
    )
    assert not store.exists()


@pytest.mark.parametrize(("option", "value"), [("--rate", -5), ("--concurrency", 0)])
def test_pace_that_no_harvest_can_keep(
    srsat: Srsat, raster: Path, tmp_path: Path, option: str, value: int
) -> None:
    """Refused by the dry run too, before it says how long it would take."""
    ended = srsat(
        "harvest",
        tmp_path / "m.zarr",
        *JAPAN,
        "--source",
        raster,
        option,
        value,
        "--dry-run",
    )
    assert_refused(ended, f"{option[2:]} {value}")


def assert_last_line(ended: Ended, said: str) -> None:
    """Check for exit status 2 and one line of error, below what was planned."""
    assert ended.status == 2, ended.err
    *plan, last = ended.err.splitlines()
    assert not any("error" in line or "Traceback" in line for line in plan)
    assert_refused(Ended(2, ended.out, f"{last}\n"), said)


@pytest.mark.parametrize("command", ["status", "verify", "upscale", "export", "train", "evaluate"])
def test_stores_that_are_none_of_ours(
    srsat: Srsat, tmp_path: Path, model: Path, command: str
) -> None:
    """A missing path, a plain folder and a foreign Zarr store are refused by every command."""
    (tmp_path / "folder").mkdir()
    zarr.create_group(tmp_path / "foreign.zarr")
    after: dict[str, tuple[Any, ...]] = {
        "upscale": (tmp_path / "out.zarr", "--model", model, *THREADS),
        "export": (tmp_path / "out.tif",),
        "train": ("--model", tmp_path / "out.keras", *THREADS),
        "evaluate": ("--model", model),
    }
    before = everything_in(tmp_path)
    for name, said in [
        ("nothing.zarr", "no Zarr group at|does not exist"),
        (
            "folder",
            "no Zarr group at|is a folder, but not a mosaic store|is a folder with no image in it",
        ),
        ("foreign.zarr", "is a Zarr store, but not a mosaic of srsat_dask"),
    ]:
        ended = srsat(command, tmp_path / name, *after.get(command, ()))
        lines = ended.err.splitlines()
        assert_refused(Ended(ended.status, ended.out, f"{lines[-1]}\n"), said)
        assert all(line.startswith("dashboard ") for line in lines[:-1])
    assert everything_in(tmp_path) == before


def test_rasters_that_will_not_do(
    srsat: Srsat, tmp_path: Path, model: Path, raster: Path, rng: np.random.Generator
) -> None:
    """Without a CRS, with too few bands, of another type, or too small."""
    image = rng.integers(0, 256, (3, 40, 40), dtype=np.uint8)
    with pytest.warns(NotGeoreferencedWarning):
        bare = write_raster(tmp_path / "bare.tif", image, crs=None, transform=None)
    two = write_raster(tmp_path / "two.tif", image[:2])
    small = write_raster(tmp_path / "small.tif", image[:, :1])
    deep = write_raster(tmp_path / "deep.tif", image.astype(np.int16))
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    for path, said in [
        (bare, "bare.tif has no CRS: give it one"),
        (two, r"two.tif has 2 bands: three are needed"),
        (small, r"small has 1 × 40 px, fewer than the model's halo of 3 px"),
        (deep, "deep.tif is int16: uint8, uint16, float32, float64 is needed"),
        (text, "text.tif is not a raster that GDAL reads"),
    ]:
        ended = srsat("upscale", path, tmp_path / "o.zarr", "--model", model, *THREADS)
        assert_refused(ended, said)
    assert_refused(srsat("evaluate", two, "--model", model), "two.tif has 2 band")
    assert_refused(srsat("evaluate", small, "--model", model), "small has 1 × 40 px: too small")
    assert not (tmp_path / "o.zarr").exists()


def test_models_that_will_not_do(srsat: Srsat, tmp_path: Path, model: Path, raster: Path) -> None:
    """Missing, cut short, unknown by name, or made for another scale."""
    whole = model.read_bytes()
    short = tmp_path / "short.keras"
    short.write_bytes(whole[: len(whole) // 2])
    for name, said in [
        (tmp_path / "none.keras", "cannot read the model file .*none.keras"),
        (short, "keras|zip|archive"),
        ("srcnn-x9", "no model is called 'srcnn-x9'"),
    ]:
        assert_refused(srsat("evaluate", raster, "--model", name), said)
        ended = srsat("upscale", raster, tmp_path / "o.zarr", "--model", name, *THREADS)
        assert_refused(ended, said)
    ended = srsat("evaluate", raster, "--model", model, "--scale", 2)
    assert_refused(ended, "scale 2 is a scale the model was not made for; it was made for 4")


def test_bundled_model_of_the_scale_is_the_default(
    srsat: Srsat, tmp_path: Path, raster: Path
) -> None:
    """Without ``--model`` the bundled one of the scale computes, ×4 when nothing is said."""
    for options, name in [((), "srcnn-x4"), (("--scale", 2), "srcnn-x2")]:
        ended = srsat("upscale", raster, tmp_path / "o.tif", "--dry-run", *options, *THREADS)
        assert name in ended.err
        assert ended.status == 0


def test_interrupted_command_promises_only_what_it_keeps(
    srsat: Srsat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Harvest, training and upscaling go on from where they were; the others start anew."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    for patched, arguments, said in [
        (
            "srsat_dask.training.train",
            ("train", "m.zarr", "--model", "m.keras", *THREADS),
            "; the same command again goes on from here",
        ),
        (
            "srsat_dask.training.train",
            ("train", "m.zarr", "--model", "m.keras", "--fresh", *THREADS),
            "",
        ),
        ("srsat_dask.evaluation.report.evaluate", ("evaluate", "m.zarr", "--model", "m"), ""),
        ("srsat_dask.demo.run_demo", ("demo",), ""),
        (
            "srsat_dask.upscaling.plan.plan_upscale",
            ("upscale", "m.zarr", "o.zarr"),
            "; the same command again goes on from here",
        ),
    ]:
        monkeypatch.setattr(patched, lambda *_, **__: interrupt())
        ended = srsat(*arguments)
        assert (ended.status, ended.out) == (130, "")
        assert ended.err.splitlines()[-1] == f"srsat: interrupted{said}"


def test_engines_and_outputs_that_will_not_do(
    srsat: Srsat, tmp_path: Path, model: Path, raster: Path
) -> None:
    """Refused before anything is computed."""
    given = ("--model", model)
    before = everything_in(tmp_path)
    for arguments, said in [
        (("upscale", raster, tmp_path / "o.zarr", *given, "--engine", "abacus"), "'abacus' is unk"),
        (("upscale", raster, tmp_path / "o.jpg", *given), r"o\.jpg must end in \.zarr or \.tif"),
        (("upscale", raster, tmp_path / "no" / "o.tif", *given), "no is not a folder: make it"),
        (("evaluate", raster, *given, "--engine", "abacus"), "engine 'abacus' is unknown"),
        (("evaluate", raster, *given, "--json", tmp_path / "no" / "r.json"), "no is not a folder"),
        (("evaluate", raster, *given, "--figure", tmp_path / "no" / "f.png"), "no is not a folder"),
        (("evaluate", raster, *given, "--html", tmp_path / "no" / "f.html"), "no is not a folder"),
        (("evaluate", raster, *given, "--group", "urban"), "neither NAME=CLASS,CLASS nor"),
        (("export", raster, tmp_path / "o.tif"), "is a raster already"),
    ]:
        assert_refused(srsat(*arguments), said)
    assert everything_in(tmp_path) == before


def test_error_of_the_system_is_one_line(
    srsat: Srsat, tmp_path: Path, model: Path, raster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up is the machine's matter, not a traceback."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "report.json"))

    monkeypatch.setattr(Path, "write_text", full)
    ended = srsat("evaluate", raster, "--model", model, "--json", tmp_path / "report.json")
    assert (ended.status, ended.out) == (2, "")
    last = ended.err.splitlines()[-1]
    assert last == f"srsat: error: No space left on device: {tmp_path / 'report.json'}"


# What can be done


def test_scenes_as_json_and_as_a_table(srsat: Srsat, landscape: Sandbox) -> None:
    """Both show the catalogue of the service."""
    found = srsat("scenes", *JAPAN, "--json").document()
    served = {scene.entity_id: scene for scene in landscape.scenes}
    assert sorted(scene["id"] for scene in found) == sorted(served)
    for scene in found:
        assert scene["bounds"] == pytest.approx(served[scene["id"]].bounds)
        assert scene["acquired"].startswith(f"{served[scene['id']].acquired:%Y-%m-%d}")
    table = srsat("scenes", *JAPAN)
    assert table.status == 0
    assert all(name in table.out for name in served)


def test_dry_runs_write_nothing(
    srsat: Srsat, landscape: Sandbox, tmp_path: Path, model: Path, raster: Path
) -> None:
    """They say how much there is to do, and ask the service for no tile."""
    before = everything_in(tmp_path)
    ended = srsat("harvest", tmp_path / "m.zarr", *JAPAN, "--zoom", 16, "--dry-run")
    assert (ended.status, ended.out) == (0, "")
    assert re.match(r"2 scene\(s\), \d+ tiles in 2 shards\b", ended.err)
    assert "2 shards to do" in ended.err
    assert set(landscape.log.paths) == {"/api/v1/asnaro1/scene"}
    for output in ("o.zarr", "o.tif"):
        ended = srsat("upscale", raster, tmp_path / output, "--model", model, "--dry-run")
        assert (ended.status, ended.out) == (0, "")
        assert ended.err.startswith(f"×4 by {model}: 0.0 Mpx in 1 shards of 2048 px, halo 3 px")
    assert everything_in(tmp_path) == before


def test_harvest_status_and_verify(
    srsat: Srsat, landscape: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tile that fails is listed and ends in status 1; the same command again mends it."""
    store = tmp_path / "m.zarr"
    name = sorted(scene.entity_id for scene in landscape.scenes)[0]
    command = ("harvest", store, "--scene", name, "--zoom", 16, *THREADS)
    fetch = TellusSource.fetch
    failed: list[tuple[int, int]] = []

    def failing(self: TellusSource, scene: str, zoom: int, x: int, y: int) -> object:
        if not failed:
            failed.append((x, y))
            raise TileError("status 500")
        return fetch(self, scene, zoom, x, y)

    with monkeypatch.context() as patch:
        patch.setattr(TellusSource, "fetch", failing)
        ended = srsat(*command)
    assert (ended.status, ended.out) == (1, "")
    ((x, y),) = failed
    assert ended.err.splitlines()[-1] == f"failed: {name} 16/{x}/{y}: status 500"

    report = srsat("status", store, "--json").document()
    (scene,) = report["scenes"]
    assert scene["name"] == name
    assert scene["tiles"] == state_counts(scenes_of(store)[0])
    assert scene["tiles"]["failed"] == 1
    assert scene["shards"] == {"total": 1, "done": 0}

    assert srsat(*command).status == 0
    (scene,) = srsat("status", store, "--json").document()["scenes"]
    assert (scene["tiles"]["failed"], scene["shards"]) == (0, {"total": 1, "done": 1})
    table = srsat("status", store).out
    assert name in table
    assert "1 of 1" in table

    asked = landscape.log.total
    again = srsat(*command)
    assert again.status == 0
    assert "0 tiles" in again.err
    assert landscape.log.total == asked + 1, "one search, and no tile"


def test_verify_finds_a_shard_that_was_altered(srsat: Srsat, make_scene: MakeScene) -> None:
    """Whole stores end in status 0, an altered pixel in 1, with the shard in the report."""
    scene = make_scene(rows=3, columns=3)
    report = srsat("verify", scene.store, "--json").document()
    assert report["scenes"] == [{"name": "scene", "shards": 4, "pending": 0, "torn": []}]
    said = srsat("verify", scene.store).err
    assert said == "scene: 4 shards, all as they were written; 0 pending\n"
    pixels = scene.array("image", "r+")
    pixels[0, 600, 10] = 255 - int(pixels[0, 600, 10])
    ended = srsat("verify", scene.store, "--json")
    assert ended.status == 1
    assert strict(ended.out)["scenes"] == [
        {"name": "scene", "shards": 4, "pending": 0, "torn": [[1, 0]]}
    ]
    ended = srsat("verify", scene.store)
    assert ended.status == 1
    assert ended.err.startswith("scene: 4 shards, torn: [(1, 0)]; 0 pending\n")


def test_upscale_to_a_store_and_again(
    srsat: Srsat, tmp_path: Path, model: Path, raster: Path
) -> None:
    """The pixels are those of the whole image; a re-run computes nothing; others are refused."""
    output = tmp_path / "o.zarr"
    command = ("upscale", raster, output, "--model", model, *THREADS)
    ended = srsat(*command)
    assert (ended.status, ended.out) == (0, "")
    assert "1 of 1 shards" in ended.err
    assert ended.err.endswith(f"{output} is written\n")
    assert_pixels_of(raster, model, np.asarray(scenes_of(output)[0].array("image")[:]))
    before = everything_in(output)
    again = srsat(*command)
    assert again.status == 0
    assert "0 of 1 shards, 0.0 Mpx" in again.err
    assert everything_in(output) == before

    image = np.zeros((3, 40, 56), np.uint8)
    (tmp_path / "other").mkdir()
    other = write_raster(tmp_path / "other" / "scene.tif", image)
    ended = srsat("upscale", other, output, "--model", model, *THREADS)
    assert ended.status == 2
    last = ended.err.splitlines()[-1]
    assert re.fullmatch(r"srsat: error: .*holds scene made from other inputs \(input was .*", last)
    assert everything_in(output) == before


def assert_pixels_of(raster: Path, model: Path, pixels: np.ndarray) -> None:
    from srsat_dask.model.engines import get_upscaler

    with rasterio.open(raster) as low:
        image = low.read().transpose(1, 2, 0)
    expected = upscale_image(image, get_upscaler(ModelFile.open(model)))
    np.testing.assert_array_equal(pixels, expected.transpose(2, 0, 1))


def test_upscale_to_a_geotiff(srsat: Srsat, tmp_path: Path, model: Path, raster: Path) -> None:
    """A COG of the finer pixels on the same ground, and nothing else, is left."""
    folder = tmp_path / "out"
    folder.mkdir()
    ended = srsat("upscale", raster, folder / "o.tif", "--model", model, *THREADS)
    assert (ended.status, ended.out) == (0, "")
    assert os.listdir(folder) == ["o.tif"]
    assert cog_validate(folder / "o.tif")[0]
    with rasterio.open(raster) as low, rasterio.open(folder / "o.tif") as high:
        assert high.crs == low.crs
        assert high.bounds == low.bounds
        assert high.shape == (160, 224)
        assert_pixels_of(raster, model, high.read())


def test_upscale_to_a_geotiff_that_is_there(
    srsat: Srsat, tmp_path: Path, model: Path, raster: Path
) -> None:
    """The input and a file of other origin are refused untouched; one that is done is left."""
    folder = tmp_path / "out"
    folder.mkdir()
    given = ("--model", model, *THREADS)
    other = write_raster(folder / "other.tif", np.zeros((3, 40, 56), np.uint8))
    (folder / "link.tif").symlink_to(raster)
    before = everything_in(tmp_path)
    for output in (raster, folder / "link.tif"):
        assert_refused(srsat("upscale", raster, output, *given), "is the input itself")
    for dry in ((), ("--dry-run",)):
        ended = srsat("upscale", raster, other, *given, *dry)
        assert_refused(ended, "belongs to other inputs; delete it or give another path")
    assert everything_in(tmp_path) == before
    output = folder / "o.tif"
    assert srsat("upscale", raster, output, *given).status == 0
    before = everything_in(tmp_path)
    again = srsat("upscale", raster, output, *given)
    assert (again.status, again.err) == (0, f"{output} is done already\n")
    assert_refused(srsat("upscale", other, output, *given), "belongs to other inputs")
    assert everything_in(tmp_path) == before


def test_geotiff_takes_one_scene(
    srsat: Srsat, tmp_path: Path, model: Path, make_scene: MakeScene
) -> None:
    """Of a store of two, one has to be named, and is then named by STORE/SCENE."""
    one = make_scene("one", 1, 1)
    make_scene("two", 1, 1)
    given = ("--model", model, *THREADS)
    ended = srsat("upscale", one.store, tmp_path / "o.tif", *given)
    assert_refused(ended, r"a GeoTIFF takes one scene, give .*m.*\.zarr/SCENE: one, two")
    assert srsat("upscale", f"{one.store}/two", tmp_path / "o.tif", *given).status == 0
    assert cog_validate(tmp_path / "o.tif")[0]


def test_export(srsat: Srsat, tmp_path: Path, make_scene: MakeScene) -> None:
    """A scene of a store becomes a COG."""
    scene = make_scene(rows=1, columns=2)
    ended = srsat("export", scene.store, tmp_path / "o.tif")
    assert (ended.status, ended.out) == (0, "")
    assert ended.err.endswith(f"{tmp_path / 'o.tif'} is written\n")
    assert cog_validate(tmp_path / "o.tif")[0]


def test_scene_that_is_not_whole_needs_an_option(
    srsat: Srsat, tmp_path: Path, model: Path, make_scene: MakeScene
) -> None:
    """Export and upscaling say how much is missing, and go on with ``--allow-partial``."""
    scene = make_scene(rows=1, columns=3)
    scene.array("shard_digest", "r+")[0, 1] = 0
    given = ("--model", model, *THREADS)
    for command in (
        ("export", scene.store, tmp_path / "e.tif"),
        ("upscale", scene.store, tmp_path / "u.zarr", *given),
        ("upscale", scene.store, tmp_path / "u.tif", *given),
    ):
        assert_refused(srsat(*command), "1 of 2 shards are not done, .* run the harvest again")
        assert not Path(command[2]).exists()
        assert srsat(*command, "--allow-partial").status == 0
        assert Path(command[2]).exists()


def test_left_over_of_another_input_is_not_exported(
    srsat: Srsat, tmp_path: Path, model: Path, raster: Path
) -> None:
    """What another input's interrupted run left beside the GeoTIFF is refused by its name."""
    left = tmp_path / "o.partial.zarr"
    given = ("--model", model, *THREADS)
    other = write_raster(tmp_path / "other.tif", np.zeros((3, 40, 56), np.uint8))
    assert srsat("upscale", other, left, *given).status == 0
    ended = srsat("upscale", raster, tmp_path / "o.tif", *given)
    assert_last_line_of_run(ended, r"o\.partial\.zarr holds scenes .*: other; delete it")
    assert not (tmp_path / "o.tif").exists()
    assert [scene.name for scene in scenes_of(left)] == ["other"]


def assert_last_line_of_run(ended: Ended, said: str) -> None:
    *_, last = ended.err.splitlines()
    assert_refused(Ended(ended.status, ended.out, f"{last}\n"), said)


def test_evaluate_writes_json_and_figure(
    srsat: Srsat, tmp_path: Path, model: Path, raster: Path, rng: np.random.Generator
) -> None:
    """The table is on stdout, the report in the file, of every input in order."""
    png = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (64, 72, 3), dtype=np.uint8)).save(png)
    outputs = (tmp_path / "r.json", tmp_path / "f.png", tmp_path / "page.html")
    ended = srsat(
        *("evaluate", raster, png, "--model", model, "--scale", 4, "--group", "all=*"),
        *("--json", outputs[0], "--figure", outputs[1], "--html", outputs[2]),
    )
    assert ended.status == 0
    report = strict(outputs[0].read_text())
    assert [image["name"] for image in report["images"]] == ["scene", "photo"]
    assert (report["scale"], report["model"]) == (4, "model.keras")
    for image in report["images"]:
        assert f"{image['psnr']:.2f}" in ended.out
    with Image.open(outputs[1]) as figure:
        assert figure.format == "PNG"
    assert report["groups"]["all"]["count"] == 2
    assert "photo" in outputs[2].read_text()


def test_scale_is_that_of_a_model_for_several(
    srsat: Srsat, tmp_path: Path, make_model: MakeModel, raster: Path
) -> None:
    """``--scale`` picks one, for upscaling and evaluation, and refuses the others."""
    several = tmp_path / "several.keras"
    layers = {"filters": (4,), "kernels": (5, 3)}
    save_model(make_model(4, **layers, metadata={"scales": [2, 4]}), several)
    given = ("--model", several, "--scale")
    for scale in (2, 4):
        ended = srsat("upscale", raster, tmp_path / "o.zarr", *given, scale, "--dry-run")
        assert ended.status == 0
        assert f"×{scale} by {several}:" in ended.err
    ended = srsat("evaluate", raster, *given, 2, "--json", tmp_path / "r.json")
    assert ended.status == 0, ended.err
    assert strict((tmp_path / "r.json").read_text())["scale"] == 2
    for command in (("upscale", raster, tmp_path / "o.zarr"), ("evaluate", raster)):
        assert_refused(srsat(*command, *given, 3), "scale 3 .* it was made for 2, 4")


# Processes


def test_ctrl_c_ends_in_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """Interrupted in the middle of a harvest, it exits with 130, and a re-run completes it."""
    store = tmp_path / "m.zarr"
    with Sandbox(landscape_scenes(1, size_m=1200), token="let-me-in", latency=0.1) as sandbox:
        environment = {"SRSAT_TELLUS_URL": sandbox.url, "SRSAT_TELLUS_TOKEN": "let-me-in"}
        command = ["harvest", str(store), *JAPAN, "--zoom", "17"]
        interrupted = subprocess.Popen(
            [sys.executable, "-m", "srsat_dask.cli", *command],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while sandbox.log.total < 4:  # the search and the first tiles
            assert interrupted.poll() is None, interrupted.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(interrupted.pid, signal.SIGINT)  # to the whole group, as a terminal sends it
        out, err = interrupted.communicate(timeout=120)
        assert (interrupted.returncode, out) == (130, "")
        *plan, dashboard, last = err.splitlines()
        assert last == "srsat: interrupted; the same command again goes on from here"
        assert dashboard.startswith("dashboard ")
        assert all(re.match(r"\d+ (scene|shards)", line) for line in plan)
        (scene,) = scenes_of(store)
        assert not done_shards(scene).all()
        ended = process(*command, *THREADS, **environment)
        assert ended.status == 0, ended.err
        assert done_shards(scene).all()
        assert process("verify", store).status == 0
