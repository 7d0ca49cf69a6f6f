"""``srsat sandbox``: rasters, or a landscape, served as Tellus would."""

import argparse

from srsat_dask.cli.common import DONE, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("files", nargs="*", metavar="FILE.tif", help="default: a landscape")
    parser.add_argument("--port", type=int, default=8717, help="default 8717; 0 takes any free one")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="default 127.0.0.1, this machine only; 0.0.0.0 lets others ask too",
    )
    parser.add_argument("--token", help="Bearer token to ask for; default: none is asked for")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="of each answer"
    )
    parser.add_argument("--faults", metavar="FAULTS.yaml", help="what is to go wrong, and when")


def run(options: argparse.Namespace) -> int:
    """Serve rasters, or a landscape, as Tellus would."""
    from srsat_dask.sandbox import Sandbox, open_scenes

    scenes = open_scenes(options.files) if options.files else None
    with Sandbox(
        scenes,
        port=options.port,
        host=options.host,
        token=options.token,
        latency=options.latency,
        faults=options.faults,
    ) as running:
        say(f"serving {len(running.scenes)} scene(s) at {running.url}, until Ctrl-C")
        for scene in running.scenes:
            west, south, east, north = scene.bounds
            say(f"  {scene.entity_id}  --bbox {west:.5f} {south:.5f} {east:.5f} {north:.5f}")
        say(f"in another shell: export SRSAT_TELLUS_URL={running.url} SRSAT_TELLUS_TOKEN=…")
        running.serve_forever()
    return DONE
