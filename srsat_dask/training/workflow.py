"""Training, start to end: plan the split, draw patches on the cluster, fit here, write."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srsat_dask.errors import InputError, ModelError
from srsat_dask.model.degradation import Degradation
from srsat_dask.model.file import ModelFile, save_model
from srsat_dask.model.spec import ModelSpec
from srsat_dask.mosaic.inputs import MosaicScene, is_image_folder, open_folder, open_inputs
from srsat_dask.mosaic.split import Part, Shares, split_scene
from srsat_dask.runtime.clusters import current_client
from srsat_dask.runtime.learning import learning_on
from srsat_dask.runtime.progress import track
from srsat_dask.training import record
from srsat_dask.training.feed import shard_sources, training_batches, validation_patches
from srsat_dask.training.fit import Budget, Trainer, fit, progress_report
from srsat_dask.training.history import history, write_history
from srsat_dask.training.keeping import CHECKPOINT_MINUTES, Keeping
from srsat_dask.training.logs import Logs
from srsat_dask.training.patches import Patches, PatchShape
from srsat_dask.training.presets import choose_preset
from srsat_dask.training.ranks import check_ranks, started_ranks

if TYPE_CHECKING:
    from os import PathLike

    import keras

VALIDATION_PIXELS = 2**18
"""HR pixels of a validation batch: enough to keep the cores busy, 100 MB of activations."""

WEIGHTS = ("area", "even")
"""What a scene may count by."""

logger = logging.getLogger(__name__)


def train(
    inputs: str | Path | Sequence[str | Path],
    *,
    scale: int = 4,
    preset: str = "default",
    epochs: int | None = None,
    minutes: float | None = None,
    filters: Sequence[int] | None = None,
    kernels: Sequence[int] | None = None,
    residual: bool | None = None,
    luminance: bool | None = None,
    settings: Mapping[str, Any] | None = None,
    init: "str | PathLike[str] | keras.Model | ModelFile | None" = None,
    degradation: str | Degradation = "bicubic",
    model_path: str | Path | None = None,
    held_out: tuple[float, float] = (0.1, 0.15),
    weights: str = "area",
    fresh: bool = False,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    patience: int | None = None,
    tensorboard: str | Path | None = None,
    ranks: int = 1,
    seed: int = 0,
    recipe_file: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> "keras.Model":
    """Train an SRCNN on the scenes of mosaic stores, on rasters and on folders of images.

    Patches are drawn by tasks on the current Dask client, or on threads of this process; the
    fitting runs in this process, on whatever device its Keras backend finds, or on several workers
    at once (`ranks`). Blocks of each scene are held out (`srsat_dask.mosaic.split`): those for
    validation choose the best weights, beside bicubic; those for test are never looked at here,
    `evaluate` judges by them.

    Parameters
    ----------
    inputs : str, Path or sequence of them
        Mosaic stores, ``STORE/SCENE`` for one scene, rasters of uint8 bands (red, green, blue
        first; GeoTIFF, PNG), or folders of GeoTIFFs and PNGs, with the folders in them. A small
        image is one block: it is trained on or held out whole.
    scale : {2, 3, 4}
        HR pixels per LR pixel.
    preset : str
        ``default``, ``paper`` or ``article``: see `PRESETS`.
    epochs : int, optional
        Train for so many epochs of the preset's steps.
    minutes : float, optional
        Train for so long instead, validation included. By default the preset's epochs.
    filters, kernels : sequence of int, optional
        Channels and kernel widths (HR pixels) in place of the preset's.
    residual : bool, optional
        Whether the network predicts what to add to the bicubic image; by default the preset's.
    luminance : bool, optional
        Whether it sees and corrects BT.601 luma alone, chroma being bicubic; likewise.
    settings : mapping, optional
        Further fields of :class:`srsat_dask.training.Preset` and their values in place of the
        preset's, such as ``{"batch": 16, "size": 48, "first_rate": 5e-4}``.
    init : str, path, keras.Model or ModelFile, optional
        Start from the weights of this model, which has the same layers; it may be of another
        scale.
    degradation : str or Degradation
        How inputs are made of targets: ``bicubic`` (antialiased), ``area``, ``mtf:0.25`` (Gaussian
        blur of that MTF at the Nyquist frequency), each with ``+noise:2`` (in digital numbers of 8
        bits) if wanted.
    model_path : str or Path, optional
        Write the model to ``OUT.keras``, with ``OUT.history.json`` and, while it trains,
        ``OUT.history.csv`` and ``OUT.curve.png`` beside. Until it is written ``OUT.checkpoint`` is
        kept: after an interruption the same call goes on from there.
    held_out : tuple of float
        Shares of each scene's blocks for validation and for test.
    weights : {"area", "even"}
        Whether a scene counts by its pixels to train on, or each scene as much as another.
    fresh : bool
        Start over, whatever checkpoint there is.
    checkpoint_minutes : float
        Time between checkpoints within an epoch; there is one after every epoch.
    patience : int, optional
        Stop after so many epochs without a better validation PSNR.
    tensorboard : str or Path, optional
        Folder to write TensorBoard's event files to; needs the package ``tensorboard``.
    ranks : int
        Train in so many processes beside the Dask workers, each of which learns from its share of
        each batch; the result is that of one, but for rounding. It is TensorFlow's: the ranks'
        machines must reach one another, in a network that is trusted.
    seed : int
        Seed of the split, the patches and the first weights; not negative.
    recipe_file : mapping, optional
        What a recipe file said, to be recorded in the model.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    keras.Model
        An `SRCNN` with the weights of the best validation PSNR; its ``metadata`` says how it was
        made.

    Raises
    ------
    InputError
        Arguments out of range, inputs without a place for a patch or a held-out patch, or a
        checkpoint of other settings.
    StoreError
        A store that is not one of ours.
    RasterError
        An image that cannot be used.
    ModelError
        A network that cannot be.
    ShardError
        A feed task failed for good.
    TrainingError
        The loss became infinite or not a number, or a rank was lost; the checkpoint before it is
        kept.
    """
    network = {
        "filters": None if filters is None else tuple(filters),
        "kernels": None if kernels is None else tuple(kernels),
        "residual": residual,
        "luminance": luminance,
    }
    chosen = choose_preset(preset, {**(settings or {}), **network})
    check_ranks(ranks, chosen)
    budget = Budget.of(chosen, epochs, minutes)
    degraded_by = Degradation.of(degradation)
    spec = ModelSpec(
        scale=scale,
        filters=chosen.filters,
        kernels=chosen.kernels,
        residual=chosen.residual,
        luminance=chosen.luminance,
    )
    started = None if init is None else _initial(init, spec)
    if seed < 0:
        raise InputError(f"seed {seed} must not be negative")
    keeping = Keeping(model_path, fresh, checkpoint_minutes, patience, tensorboard)
    if weights not in WEIGHTS:
        raise InputError(f"weights {weights!r} is unknown: choose {' or '.join(WEIGHTS)}")
    given = _training_inputs(inputs, spec.bands, Shares(*held_out, seed))
    scenes = [pair for each in given for pair in each.scenes]
    sources, judges = (
        shard_sources(scenes, part, even=weights == "even", seed=seed)
        for part in (Part.TRAINING, Part.VALIDATION)
    )
    if not any(split.present.any() for _, split in scenes):
        raise InputError(
            "no scene holds a pixel: every tile is pending, absent, blank, failed or nodata;"
            " see 'srsat status', harvest again or train on other scenes"
        )
    # Now, not after the training: the record is of the pixels that were there to train on.
    data = record.training_data(given)
    shape = PatchShape(
        scale,
        chosen.patch(scale),
        spec.halo,
        chosen.contrast_stretch,
        degraded_by,
        recoloured=chosen.augment == "colour",
    )
    wide_shape = replace(shape, size=chosen.validation_patch(scale))

    described = {
        "scale": scale,
        "margin": spec.margin,
        "normalisation": "pixel / 255",
        "degradation": record.degradation(shape),
        "training_data": data,
        "recipe": record.recipe(preset, chosen, shape, seed, 0, recipe_file),
    }
    if started is not None:
        described["init"] = record.initial(started)
    checkpointed = {**described, "weights": weights, "budget": asdict(budget)}
    run, state = keeping.begin(checkpointed)

    with current_client() as client:
        drawn = validation_patches(client, judges, wide_shape, seed, chosen.validation_patches)
        validation = list(_batched(drawn))
        with ExitStack() as ending:
            feed = ending.enter_context(
                closing(training_batches(client, sources, shape, chosen.batch, seed, run.place))
            )
            first = next(feed)
            # Keras and its backend take seconds to load: not before the data are known to do.
            from srsat_dask.model.network import SRCNN
            from srsat_dask.training import objective

            model = objective.seeded(SRCNN(**spec.config()), seed, chosen.initial_deviation)
            if started is not None:
                model.set_weights([array for layer in started.weights() for array in layer])
            bicubic = objective.bicubic_psnr(validation, wide_shape, pooled=chosen.pooled_psnr)
            logger.info(
                "%d scenes, %d shards, from step %d, bicubic %.2f dB",
                len(scenes),
                len(sources),
                run.step,
                bicubic,
            )
            trainer: Trainer
            if ranks == 1:
                trainer = objective.KerasTrainer(model, chosen, validation)
            else:
                trainer = several = ending.enter_context(started_ranks(client, ranks))
                several.start(spec.config(), chosen, validation, model.get_weights())
            if state is not None:
                trainer.restore(state)
            total = float(budget.steps or budget.seconds or 0)
            counted = budget.steps is not None
            with (
                track("train", total, shown=progress, count=counted) as tracker,
                learning_on(client) as learning,
                Logs(model_path, tensorboard, run.epochs, bicubic) as logs,
            ):
                fit(
                    trainer,
                    chain([first], feed),
                    chosen.of_mean_loss(scale, spec.bands),
                    budget,
                    progress_report(tracker, learning, total, bicubic),
                    run=run,
                    patience=patience,
                    tell=logs.tell,
                    keep=keeping.keeper(checkpointed, trainer),
                    keep_every=60 * checkpoint_minutes,
                )

    metadata = {
        **described,
        "recipe": record.recipe(preset, chosen, shape, seed, run.step, recipe_file),
        "provenance": record.provenance(),
    }
    result = SRCNN(**{**spec.config(), "metadata": metadata})
    result.set_weights(run.best)
    if model_path is not None:
        save_model(result, model_path)
        document = history(
            run.epochs,
            bicubic,
            batch_pixels=chosen.batch * shape.size**2,
            settings=metadata,
        )
        write_history(model_path, document)
        keeping.end()
    return result


def _training_inputs(
    inputs: str | Path | Sequence[str | Path], bands: int, shares: Shares
) -> list[record.TrainingInput]:
    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not paths:
        raise InputError("nothing is given to train on: give a store, a raster or a folder")
    given = []
    for path in paths:
        folder = Path(path).resolve().name if is_image_folder(path) else None
        scenes = open_inputs(path, georeferenced=False) if folder is None else open_folder(path)
        for scene in scenes:
            if isinstance(scene, MosaicScene) and scene.bands != bands:
                raise InputError(
                    f"{path}: {scene.name} has {scene.bands} bands, {bands} are needed"
                )
        pairs = tuple((scene, split_scene(scene, shares)) for scene in scenes)
        given.append(record.TrainingInput(pairs, folder))
    return given


def _initial(model: "str | PathLike[str] | keras.Model | ModelFile", spec: ModelSpec) -> ModelFile:
    """Return a model whose weights fit the network."""
    file = ModelFile.open(model)
    if file.spec.shapes != spec.shapes:
        raise ModelError(
            f"init has filters {file.spec.filters} and kernels {file.spec.kernels}"
            f"{' on luminance' if file.spec.luminance else ''}, the network {spec.filters} and"
            f" {spec.kernels}{' on luminance' if spec.luminance else ''}: give the same to both"
        )
    return file


def _batched(patches: Patches) -> Iterator[Patches]:
    batch = max(VALIDATION_PIXELS // patches.hr.shape[1] ** 2, 1)
    for start in range(0, len(patches), batch):
        yield patches.take(slice(start, start + batch))
