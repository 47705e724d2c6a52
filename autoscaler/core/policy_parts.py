"""The parts of a policy: one frozen model for each block that a user may write.

``core.policy`` puts them together and tells why they look as they do.
"""

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from autoscaler.core.policy_fields import (
    ONE_PRICE,
    ONE_PRIOR,
    ONE_QUERY,
    PREWARM_ORDER,
    REPLICAS_ORDER,
    WEIGHTS_TOGETHER,
    ApiVersion,
    Count,
    KindName,
    Label,
    Name,
    ObjectName,
    Seconds,
    cel,
)


class PolicyPart(BaseModel):
    """A frozen part of a policy; unknown fields are refused, so that a typing error is never ignored."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )


class Mode(StrEnum):
    """How far the controller may go."""

    OBSERVE = "Observe"
    RECOMMEND = "Recommend"
    ENFORCE = "Enforce"


class CustomSignal(StrEnum):
    """A signal that a custom query may give."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD_REQUESTS = "heldRequests"


class TargetRef(PolicyPart):
    """The object whose replicas are scaled: anything in the policy's namespace with a /scale subresource."""

    api_version: ApiVersion = Field("apps/v1", description="API group and version of the target, e.g. apps/v1.")
    kind: KindName = Field("Deployment", description="Kind of the target, e.g. Deployment or StatefulSet.")
    name: ObjectName = Field(description="Name of the target in the policy's own namespace.")


class Model(PolicyPart):
    """The model that the target serves."""

    name: Name = Field(description="The served model name: the value of the engine's model_name label.")
    parameters_billion: float | None = Field(
        None, ge=0.001, le=100_000, description="Parameters in billions; read when no step time was measured."
    )
    bytes_per_parameter: float = Field(
        2.0, ge=0.1, le=8, description="Bytes a parameter takes in GPU memory: 2 for BF16, 1 for FP8."
    )
    kv_bytes_per_token: float | None = Field(
        None, ge=1, le=100_000_000, description="Bytes of KV cache one token takes, over all layers."
    )


class StepTime(PolicyPart):
    """Duration of one engine step: fixed + P prefill tokens, R decoding sequences and K KV tokens, each at a price."""

    fixed_seconds: float = Field(ge=1e-6, le=10, description="Duration of a step that does nothing (a).")
    prefill_token_seconds: float = Field(ge=1e-9, le=1, description="Added by each prefill token (b).")
    sequence_seconds: float = Field(ge=0, le=1, description="Added by each decoding sequence (c).")
    kv_token_seconds: float = Field(ge=0, le=1, description="Added by each token held in the KV cache (d).")
    source: str = Field(
        min_length=1,
        max_length=500,
        description="Where the numbers come from: a measurement, or 'physics prior'.",
    )


class Preset(StrEnum):
    """An engine whose metric names are shipped."""

    VLLM = "vllm"
    SGLANG = "sglang"
    TGI = "tgi"
    CONCURRENCY = "concurrency"


class Engine(PolicyPart):
    """The inference engine: which metrics it exports and how much one replica can hold."""

    preset: Preset = Field(
        Preset.VLLM,
        description="Metric names to read. tgi and concurrency export no tokens and are scaled by concurrency.",
    )
    version: str | None = Field(None, max_length=63, description="Engine version, e.g. 0.32.0.")
    max_sequences: int | None = Field(
        None, ge=1, le=100_000, description="The engine's max_num_seqs; engines do not export it."
    )
    kv_tokens: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="KV cache capacity of one replica in tokens; else read from metrics.",
    )
    step_time: StepTime | None = Field(
        None, description="Measured step-time coefficients; without them a physics prior is used and flagged."
    )
    target_concurrency: float | None = Field(
        None,
        ge=0.01,
        le=100_000,
        description="Requests in flight wanted per replica; read in concurrency mode only.",
    )


