"""Prometheus: one snapshot a tick for all policies of an endpoint, and never an exception for want of an answer.

The queries of all plans run side by side in a few threads of the endpoint's own, so that an endpoint which hangs
takes no thread from another. Each has its deadline, the tick has one for all, and what is not back by then is a
warning like any other failure. A query's text is asked once, however many plans contain it.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from autoscaler.adapters.prometheus_endpoint import Endpoint, PrometheusError
from autoscaler.adapters.prometheus_http import Answer, PrometheusClient
from autoscaler.adapters.prometheus_plan import PolicySeries, QueryPlan, query_plans
from autoscaler.adapters.prometheus_snapshot import PlanTables, QueryRun, Snapshot, tables_of
from autoscaler.dcgm import DCGM_QUERIES, DeviceKey, DeviceSignal, device_key
from autoscaler.engines import Signal

__all__ = [
    "Endpoint",
    "PolicySeries",
    "Prometheus",
    "PrometheusClient",
    "PrometheusError",
    "QueryPlan",
    "QueryRun",
    "Snapshot",
    "query_plans",
]

_THREADS = 8
# Beyond the tick's deadline only a name server can hold a thread; it is not waited for.
_SLACK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """One query's answer or error, and how long it took."""

    seconds: float
    answer: Answer | None = None
    error: PrometheusError | None = None


class Prometheus:
    """One endpoint, asked once a tick."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client = PrometheusClient(endpoint)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"prometheus-{endpoint.name}")

    def close(self) -> None:
        """Let go of connections and threads; a query still on its way ends at its own deadline."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def snapshot(self, plans: Sequence[QueryPlan], at: float) -> Snapshot:
        """Ask all plans for one instant (unix seconds). Returns within the tick's deadline and never raises."""
        # The engines' signals first: custom queries get the time that these leave.
        purposes: dict[str, str] = {}
        for plan in plans:
            purposes |= {promql: signal.value for signal, promql in plan.queries}
        for plan in plans:
            purposes |= {promql: "custom" for promql in plan.custom if promql not in purposes}
        replies = await self._ask_all(list(purposes), at)
        texts = {promql for plan in plans for promql in plan.custom}
        return Snapshot(
            endpoint=self.endpoint.name,
            at=at,
            plans={plan.key: self._tables(plan, replies) for plan in plans},
            custom={text: reply.answer for text in texts if (reply := replies[text]).answer is not None},
            custom_errors={text: str(reply.error) for text in texts if (reply := replies[text]).error is not None},
            runs=tuple(_run(purpose, replies[promql]) for promql, purpose in purposes.items()),
        )

    async def devices(self, at: float) -> tuple[dict[DeviceKey, dict[DeviceSignal, float]], tuple[str, ...]]:
        """Return what the DCGM exporter tells of every accelerator, and why it may be incomplete."""
        replies = await self._ask_all(list(DCGM_QUERIES.values()), at)
        found: dict[DeviceKey, dict[DeviceSignal, float]] = {}
        for signal, promql in DCGM_QUERIES.items():
            answer = replies[promql].answer
            for row, value in answer.rows if answer else ():
                key = device_key(row)
                if key is not None:
                    found.setdefault(key, {})[signal] = value
        return found, self._warnings({signal.value: replies[promql] for signal, promql in DCGM_QUERIES.items()})

    async def check(self) -> None:
        """Ask whether the endpoint is there and is a Prometheus; raises PrometheusError with the remedy if not."""
        reply = (await self._ask_all(["vector(1)"], time.time()))["vector(1)"]
        if reply.error is not None:
            raise reply.error

    async def _ask_all(self, texts: Sequence[str], at: float) -> dict[str, _Reply]:
        loop = asyncio.get_running_loop()
        ends_at = time.monotonic() + self.endpoint.tick_timeout_s
        asked = {
            text: loop.run_in_executor(self._threads, self._ask, text, at - self.endpoint.settle_s, ends_at)
            for text in texts
        }
        if asked:
            await asyncio.wait(asked.values(), timeout=self.endpoint.tick_timeout_s + _SLACK_S)
        return {text: future.result() if future.done() else self._late(future) for text, future in asked.items()}

    def _ask(self, promql: str, at: float, ends_at: float) -> _Reply:
        began = time.monotonic()
        timeout_s = min(self.endpoint.timeout_s, ends_at - began)
        if timeout_s <= 0.0:
            return _Reply(seconds=0.0, error=self._out_of_time())
        try:
            answer = self._client.query(promql, at=at, timeout_s=timeout_s)
        except PrometheusError as error:
            return _Reply(seconds=time.monotonic() - began, error=error)
        return _Reply(seconds=time.monotonic() - began, answer=answer)

    def _late(self, future: "asyncio.Future[_Reply]") -> _Reply:
        future.cancel()
        return _Reply(seconds=self.endpoint.tick_timeout_s + _SLACK_S, error=self._out_of_time())

    def _out_of_time(self) -> PrometheusError:
        limit = self.endpoint.tick_timeout_s
        return PrometheusError(
            self.endpoint.name, "timeout", f"not all queries of a tick fit into {limit:g} s; check its load"
        )

    def _tables(self, plan: QueryPlan, replies: Mapping[str, _Reply]) -> PlanTables:
        own = {signal: replies[promql] for signal, promql in plan.queries}
        answers: dict[Signal, Answer] = {sig: reply.answer for sig, reply in own.items() if reply.answer is not None}
        return tables_of(plan, answers, self._warnings({sig.value: reply for sig, reply in own.items()}))

    def _warnings(self, replies: Mapping[str, _Reply]) -> tuple[str, ...]:
        """Return each distinct failure and each warning of the server once, with the signals that it befell."""
        befell: dict[str, list[str]] = {}
        for name, reply in replies.items():
            said: Iterable[str] = reply.answer.warnings if reply.answer is not None else ()
            for text in said:
                befell.setdefault(f'Prometheus "{self.endpoint.name}" warns: {text}', []).append(name)
            if reply.error is not None:
                befell.setdefault(str(reply.error), []).append(name)
        return tuple(f"{text} (asked for {', '.join(names)})" for text, names in befell.items())


def _run(purpose: str, reply: _Reply) -> QueryRun:
    return QueryRun(
        signal=purpose,
        seconds=reply.seconds,
        series=len(reply.answer.rows) if reply.answer is not None else 0,
        error_kind=reply.error.kind if reply.error is not None else None,
    )
