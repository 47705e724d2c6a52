"""The parts of a cluster file, as they are written, and the rules that they keep."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from simulator.inputfile import Part
from simulator.nodes.neighbors import Neighbor
from simulator.nodes.node import Content, Needs, Tier
from simulator.nodes.scaling import Packing
from simulator.startup.distributions import Distribution, Empirical, Fixed, LogNormal
from simulator.startup.recordings import RecordingError, read_csv, read_journal, recorded


class Duration(Part):
    """Seconds: always the same, log-normal, or as recorded."""

    fixed: float | None = Field(None, ge=0, le=86_400)
    median: float | None = Field(None, ge=0, le=86_400)
    sigma: float = Field(0.0, ge=0, le=3)
    samples: list[float] | None = Field(None, min_length=1)
    csv: str | None = None
    journal: str | None = None
    policy: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _number(cls, given: object) -> object:
        return {"fixed": given} if isinstance(given, (int, float)) and not isinstance(given, bool) else given

    @model_validator(mode="after")
    def _one(self) -> "Duration":
        ways = [self.fixed, self.median, self.samples, self.csv, self.journal]
        if sum(way is not None for way in ways) != 1:
            raise ValueError("give one of: seconds as a number, median (with sigma), samples, csv, journal")
        if self.samples is not None and min(self.samples) < 0:
            raise ValueError("a sample is negative; give seconds, 0 or more")
        if self.policy is not None and self.journal is None:
            raise ValueError("policy chooses among those of a journal, and there is none; leave it out")
        return self

    def distribution(self, column: str, folder: Path) -> Distribution:
        """Return the distribution; ``column`` names the phase in a recording.

        Raises:
            RecordingError: a recording cannot be used.
        """
        if self.csv is not None:
            return Empirical(samples_s=read_csv(folder / self.csv, column))
        if self.journal is not None:
            return _of_journal(self.journal, folder, self.policy, column)
        if self.samples is not None:
            return Empirical(samples_s=tuple(self.samples))
        return (
            Fixed(seconds=self.fixed or 0.0)
            if self.median is None
            else LogNormal(median_s=self.median, sigma=self.sigma)
        )


class ContentPart(Part):
    """An image or weights: equal names are the same bytes."""

    name: str = Field(min_length=1)
    gigabytes: float = Field(gt=0, le=100_000, description="10⁹ bytes that a node has to transfer.")

    def content(self) -> Content:
        """Return it as a value."""
        return Content(name=self.name, gigabytes=self.gigabytes)


class WeightsPart(ContentPart):
    """Weights, and where they lie before a node has read them."""

    from_: Tier = Field(Tier.OBJECT_STORE, alias="from")


class Bandwidth(Part):
    """10⁹ bytes a second of each link of one node; over one that is left out, bytes take no time."""

    registry: float | None = Field(None, gt=0, le=10_000)
    object_store: float | None = Field(None, gt=0, le=10_000)
    network_filesystem: float | None = Field(None, gt=0, le=10_000)
    disk: float | None = Field(None, gt=0, le=10_000)
    memory: float | None = Field(None, gt=0, le=10_000)

    def by_tier(self) -> Mapping[Tier, float]:
        """Return it by tier, without those that are left out."""
        given = self.model_dump(by_alias=True)
        return {tier: given[tier.value] for tier in Tier if given[tier.value] is not None}


class GroupPart(Part):
    """Nodes of one kind."""

    name: str = Field(min_length=1)
    accelerator: str = Field(min_length=1, description="as spec.accelerator.class in the policy.")
    accelerators_per_node: int = Field(ge=1, le=1024, description="accelerators of one node, e.g. 8.")
    min_nodes: int = Field(0, ge=0, le=100_000)
    max_nodes: int = Field(1000, ge=1, le=100_000)
    spot: bool = False
    usd_per_hour: float | None = Field(None, ge=0)
    provisioning_seconds: Duration = Field(
        description="from asking for a node to its Ready, e.g. {median: 90, sigma: 0.3}."
    )
    gigabytes_per_second: Bandwidth = Bandwidth()
    disk_gigabytes: float = Field(1e9, gt=0)
    memory_gigabytes: float = Field(0.0, ge=0)
    sleep_gigabytes: float = Field(0.0, ge=0)
    preloaded_images: tuple[ContentPart, ...] = ()

    @model_validator(mode="after")
    def _bounds(self) -> "GroupPart":
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"minNodes {self.min_nodes} is above maxNodes {self.max_nodes}; swap them")
        return self


class AutoscalerPart(Part):
    """The node autoscaler."""

    scan_seconds: float = Field(10.0, gt=0, le=3600)
    empty_seconds: float = Field(600.0, ge=0)
    backoff_seconds: float = Field(300.0, ge=0)


class SleepPart(Part):
    """Replicas that are scaled away sleep on their node; level 1 keeps the weights in host memory."""

    level: Literal[1, 2] = 1
    gigabytes: float = Field(gt=0, le=100_000, description="host memory of one that sleeps, in 10⁹ bytes.")
    wake_seconds: Duration = Field(description="from being placed again to Ready, e.g. {median: 3, sigma: 0.3}.")
    keeps_accelerators: bool = False
    most_seconds: float | None = Field(None, gt=0)


class ReplicaPart(Part):
    """What a node has to transfer for a replica, and whether it sleeps."""

    image: ContentPart | None = None
    weights: WeightsPart | None = None
    sleep: SleepPart | None = None


class StartupPart(Part):
    """What a start takes beyond waiting for a node and transfers."""

    schedule_seconds: Duration | None = None
    pull_seconds: Duration | None = None
    load_seconds: Duration | None = None
    warmup_seconds: Duration | None = None


class StepPart(Part):
    """How many replicas there are from an instant on."""

    at_seconds: float = Field(ge=0)
    count: int = Field(ge=0, le=100_000)


class NeighborPart(Part):
    """Another model on the same nodes, whose replicas come and go by a plan."""

    name: str = Field(min_length=1)
    accelerator: str = Field(min_length=1)
    accelerators_per_replica: int = Field(1, ge=1, le=1024)
    image: ContentPart | None = None
    weights: WeightsPart | None = None
    replicas: tuple[StepPart, ...] = Field(min_length=1, description="e.g. [{atSeconds: 0, count: 2}].")

    def neighbor(self) -> Neighbor:
        """Return it as a value."""
        needs = Needs(
            accelerator=self.accelerator,
            accelerators=self.accelerators_per_replica,
            image=self.image.content() if self.image else None,
            weights=self.weights.content() if self.weights else None,
            weights_from=self.weights.from_ if self.weights else Tier.OBJECT_STORE,
        )
        return Neighbor(
            name=self.name, needs=needs, plan=tuple((step.at_seconds, step.count) for step in self.replicas)
        )

    @model_validator(mode="after")
    def _ascending(self) -> "NeighborPart":
        times = [step.at_seconds for step in self.replicas]
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise ValueError("replicas are not in the order of their atSeconds, each once; sort them")
        return self


class ClusterFile(Part):
    """A whole cluster file."""

    node_groups: tuple[GroupPart, ...] = Field(min_length=1, description="the kinds of nodes that there are.")
    scheduler: Packing = Packing.FIRST_FIT
    autoscaler: AutoscalerPart = AutoscalerPart()
    replica: ReplicaPart = ReplicaPart()
    startup: StartupPart | None = None
    neighbors: tuple[NeighborPart, ...] = ()

    @model_validator(mode="after")
    def _neighbors_fit(self) -> "ClusterFile":
        names = [neighbor.name for neighbor in self.neighbors]
        for neighbor in self.neighbors:
            if names.count(neighbor.name) > 1:
                raise ValueError(f"two neighbors are called {neighbor.name}; give each a name of its own")
            each = neighbor.accelerators_per_replica
            if not any(
                group.accelerator == neighbor.accelerator and group.accelerators_per_node >= each
                for group in self.node_groups
            ):
                raise ValueError(
                    f"no node holds a replica of the neighbor {neighbor.name}, {each} × {neighbor.accelerator};"
                    " add a group with such nodes"
                )
        return self

    @model_validator(mode="after")
    def _whole(self) -> "ClusterFile":
        names = [group.name for group in self.node_groups]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two node groups are called {twice[0]}; give each a name of its own")
        if self.replica.sleep and not any(group.sleep_gigabytes for group in self.node_groups):
            raise ValueError("replica.sleep, and no group has memory for it; give a group sleepGigabytes")
        if self.startup is None and (self.replica.image or self.replica.weights):
            raise ValueError(
                "with replica.image or replica.weights, startup is required: what a start takes beyond them"
            )
        return self

    @model_validator(mode="after")
    def _nothing_twice(self) -> "ClusterFile":
        startup = self.startup or StartupPart()
        for given, field, duration in (
            (self.replica.image, "image", startup.pull_seconds),
            (self.replica.weights, "weights", startup.load_seconds),
        ):
            if given and duration and duration.journal is not None:
                raise ValueError(f"a journal's starts have the transfer in them; leave replica.{field} out")
        return self


def _of_journal(place: str, folder: Path, policy: str | None, column: str) -> Distribution:
    starts = recorded(read_journal(place, folder, policy))
    phases: dict[str, Any] = {
        "schedule_s": starts.schedule, "pull_s": starts.pull, "load_s": starts.load, "warmup_s": starts.warmup
    }  # fmt: skip
    if column not in phases:
        raise RecordingError(f"a journal does not tell {column}; give a number, median and sigma, samples or a csv")
    found: Distribution = phases[column]
    return found
