"""The load generator as a whole: its processes, started together, measured over the same seconds, added up."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from portcullis.bench.generator import CONNECT_SECONDS, GRACE_SECONDS, Generator, GeneratorError
from portcullis.bench.plan import Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from portcullis.bench.plan import Load

_STARTING_SECONDS = 30.0
_SPARE_SECONDS = 0.05
"""Between the message to begin and the first request, so that every process has received it."""


def run(load: Load, *, begun: Callable[[], None] | None = None, ended: Callable[[], None] | None = None) -> Tally:
    """Put `load` on its target with `load.processes` processes; the counts of all of them together.

    `begun` and `ended` are called at the first and the last moment of the measurement, to read other clocks.
    Raises `GeneratorError`.
    """
    context = multiprocessing.get_context("spawn")
    parts = split(load)
    started = []
    try:
        for part in parts:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(part, theirs), daemon=True)
            process.start()
            theirs.close()
            started.append((process, ours))
        pipes = [pipe for _, pipe in started]
        for pipe in pipes:
            _receive(pipe, _STARTING_SECONDS + CONNECT_SECONDS)
        begin = time.monotonic() + _SPARE_SECONDS + load.warm_up
        for pipe in pipes:
            pipe.send(begin)
        _at(begin, begun)
        total = Tally()
        if load.mode == "once":
            tallies = [_receive(pipe, load.seconds + _STARTING_SECONDS) for pipe in pipes]
            if ended is not None:
                ended()
        else:
            _at(begin + load.seconds, ended)
            tallies = [_receive(pipe, GRACE_SECONDS + _STARTING_SECONDS) for pipe in pipes]
        for tally in tallies:
            total.merge(tally)
        return total
    finally:
        for process, pipe in started:
            pipe.close()
            process.terminate()
            process.join()


def split(load: Load) -> list[Load]:
    """The part of each process: its share of the connections, and of the tokens that are asked with once."""
    processes = min(load.processes, load.connections, load.last - load.first)
    parts = []
    for number in range(processes):
        share = replace(
            load,
            number=number,
            processes=processes,
            connections=load.connections * (number + 1) // processes - load.connections * number // processes,
        )
        if load.mode == "once":
            count = load.last - load.first
            share = replace(
                share,
                first=load.first + count * number // processes,
                last=load.first + count * (number + 1) // processes,
            )
        parts.append(share)
    return parts


def _at(moment: float, call: Callable[[], None] | None) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
    if call is not None:
        call()


def _receive(pipe: Connection[object, object], seconds: float) -> Tally:
    """The next message of a process: that it is ready (an empty tally), or its counts."""
    try:
        said = pipe.recv() if pipe.poll(seconds) else GeneratorError("a generator process does not answer")
    except EOFError:
        said = GeneratorError("a generator process died")
    if isinstance(said, Tally):
        return said
    raise said if isinstance(said, GeneratorError) else GeneratorError(str(said))


def _work(load: Load, pipe: Connection[object, object]) -> None:
    """The life of a generator process."""
    with contextlib.suppress(BrokenPipeError, EOFError, KeyboardInterrupt):
        try:
            os.nice(load.nice)
            with contextlib.closing(Generator(load)) as generator:
                pipe.send(Tally())
                begin = pipe.recv()
                assert isinstance(begin, float)  # noqa: S101 - for the type checker
                pipe.send(generator.run(begin))
        except (GeneratorError, ValueError) as error:
            pipe.send(GeneratorError(str(error)))
