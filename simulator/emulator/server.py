"""Emulated inference engines for a cluster without GPUs: ``python -m simulator.emulator``.

One process plays the engines of every pod of some Deployments. It watches the pods, computes with the simulator's own
engine model what each would do with the traffic that it replays, and serves for each one the ``/metrics`` that vLLM
would:

    GET  /sd                            Prometheus' HTTP service discovery: one target group a pod whose engine runs
    GET  /pods/NAMESPACE/NAME/metrics   that pod's page
    POST /replay                        send a slice of a trace to all Deployments: {"trace", "from", "to", "copies"}
    GET  /results                       what became of the requests, by Deployment and replay; ?objective=SECONDS

Everything is in wall-clock seconds. With ``--time-factor 10`` engines and arrivals are ten times as fast, so that an
hour of a trace takes six minutes; slice bounds stay in the trace's own seconds.
"""

import asyncio
import dataclasses
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from aiohttp import web

from simulator.emulator.emulation import Emulation, ReplayError, SeenPod, compressed
from simulator.emulator.pods import PodReader, PodsUnreadable
from simulator.engine.profiles import ProfileError, load_profile
from simulator.traces import Trace, TraceError, load_trace, superpose

logger = logging.getLogger("emulator")

LOOK_S = 0.5
STEP_S = 0.1
OBJECTIVE_S = 2.5
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Emulator:
    """The model on the wall clock, and its HTTP server."""

    def __init__(self, emulation: Emulation, reader: PodReader, *, time_factor: float) -> None:
        self._emulation = emulation
        self._reader = reader
        self._time_factor = time_factor
        self._began = time.monotonic()
        self._began_at = time.time()
        self._trouble = ""

    def application(self) -> web.Application:
        """Return the HTTP application; the model runs as long as it does."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/sd", self._targets),
                web.get("/pods/{namespace}/{name}/metrics", self._page),
                web.post("/replay", self._replay),
                web.get("/results", self._results),
            ]
        )
        app.cleanup_ctx.append(self._running)
        return app

    def advance(self) -> None:
        """Bring the model to this instant."""
        self._emulation.advance(time.monotonic() - self._began)

    def start(self, trace: Trace) -> dict[str, Any]:
        """Replay a trace (in its own seconds) from now on, on all Deployments.

        Raises:
            ReplayError: one is still under way.
        """
        self.advance()
        begun = self._emulation.replay(dataclasses.replace(trace, arrival_s=trace.arrival_s / self._time_factor))
        return self._told(dataclasses.asdict(begun))

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work) for work in (self._steps(), self._looks())]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _steps(self) -> None:
        while True:
            self.advance()
            await asyncio.sleep(STEP_S)

    async def _looks(self) -> None:
        while True:
            began = time.monotonic()
            try:
                pods = await asyncio.to_thread(self._reader.pods, list(self._emulation.pools))
            except PodsUnreadable as error:
                # What was seen last stays true until it can be looked again.
                if str(error) != self._trouble:
                    logger.warning("%s", error)
                self._trouble = str(error)
            else:
                self._trouble = ""
                self.advance()
                self._emulation.see(pods)
            await asyncio.sleep(max(0.05, LOOK_S - (time.monotonic() - began)))

    async def _targets(self, request: web.Request) -> web.Response:
        pods = [pod for pool in self._emulation.pools.values() for pod in pool.serving()]
        groups = [
            {
                "targets": [request.host],
                "labels": {
                    "namespace": pod.namespace,
                    "pod": pod.name,
                    "__metrics_path__": f"/pods/{pod.namespace}/{pod.name}/metrics",
                },
            }
            for pod in pods
        ]
        return web.json_response(groups)

    async def _page(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        self.advance()
        pools = [pool for key, pool in self._emulation.pools.items() if key.startswith(f"{namespace}/")]
        page = next((page for pool in pools if (page := pool.page(name)) is not None), None)
        if page is None:
            return web.Response(status=503, text=f"no engine runs in {namespace}/{name}\n")
        return web.Response(body=page, headers={"Content-Type": _TEXT})

    async def _replay(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            trace = slice_of(**{_FIELDS[field]: value for field, value in asked.items()})
            return web.json_response(self.start(trace))
        except ReplayError as error:
            return web.Response(status=409, text=f"{error}\n")
        except (TraceError, TypeError, KeyError, ValueError) as error:
            fields = ", ".join(_FIELDS)
            return web.Response(status=400, text=f"not replayed: {error}; give a JSON object of {fields}\n")

    async def _results(self, request: web.Request) -> web.Response:
        try:
            objective_s = float(request.query.get("objective", OBJECTIVE_S / self._time_factor))
        except ValueError:
            return web.Response(status=400, text="objective is no number; give seconds\n")
        self.advance()
        pools: dict[str, Any] = {}
        for name, pool in self._emulation.pools.items():
            replays = [
                dataclasses.asdict(pool.outcomes(begins_s=one.begins_s, ends_s=one.ends_s, objective_s=objective_s))
                for one in self._emulation.replays
            ]
            pools[name] = {"now": pool.figures(), "replays": replays}
        replays = [self._told(dataclasses.asdict(one)) for one in self._emulation.replays]
        return web.json_response({"objective_s": objective_s, "replays": replays, "deployments": pools})

    def _told(self, replay: Mapping[str, Any]) -> dict[str, Any]:
        """Return a replay with instants (unix seconds) in place of the model's seconds."""
        begins, ends = (self._began_at + replay[field] for field in ("begins_s", "ends_s"))
        return {"name": replay["name"], "requests": replay["requests"], "begins_at": begins, "ends_at": ends}


