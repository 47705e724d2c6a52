"""The controller: the adapters put together, and the tick.

One event loop. Every tick takes one snapshot for all policies, then steps each policy's ``Driver`` in a worker thread,
then writes down what happened: journal, metrics, status, Events, one log line for each change. Watch and lease have
threads of their own, so that nothing slow delays a renewal. A tick never ends the loop: what fails is told, and the
next tick is the retry. (``operator.py`` would be this module's natural name; it shadows the standard library's.)
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from aiohttp import web

from autoscaler.adapters.kube import KubeApi
from autoscaler.adapters.kube_pods import Firsts
from autoscaler.adapters.kube_scale import Scales
from autoscaler.adapters.lease import LeaseElector
from autoscaler.adapters.store import Tick
from autoscaler.controller.announcer import Announcer
from autoscaler.controller.book import Book, Recollection
from autoscaler.controller.clerk import Clerk
from autoscaler.controller.clusterfeed import ClusterFeed
from autoscaler.controller.fleet import Fleet, Making, Member
from autoscaler.controller.health import Heartbeat, application
from autoscaler.controller.holders import Claims, target_of
from autoscaler.controller.metrics import ControllerMetrics
from autoscaler.controller.recaller import UNRECALLED, Recaller
from autoscaler.controller.telling import Teller
from autoscaler.controller.world import ClusterWorld, Sight
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.policy import ScalingPolicy
from autoscaler.core.policy_parts import Mode
from autoscaler.footprint.prices import PriceList, price_of
from autoscaler.journal import Entry

logger = logging.getLogger(__name__)

RESYNC_S = 120.0
STEP_THREADS = 8
# A tick's time for all of its requests: as long as the tick where that is short enough for the probe to wait for.
LEAST_BUDGET_S = 5.0
MOST_BUDGET_S = 15.0
LEASE_NAME = "inference-autoscaler"
NO_PRICES = PriceList(rows=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the controller runs. ``namespaces`` None means the whole cluster; ``identity`` None: no leader election."""

    tick_s: float = 15.0
    resync_s: float = RESYNC_S
    namespaces: tuple[str, ...] | None = None
    host: str = "0.0.0.0"  # Probes and Prometheus come from outside the pod.
    port: int = 8080
    identity: str | None = None
    lease_namespace: str = "inference-autoscaler"
    prices: PriceList = NO_PRICES


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """Where signals come from. Neither raises.

    ``refresh(at, policies)`` takes one snapshot for some policies and returns the failed queries by endpoint;
    ``pick(policy, at, pods)`` takes one policy's part out of it, given the pods that ought to have a sample.
    """

    refresh: Callable[[float, Sequence[ScalingPolicy]], Awaitable[dict[str, int]]]
    pick: Callable[[ScalingPolicy, float, Sequence[str]], Sight]