class Price(PolicyPart):
    """Price of one accelerator for one hour: a number, or a row of the price list."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.usdPerHour) != has(self.reference)",
                ONE_PRICE,
            )
        )
    )
    usd_per_hour: float | None = Field(None, ge=0, le=10_000, description="US dollars per accelerator and hour.")
    reference: Name | None = Field(None, description="A row of the price list, e.g. aws/h100.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.usd_per_hour is None) == (self.reference is None):
            raise ValueError(ONE_PRICE)
        return self


class Accelerator(PolicyPart):
    """What one replica holds while it exists, whether it works or not."""

    class_: Name = Field(alias="class", description="Accelerator class, e.g. H100-80GB.")
    count_per_replica: int = Field(1, ge=1, le=1024, description="Accelerators that one replica holds.")
    price: Price | None = Field(None, description="Price; without one, costs are reported as unknown, not as 0.")


class Objectives(PolicyPart):
    """What a request may expect."""

    ttft_seconds: float = Field(2.5, ge=0.001, le=3600, description="Time to first token, in seconds.")
    ttft_attainment: float = Field(
        0.99,
        gt=0,
        lt=1,
        description="Share of requests to meet it. 1 is refused: no finite number of replicas can.",
    )
    itl_seconds: float | None = Field(
        None,
        ge=0.0001,
        le=60,
        description="A request's mean time per output token, in seconds; absent: no such objective.",
    )


class Replicas(PolicyPart):
    """Bounds of the replica count; they are orders and hold even when metrics are missing."""

    model_config = ConfigDict(json_schema_extra=cel(("self.min <= self.max", REPLICAS_ORDER)))
    min: Count = Field(1, description="Never fewer replicas than this.")
    max: int = Field(ge=1, le=10_000, description="Never more replicas than this.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"{REPLICAS_ORDER}: min is {self.min}, max is {self.max}")
        return self


class ScaleToZero(PolicyPart):
    """Whether the last replica may go. Off by default: the next request then meets a whole cold start."""

    enabled: bool = Field(False, description="Allow zero replicas; needs a custom query for heldRequests.")
    cold_start_budget: float = Field(
        0.01, ge=0, le=1, description="Share of requests that may meet a cold start for the sake of zero."
    )


class Prewarm(PolicyPart):
    """Replicas held above present demand so that demand arriving within one cold start finds them ready."""

    model_config = ConfigDict(json_schema_extra=cel(("!has(self.max) || self.min <= self.max", PREWARM_ORDER)))
    min: Count = Field(0, description="Hold at least this many above present need.")
    max: Count | None = Field(None, description="Hold at most this many above present need; absent: no limit.")
    quantile: float | None = Field(
        None,
        ge=0.5,
        le=0.999,
        description="Quantile of demand one cold start ahead to be staffed for; absent: 0.9.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.min > self.max:
            raise ValueError(f"{PREWARM_ORDER}: {self.min} > {self.max}")
        return self


class ColdStart(PolicyPart):
    """What is believed of the cold start before the first one was measured."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.priorSeconds) || !has(self.weightsGib)",
                ONE_PRIOR,
            ),
            (
                "has(self.weightsGib) == has(self.loadGibPerSecond)",
                WEIGHTS_TOGETHER,
            ),
        )
    )
    prior_seconds: Seconds | None = Field(
        None, description="Expected median cold start; absent: 150 s or from weights."
    )
    weights_gib: float | None = Field(None, ge=0.001, le=100_000, description="Size of the weights in GiB.")
    load_gib_per_second: float | None = Field(
        None, ge=0.001, le=1000, description="Bandwidth at which weights are read, in GiB/s."
    )

    @model_validator(mode="after")
    def _one_prior(self) -> Self:
        if self.prior_seconds is not None and self.weights_gib is not None:
            raise ValueError(ONE_PRIOR)
        if (self.weights_gib is None) != (self.load_gib_per_second is None):
            raise ValueError(WEIGHTS_TOGETHER)
        return self