_FIELDS = {"trace": "name", "from": "from_s", "to": "to_s", "copies": "copies", "seed": "seed"}


def slice_of(*, name: str, from_s: float = 0.0, to_s: float = 1e9, copies: int = 1, seed: int = 0) -> Trace:
    """Return copies of a slice of a trace, laid over one another.

    Raises:
        TraceError: no such trace, no request in that slice, fewer than one copy.
    """
    part = load_trace(name).slice(from_s, to_s)
    # So little jitter that the burst stays as sharp as it was, and so much that no two requests coincide.
    return part if copies == 1 else superpose(part, copies=copies, jitter_s=5.0, seed=seed)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig; inside a cluster none is needed.")
@click.option("--deployment", "deployments", multiple=True, required=True, metavar="NAMESPACE/NAME", help="Repeatable.")
@click.option("--model", required=True, help="The served model's name: the label model_name.")
@click.option("--profile", default="a100-80gb/llama-3.1-8b", show_default=True, help="What one replica can do.")
@click.option("--time-factor", type=click.FloatRange(1, 100), default=1.0, show_default=True, help="Compress time.")
@click.option("--listen", default="127.0.0.1:9400", show_default=True, metavar="HOST:PORT")
@click.option("--trace", help="Replay this from the start: a shipped trace's name or a file of any form.")
@click.option("--from", "from_s", type=float, default=0.0, show_default=True, help="First second of the slice.")
@click.option("--to", "to_s", type=float, default=1e9, help="Second at which the slice ends.  [default: the trace's]")
@click.option("--copies", type=click.IntRange(1, 1000), default=1, show_default=True, help="Copies laid over another.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(
    *,
    kubeconfig: Path | None,
    deployments: tuple[str, ...],
    model: str,
    profile: str,
    time_factor: float,
    listen: str,
    trace: str | None,
    from_s: float,
    to_s: float,
    copies: int,
    seed: int,
) -> None:
    """Play the engines of all pods of some Deployments, until Ctrl-C.

    For example: python -m simulator.emulator --deployment default/chat --model llama --trace azure-code-2023
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s emulator: %(message)s"
    )
    host, port = _address(listen)
    for name in deployments:
        if len([part for part in name.split("/") if part]) != 2:
            raise click.BadParameter(f"--deployment {name}: give NAMESPACE/NAME")
    try:
        load = None if trace is None else slice_of(name=trace, from_s=from_s, to_s=to_s, copies=copies, seed=seed)
        engine = compressed(load_profile(profile), time_factor)
        reader = PodReader(kubeconfig)
    except (TraceError, ProfileError, PodsUnreadable) as error:
        raise click.ClickException(str(error)) from error
    _compile_now()
    emulator = Emulator(Emulation(deployments, model=model, profile=engine, seed=seed), reader, time_factor=time_factor)
    asyncio.run(_serve(emulator, host, port, load))


async def _serve(emulator: Emulator, host: str, port: int, load: Trace | None) -> None:
    runner = web.AppRunner(emulator.application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise click.ClickException(f"--listen {host}:{port}: {error.strerror}; choose another port") from error
    bound = runner.addresses[0][1]
    logger.info("serving http://%s:%d/sd", host, bound)
    if load is not None:
        logger.info("replaying %s", json.dumps(emulator.start(load)))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        await runner.cleanup()


def _compile_now() -> None:
    """Let the engine be compiled before time counts."""
    emulation = Emulation(("warm/up",), model="", profile=load_profile("a100-80gb/llama-3.1-8b"))
    emulation.see({"warm/up": [SeenPod(namespace="warm", name="up", uid="", ready=True, deleting=False)]})
    one = np.ones(1, dtype=np.int32)
    emulation.replay(Trace(name="warm-up", arrival_s=np.zeros(1), prompt_tokens=one, output_tokens=one + 1))
    emulation.advance(10.0)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65_535:
        raise click.BadParameter(f"--listen {listen!r} is no address; give e.g. 127.0.0.1:9400")
    return host, int(port)