class Controller:
    """Everything that one controller process holds."""

    def __init__(self, api: KubeApi, options: Options, *, eyes: Eyes, book: Book) -> None:
        self._options = options
        self._eyes = eyes
        self._book = book
        self.feed = ClusterFeed(api, namespaces=options.namespaces)
        self.metrics = ControllerMetrics()
        self.heartbeat = Heartbeat(options.tick_s, time.monotonic)
        self._scales = Scales(api, time.monotonic)
        self._announcer = Announcer(api, may_write=self.leads, clock=time.monotonic)
        self._recaller = Recaller(book, self._take_up, time.monotonic)
        self._clerk = Clerk(book, self.metrics, unread=lambda: self._recaller.trouble)
        self._teller = Teller(self._announcer, self.metrics, self.leads, trouble=lambda: self._clerk.trouble)
        self._lease = _elector(api, options)
        self._fleet = Fleet(
            Making(world=self._world, first=initial, decide=decide, record=lambda m: partial(self._note, m))
        )
        self._claims = Claims(policies=(), autoscalers=(), scaled_objects=())
        self._steps = ThreadPoolExecutor(STEP_THREADS, thread_name_prefix="step")
        self._resync_due = asyncio.Event()

    def leads(self) -> bool:
        """Whether this process may write at this instant."""
        return self._lease is None or self._lease.is_leader()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until told to stop.

        Raises:
            KubeError: at the start alone: the cluster cannot be read.
            OSError: at the start alone: the port is taken.
        """
        await asyncio.to_thread(self.feed.check)
        server = await self._serve()
        loop = asyncio.get_running_loop()
        self.feed.start(partial(self._ask_for_resync, loop))
        if self._lease is not None:
            await asyncio.to_thread(self._lease.attempt)
            self._lease.start()
        tasks = [asyncio.create_task(work) for work in (self._ticks(), self._resyncs(), self._announcer.run())]
        logger.info("ready: %d policies, a tick every %g s", len(self.feed.policies), self._options.tick_s)
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopping, *tasks):
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await self._shut_down(server)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def tick(self, at: float) -> None:
        """Take one tick at an instant (unix seconds) over all policies that are due."""
        for member in self._fleet.refresh(self.feed.policies.all()):
            self._teller.forget(member)
        await self._recaller.recall(self._fleet.members)
        due = [member for member in self._fleet.members if member.is_due(at, slack_s=self._options.tick_s / 2)]
        due.sort(key=_asked_at)
        errors = await self._eyes.refresh(at, [member.policy for member in due if member.policy])
        for endpoint, count in errors.items():
            self.metrics.query_errors.labels(endpoint).inc(count)
        # After the snapshot, which may take seconds: who began to hold a target meanwhile is respected.
        self._claims = Claims(
            policies=self.feed.policies.all(),
            autoscalers=self.feed.autoscalers.all(),
            scaled_objects=self.feed.scaled_objects.all(),
        )
        loop = asyncio.get_running_loop()
        self._scales.begin_tick(min(max(self._options.tick_s, LEAST_BUDGET_S), MOST_BUDGET_S))
        await asyncio.gather(*(loop.run_in_executor(self._steps, self._step, member, at) for member in due))
        for member in self._fleet.members:
            self._teller.tell(member, at)
        await self._clerk.write()
        self.metrics.leader.set(self.leads())
        self.metrics.policies.set(len(self._fleet.members))

    async def _ticks(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self.tick(time.time())
            except Exception:  # A tick that fails is a fault of ours; the heartbeat stops, and the log says where.
                logger.exception("the tick failed; the next one tries again")
            else:
                self.heartbeat.beat()
            took_s = time.monotonic() - began
            self.metrics.tick_seconds.observe(took_s)
            await asyncio.sleep(max(0.05, self._options.tick_s - took_s))

    def _ask_for_resync(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(self._resync_due.set)

    async def _resyncs(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._resync_due.wait(), self._options.resync_s)
            self._resync_due.clear()
            swept = await asyncio.to_thread(self.feed.resync)
            self.metrics.ghosts.inc(swept)

    def _step(self, member: Member, at: float) -> None:
        """Step one policy, in a worker thread."""
        assert member.driver is not None
        assert member.policy is not None
        enforces = member.policy.spec.mode is Mode.ENFORCE
        member.conflict = self._claims.other_holder(member.body) if enforces else None
        try:
            member.next_at = member.driver.step(at)
        except Exception:  # One policy's fault must not keep the others from being decided.
            logger.exception("%s: the step failed; its target is left as it is", member.key)
            self.metrics.step_failures.labels(member.who.namespace, member.who.name).inc()

    def _note(self, member: Member, entry: Entry, memory: Memory) -> None:
        member.entries.append(entry)
        if self.leads():
            # Followers decide along, to be warm when they take over; the journal is the leader's.
            assert member.driver is not None
            spec = member.driver.policy
            price = price_of(spec.accelerator, self._options.prices).usd_per_hour
            # What is stored is not written over before it was read.
            kept = memory if member.recalled else None
            self._clerk.note(Tick(entry=entry, memory=kept, spec=spec, price_usd_per_hour=price))

    def _take_up(self, member: Member, found: Recollection) -> None:
        assert member.driver is not None
        for replica in found.replicas:
            self.feed.history.recall(replica.uid, Firsts(started_at=replica.started_at, ready_at=replica.ready_at))
        member.driver.memory = self._book.taken_up(found, member.driver.policy, member.driver.memory)

    def _world(self, member: Member) -> ClusterWorld:
        target = target_of(member.body)
        assert target is not None, "a policy that was parsed names a target"
        return ClusterWorld(
            target=target,
            scales=self._scales,
            pods=self.feed.pods,
            history=self.feed.history,
            look=partial(self._look, member),
            bar=partial(self._bar, member),
            clock=time.monotonic,
        )

    def _look(self, member: Member, at: float, pods: Sequence[str]) -> Sight:
        sight = self._eyes.pick(member.policy, at, pods) if member.policy else Sight()
        if self._recaller.may_be_worth_waiting(member):
            return replace(sight, warnings=(*sight.warnings, UNRECALLED))
        return sight

    def _bar(self, member: Member) -> str | None:
        """Return why a member's target may not be written at this instant, or None if it may."""
        if member.conflict is not None:
            return member.conflict
        body = self.feed.policies.get(member.who.uid)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return "the policy was deleted"
        if body["spec"] != member.body["spec"]:
            return "the policy was changed since this was decided; the next tick decides anew"
        if not self.leads():
            return f"this controller is not the leader; {self._lease.holder if self._lease else None} is"
        return self.feed.unseen_holders()

    async def _serve(self) -> web.AppRunner:
        runner = web.AppRunner(application(self.heartbeat, self.metrics.registry, self.leads), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._options.host, self._options.port).start()
        except OSError:
            await runner.cleanup()
            raise
        return runner

    async def _shut_down(self, server: web.AppRunner) -> None:
        self._steps.shutdown(wait=True, cancel_futures=True)
        await self._clerk.finish()
        if self._lease is not None:
            await asyncio.to_thread(self._lease.stop)
        await asyncio.to_thread(self.feed.stop)
        await server.cleanup()


def _asked_at(member: Member) -> float:
    return member.world.asked_at if member.world is not None else float("-inf")


def _elector(api: KubeApi, options: Options) -> LeaseElector | None:
    if options.identity is None:
        return None
    return LeaseElector(
        request=api.request, namespace=options.lease_namespace, name=LEASE_NAME, identity=options.identity
    )