class ScaleDown(PolicyPart):
    """How long a surplus is held before it goes."""

    stabilization_seconds: float | None = Field(
        None,
        ge=0,
        le=86_400,
        description="Hold a surplus this long; absent: economics, twice the measured median cold start.",
    )
    drain_grace_seconds: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="How long a replica may finish its requests; the pod's own grace must allow it.",
    )


class FailSafe(PolicyPart):
    """What to do after long blindness. Never down: at most a rise to a floor."""

    replicas: Count | None = Field(None, description="Rise to this many replicas when blind for long; absent: hold.")
    after_seconds: Seconds = Field(900.0, description="Blind for this long before the floor applies.")


class Budget(PolicyPart):
    """A limit on accelerator time. Accepted and validated; acted on in a later version."""

    accelerator_hours_per_day: float | None = Field(None, gt=0, le=1_000_000, description="Accelerator-hours a day.")


class Pin(PolicyPart):
    """A fixed number of replicas until a time, whatever the metrics say."""

    replicas: Count = Field(description="The number to hold.")
    until: datetime = Field(description="RFC 3339 time at which the pin ends, e.g. 2026-12-01T08:00:00Z.")

    @model_validator(mode="after")
    def _with_zone(self) -> Self:
        if self.until.tzinfo is None:
            raise ValueError("pin.until needs a time zone, e.g. 2026-12-01T08:00:00Z")
        return self


class CustomQuery(PolicyPart):
    """A PromQL query that stands in for one signal of the preset. Refused unless the administrator allows them."""

    signal: CustomSignal = Field(description="The signal that this query gives.")
    promql: str = Field(
        min_length=1,
        max_length=2000,
        description="A query with one sample, or one per pod under the pod label.",
    )


class Metrics(PolicyPart):
    """How the engine's series are found, where labels differ from the usual."""

    model_label: Label = Field("model_name", description="Label that carries the served model name.")
    namespace_label: Label = Field("namespace", description="Label that carries the pod's namespace.")
    pod_label: Label = Field("pod", description="Label that carries the pod's name.")
    queries: tuple[CustomQuery, ...] = Field(
        (),
        max_length=4,
        description="Custom queries, at most one for each signal. Refused unless the administrator allows them.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["signal"]},
    )

    @model_validator(mode="after")
    def _one_query_a_signal(self) -> Self:
        signals = [query.signal for query in self.queries]
        if len(set(signals)) < len(signals):
            raise ValueError(ONE_QUERY)
        return self


class Schedule(PolicyPart):
    """A window with its own floor. Accepted and validated; acted on in a later version."""

    cron: str = Field(
        pattern=r"^\S+ \S+ \S+ \S+ \S+$", max_length=100, description="Start of the window, five cron fields."
    )
    time_zone: Name = Field("UTC", description="IANA time zone of the cron expression, e.g. Europe/Berlin.")
    duration_seconds: Seconds = Field(description="Length of the window.")
    prewarm_min: Count | None = Field(None, description="prewarm.min inside the window.")
    replicas_min: Count | None = Field(None, description="replicas.min inside the window.")


class Timing(PolicyPart):
    """The clockwork of the decision. The defaults fit a 15 s scrape and cold starts of minutes; rarely touched."""

    tick_seconds: Seconds = Field(15.0, description="Time between two decisions.")
    scrape_seconds: Seconds = Field(15.0, description="Prometheus scrape interval of the engine's pods.")
    level_seconds: Seconds = Field(60.0, description="Smoothing of the demand level.")
    peak_hold_seconds: Seconds = Field(300.0, description="How long the last peak of the level is believed.")
    dispersion_bin_seconds: Seconds = Field(15.0, description="Bin in which the burstiness of arrivals is measured.")
    backlog_clear_seconds: Seconds = Field(60.0, description="Time in which a backlog is to be cleared.")
    stale_after_seconds: Seconds = Field(90.0, description="A newest sample older than this blinds the decision.")
