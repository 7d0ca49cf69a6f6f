"""One rank of a training: a process of its own that learns from its share of each batch.

TensorFlow reads who its peers are when it starts (``TF_CONFIG``), hence the fresh process. Requests
come in on stdin and answers go out on stdout, each a pickle after its length: only the process that
started this one can write there. When stdin ends, so does the process, whatever it waits for.
"""

import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any

import tensorflow as tf
from keras import ops

from srsat_dask.model.network import SRCNN
from srsat_dask.training.fit import Arrays, Scores
from srsat_dask.training.objective import KerasTrainer, as_batch, psnr, squared_sums
from srsat_dask.training.patches import Patches
from srsat_dask.training.presets import Preset
from srsat_dask.training.ranks import LENGTH


class RankTrainer(KerasTrainer):
    """A trainer whose variables are the same in all ranks, which take each step together.

    All ranks must make theirs at the same time.

    Parameters
    ----------
    config : dict
        Arguments of `SRCNN`.
    preset : Preset
        Which optimizer and metric; ``batch`` is the patches of all ranks together.
    validation : sequence of Patches
        As for `KerasTrainer`; of the rank that judges.
    weights : list of float32 arrays
        First weights of the network.
    """

    def __init__(
        self,
        config: dict[str, Any],
        preset: Preset,
        validation: Sequence[Patches],
        weights: Arrays,
    ) -> None:
        # One replica in each rank: with more, a share would count more than once.
        gpus = tf.config.list_physical_devices("GPU")[:1]
        tf.config.set_visible_devices(gpus, "GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        distribute = tf.distribute.experimental
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=distribute.CommunicationOptions(
                implementation=distribute.CommunicationImplementation.RING
            )
        )
        with self._strategy.scope():
            super().__init__(SRCNN(**config), preset, [])
            self._srcnn.set_weights(weights)
        # Judging is done alone, so by variables that no other rank shares.
        self._copy = SRCNN(**config)
        self._judge = KerasTrainer(self._copy, preset, validation)
        self._preset = preset
        self._learn = tf.function(self._shared)

    def step(self, patches: Patches, rate: float) -> Scores:
        """Learn from this rank's share of a batch; the scores are those of the whole batch."""
        self._model.optimizer.learning_rate = rate
        loss, value = self._learn(*map(tf.constant, as_batch(patches)))
        return Scores(float(loss), float(value))

    def validate(self) -> Scores:
        """Judge the present weights by the validation patches."""
        self._copy.set_weights(self._srcnn.get_weights())
        return self._judge.validate()

    def _shared(self, *batch: Any) -> Any:
        return self._strategy.run(self._replica, args=batch)

    def _replica(self, lr: Any, hr: Any, weight: Any) -> tuple[Any, Any]:
        variables = self._model.trainable_variables
        part = tf.cast(tf.shape(lr)[0], tf.float32) / self._preset.batch
        with tf.GradientTape() as tape:
            images = self._model(lr, training=True)
            error = tf.reduce_mean(tf.square(images - hr), axis=-1)
            # The mean over all pixels, as Keras takes it, so that the ranks' shares add up.
            loss = part * tf.reduce_mean(error * weight)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        squares, counts = squared_sums(hr, images, weight)
        if self._preset.pooled_psnr:
            scores = [loss, ops.sum(squares), ops.sum(counts)]
        else:
            scores = [loss, ops.sum(psnr(squares, counts)) / self._preset.batch]
        context = tf.distribute.get_replica_context()
        scores = context.all_reduce(tf.distribute.ReduceOp.SUM, scores)
        # Keras adds up the ranks' gradients itself: here it would be a second time.
        self._model.optimizer.apply(gradients, variables)
        loss, *rest = scores
        return loss, psnr(*rest) if self._preset.pooled_psnr else rest[0]


def write(stream: IO[bytes], value: Any) -> None:
    """Write a value, after its length."""
    body = pickle.dumps(value)
    stream.write(LENGTH.pack(len(body)) + body)
    stream.flush()


def read(stream: IO[bytes]) -> Any:
    """Return the next value.

    Raises
    ------
    EOFError
        There is no more.
    """
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    return pickle.loads(stream.read(*LENGTH.unpack(head)))  # noqa: S301 - from our own parent


def main() -> None:
    """Answer requests until there are no more.

    A request is the name of a method and its arguments, the first one ``start`` and those of
    `RankTrainer`; an answer is whether it went well, and the result or what went wrong.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver takes it, between two steps
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    requests: queue.SimpleQueue[tuple[str, tuple[Any, ...]]] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                requests.put(read(sys.stdin.buffer))
        finally:
            os._exit(0)  # whoever asked is gone: a step may wait for other ranks for ever

    threading.Thread(target=listen, daemon=True).start()
    trainer: Any = None
    while True:
        name, arguments = requests.get()
        try:
            if name == "start":
                trainer = RankTrainer(*arguments)
                write(answers, (True, None))
            else:
                write(answers, (True, getattr(trainer, name)(*arguments)))
        except Exception as error:  # noqa: BLE001 - the driver is told, and ends the training
            write(answers, (False, f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
