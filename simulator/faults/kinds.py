"""The kinds of faults as a file names them, each with its fields. What each is in production: docs/faults.md."""

from enum import StrEnum

from pydantic import Field, model_validator

from simulator.inputfile import Part


class Kind(StrEnum):
    """What faults are called in a file."""

    TARGET_DOWN = "targetDown"
    PROMETHEUS_DOWN = "prometheusDown"
    STALE_METRICS = "staleMetrics"
    NAN_METRICS = "nanMetrics"
    PARTIAL_METRICS = "partialMetrics"
    COUNTER_RESET = "counterReset"
    DELAYED_SCRAPES = "delayedScrapes"
    SCALE_CONFLICT = "scaleConflict"
    SCALE_REFUSED = "scaleRefused"
    SLOW_API = "slowApi"
    CONTROLLER_RESTART = "controllerRestart"
    LEADER_CHANGE = "leaderChange"
    FAILED_START = "failedStart"
    HANGING_START = "hangingStart"
    CRASH_LOOP = "crashLoop"
    REPLICA_CRASH = "replicaCrash"
    SLOW_REPLICAS = "slowReplicas"
    STOCKOUT = "stockout"
    NODE_LOSS = "nodeLoss"
    SPOT_RECLAIM = "spotReclaim"


class Series(StrEnum):
    """Engine metrics that may be missing or not a number, as the fields of a sample, in camel case."""

    RUNNING = "running"
    WAITING = "waiting"
    KV_RATIO = "kvRatio"
    KV_CAPACITY = "kvCapacityTokens"
    PROMPT_TOKENS = "promptTokens"
    GENERATION_TOKENS = "generationTokens"
    FINISHED_REQUESTS = "finishedRequests"
    STEPS = "steps"
    TTFT_COUNT = "ttftCount"
    ITL_SUM = "itlSumS"
    ITL_COUNT = "itlCount"
    TPOT_COUNT = "tpotCount"


class PullFailure(StrEnum):
    """Why there is no container, in Kubernetes' own words."""

    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    CREATE_CONTAINER_ERROR = "CreateContainerError"
    INVALID_IMAGE_NAME = "InvalidImageName"


class PullPolicy(StrEnum):
    """Whether the kubelet asks the registry for an image that the node has, in Kubernetes' own words."""

    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"


class Fate(StrEnum):
    """What becomes of the requests of an engine that crashes."""

    LOST = "lost"
    RETRIED = "retried"


class Fault(Part):
    """One line of a fault file: a kind, and when it begins."""

    fault: Kind
    start_seconds: float | None = Field(None, ge=0, description="seconds from the trace's beginning.")
    per_hour: float | None = Field(None, gt=0, le=60)

    @model_validator(mode="after")
    def _one_beginning(self) -> "Fault":
        if (self.start_seconds is None) == (self.per_hour is None):
            raise ValueError("give startSeconds, the second at which it begins, or perHour, how often; one of the two")
        return self

    @property
    def lasts_s(self) -> float:
        """How long one occurrence lasts; 0 for what happens at an instant."""
        return 0.0


class Lasting(Fault):
    """A fault with a duration."""

    duration_seconds: float = Field(gt=0, le=31_536_000, description="how long it lasts, e.g. 300.")

    @property
    def lasts_s(self) -> float:
        """How long one occurrence lasts."""
        return self.duration_seconds


SHARE = Field(1.0, gt=0, le=1)


class TargetDown(Lasting):
    """The scrape of a share of the replicas fails: all their samples are gone and ``up`` is 0."""

    share: float = SHARE


class PrometheusDown(Lasting):
    """Prometheus does not answer: no sample of any replica, nothing of the gateway, and a warning that says so."""


class StaleMetrics(Lasting):
    """The last sample of a share of the replicas is repeated with its old time; after 5 minutes it is gone."""

    share: float = SHARE


class NanMetrics(Lasting):
    """Series of a share of the replicas are not a number."""

    share: float = SHARE
    series: tuple[Series, ...] = Field((Series.RUNNING, Series.WAITING, Series.KV_RATIO), min_length=1)


class PartialMetrics(Lasting):
    """A share of the replicas has no series at all, or where ``series`` are named, not those."""

    share: float = SHARE
    series: tuple[Series, ...] = ()


class CounterReset(Fault):
    """The counters of a share of the replicas begin at 0 again, though the replica goes on."""

    share: float = SHARE


class DelayedScrapes(Lasting):
    """What is seen is older than usual."""

    lag_seconds: float = Field(gt=0, le=86_400, description="seconds that samples come late, e.g. 60.")


