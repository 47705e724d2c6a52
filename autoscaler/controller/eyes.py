"""The controller's eyes: one snapshot a tick of every Prometheus, and each policy's part of it.

Endpoints have names that the administrator gave; a policy names one and never gives a URL. Whatever keeps a policy
from seeing is a warning in its signals: with any of them nothing is scaled down.
"""

import asyncio
from collections.abc import Mapping, Sequence

from autoscaler.adapters.prometheus import PolicySeries, Prometheus, Snapshot, query_plans
from autoscaler.controller.world import Sight
from autoscaler.core.policy import ScalingPolicy
from autoscaler.engines import LabelError


class PrometheusEyes:
    """All endpoints of a controller, by name."""

    def __init__(self, endpoints: Mapping[str, Prometheus], *, allow_queries: bool) -> None:
        self._endpoints = endpoints
        self._allow_queries = allow_queries
        self._snapshots: dict[str, Snapshot] = {}

    async def refresh(self, at: float, policies: Sequence[ScalingPolicy]) -> dict[str, int]:
        """Take one snapshot of every endpoint that a policy reads; return the number of failed queries by endpoint."""
        wanted: dict[str, list[PolicySeries]] = {}
        for policy in policies:
            series = self._series(policy)
            if isinstance(series, PolicySeries) and policy.spec.prometheus in self._endpoints:
                wanted.setdefault(policy.spec.prometheus, []).append(series)
        taken = await asyncio.gather(
            *(self._endpoints[name].snapshot(query_plans(series), at) for name, series in wanted.items())
        )
        self._snapshots = {snapshot.endpoint: snapshot for snapshot in taken}
        errors = {one.endpoint: sum(run.error_kind is not None for run in one.runs) for one in taken}
        return {name: count for name, count in errors.items() if count}

    def pick(self, policy: ScalingPolicy, at: float, pods: Sequence[str]) -> Sight:
        """Return what the snapshot of this instant tells of one policy's pods."""
        name = policy.spec.prometheus
        if name not in self._endpoints:
            known = ", ".join(sorted(self._endpoints)) or "none"
            return Sight(warnings=(f'spec.prometheus names "{name}"; the administrator gave: {known}',))
        series = self._series(policy)
        if isinstance(series, str):
            return Sight(warnings=(series,))
        snapshot = self._snapshots.get(name)
        if snapshot is None or snapshot.at != at:
            return Sight(warnings=(f'Prometheus "{name}" was not asked in this tick',))
        return Sight(
            samples=snapshot.samples(series, pods, policy.spec.timing.stale_after_seconds),
            held_requests=snapshot.held_requests(series),
            warnings=snapshot.warnings(series, pods),
        )

    def close(self) -> None:
        """Let go of all connections."""
        for endpoint in self._endpoints.values():
            endpoint.close()

    def _series(self, policy: ScalingPolicy) -> PolicySeries | str:
        """Return which series are a policy's, or why that cannot be said."""
        try:
            return PolicySeries.of(policy, allow_queries=self._allow_queries)
        except LabelError as error:
            return str(error)