class ScaleConflict(Lasting):
    """A share of the writes to /scale meets an object that somebody else has changed since it was read (409)."""

    share: float = SHARE


class ScaleRefused(Lasting):
    """The API server refuses every write to /scale (403)."""


class SlowApi(Lasting):
    """The API server takes its time: a write counts so much later, and beyond 3 s nothing is answered in time."""

    delay_seconds: float = Field(gt=0, le=600, description="seconds that each request takes, e.g. 2.")


class ControllerRestart(Fault):
    """The controller ends, and another one takes up its memory from the journal after some seconds without ticks."""

    down_seconds: float = Field(30.0, gt=0, le=604_800)

    @property
    def lasts_s(self) -> float:
        """How long nobody ticks."""
        return self.down_seconds


class LeaderChange(Fault):
    """The leader is gone: a follower, which has decided along, may not write until the lease has run out."""

    lease_seconds: float = Field(17.0, gt=0, le=3600)

    @property
    def lasts_s(self) -> float:
        """How long nobody may write."""
        return self.lease_seconds


class FailedStart(Lasting):
    """Of the replicas ordered meanwhile a share gets no container: tried again with the kubelet's back-off.

    A pull fails only where there is one: on a node that has the image there is none, unless the pod says ``Always``.
    A container that cannot be made, and a name that is none, fail on every node.
    """

    share: float = SHARE
    reason: PullFailure = PullFailure.IMAGE_PULL_BACK_OFF
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    attempts: int | None = Field(
        None, ge=1, le=1000, description="tries that fail before one succeeds; none by default."
    )

    @property
    def spares_cached(self) -> bool:
        """Whether it passes by a replica that finds its image on the node."""
        return self.reason is PullFailure.IMAGE_PULL_BACK_OFF and self.image_pull_policy is PullPolicy.IF_NOT_PRESENT


class HangingStart(Lasting):
    """Of the replicas ordered meanwhile a share loads for ever."""

    share: float = SHARE


class CrashLoop(Lasting):
    """The engine of a share of the replicas ordered meanwhile crashes at its start, again and again."""

    share: float = SHARE
    after_seconds: float = Field(20.0, gt=0, le=86_400)
    attempts: int | None = Field(None, ge=1, le=1000)


class ReplicaCrash(Fault):
    """The engines of some ready replicas end, with all requests that they have, and start again in their pods."""

    replicas: int = Field(1, ge=1, le=100_000)
    requests: Fate = Fate.LOST


class SlowReplicas(Lasting):
    """Every step of a share of the replicas takes longer by a factor: a hot GPU, a noisy neighbour."""

    share: float = SHARE
    factor: float = Field(gt=1, le=100, description="how many times as long a step takes, e.g. 3.")


class Stockout(Lasting):
    """No node is to be had, of a group or of any; without a cluster file no ordered replica is placed."""

    group: str | None = None


class NodeLoss(Fault):
    """Some nodes are gone at once, with all replicas on them, whose requests are tried again elsewhere."""

    nodes: int = Field(1, ge=1, le=1000)
    group: str | None = None
    noticed_seconds: float = Field(340.0, ge=0, le=86_400)


class SpotReclaim(Fault):
    """Some spot nodes are taken back after a notice, in which their replicas drain."""

    nodes: int = Field(1, ge=1, le=1000)
    group: str | None = None
    notice_seconds: float = Field(120.0, gt=0, le=86_400)


MODELS: dict[Kind, type[Fault]] = {
    Kind.TARGET_DOWN: TargetDown,
    Kind.PROMETHEUS_DOWN: PrometheusDown,
    Kind.STALE_METRICS: StaleMetrics,
    Kind.NAN_METRICS: NanMetrics,
    Kind.PARTIAL_METRICS: PartialMetrics,
    Kind.COUNTER_RESET: CounterReset,
    Kind.DELAYED_SCRAPES: DelayedScrapes,
    Kind.SCALE_CONFLICT: ScaleConflict,
    Kind.SCALE_REFUSED: ScaleRefused,
    Kind.SLOW_API: SlowApi,
    Kind.CONTROLLER_RESTART: ControllerRestart,
    Kind.LEADER_CHANGE: LeaderChange,
    Kind.FAILED_START: FailedStart,
    Kind.HANGING_START: HangingStart,
    Kind.CRASH_LOOP: CrashLoop,
    Kind.REPLICA_CRASH: ReplicaCrash,
    Kind.SLOW_REPLICAS: SlowReplicas,
    Kind.STOCKOUT: Stockout,
    Kind.NODE_LOSS: NodeLoss,
    Kind.SPOT_RECLAIM: SpotReclaim,
}
