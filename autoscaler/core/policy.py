"""The policy: what a user asks of one model's replicas, parsed once, at the edge, into frozen values.

One ``ScalingPolicy`` resource describes one model on one scale target. These models are the only definition of it:
the CustomResourceDefinition, ``kubectl explain``, ``autoscaler policy check`` and the decision core all read them.
So every field has a description written for the person who types it, every quantity carries its unit last in its
name, and a rule that crosses fields stands twice side by side: as a CEL rule, which the API server enforces, and as
a validator, which does the same for files and for API servers without CEL.

Nothing here knows Kubernetes beyond names: a policy is a value, and the core reads it as such.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from autoscaler.core.policy_fields import EndpointName, NamespaceName, ObjectName, cel
from autoscaler.core.policy_parts import (
    Accelerator,
    Budget,
    ColdStart,
    CustomSignal,
    Engine,
    FailSafe,
    Metrics,
    Mode,
    Model,
    Objectives,
    Pin,
    PolicyPart,
    Preset,
    Prewarm,
    Replicas,
    ScaleDown,
    ScaleToZero,
    Schedule,
    TargetRef,
    Timing,
)

GROUP = "inference-autoscaler.dev"
VERSION = "v1alpha1"
KIND = "ScalingPolicy"
PLURAL = "scalingpolicies"

NOTHING_HOLDS = (
    "NothingHoldsRequests: scaleToZero needs something that holds requests at zero replicas; "
    "name it by a metrics.queries entry for heldRequests"
)
ZERO_NEEDS_OPT_IN = "replicas.min 0 needs scaleToZero.enabled"
FLOOR_ABOVE_MAX = "failSafe.replicas must not exceed replicas.max"


class PolicySpec(PolicyPart):
    """What is scaled, what its requests may expect, what a replica costs, and how far the controller may go."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.replicas.min > 0 || (has(self.scaleToZero) && self.scaleToZero.enabled)",
                ZERO_NEEDS_OPT_IN,
            ),
            (
                (
                    "!has(self.scaleToZero) || !self.scaleToZero.enabled || (has(self.metrics) && "
                    "self.metrics.queries.exists(q, q.signal == 'heldRequests'))"
                ),
                NOTHING_HOLDS,
            ),
            (
                "!has(self.failSafe) || !has(self.failSafe.replicas) || self.failSafe.replicas <= self.replicas.max",
                FLOOR_ABOVE_MAX,
            ),
        )
    )

    target_ref: TargetRef = Field(description="What is scaled: anything in the policy's namespace with a /scale.")
    mode: Mode = Field(
        Mode.RECOMMEND,
        description=(
            "How far the controller may go. Observe records only; Recommend also publishes the count it would set, in "
            "the status and as a metric; Enforce also writes it to the target's /scale."
        ),
    )
    paused: bool = Field(False, description="Stop deciding for this target; recording goes on.")
    pin: Pin | None = Field(None, description="Hold a fixed number of replicas until a time, whatever metrics say.")
    model: Model = Field(description="The model that the target serves.")
    engine: Engine = Field(
        default_factory=Engine,
        description="The inference engine: which metrics it exports, how fast it is and how much one replica can hold.",
    )
    accelerator: Accelerator = Field(description="What one replica holds while it exists, and what that costs.")
    objectives: Objectives = Field(
        default_factory=Objectives, description="What a request may expect; the replica count is sized to keep it."
    )
    replicas: Replicas = Field(
        description="Bounds of the replica count. They are orders: they hold even when metrics are missing."
    )
    scale_to_zero: ScaleToZero = Field(
        default_factory=ScaleToZero,
        description="Whether the last replica may go. Off by default: the next request then waits a whole cold start.",
    )
    prewarm: Prewarm = Field(
        default_factory=Prewarm,
        description=(
            "The pre-warm pool: replicas held above present demand so that demand which arrives within one cold start "
            "finds them ready. Sized from the measured forecast errors and cold starts; these fields only bound it."
        ),
    )
    cold_start: ColdStart = Field(
        default_factory=ColdStart,
        description="What is believed of the cold start before the first one was measured; measurements replace it.",
    )
    scale_down: ScaleDown = Field(default_factory=ScaleDown, description="How long a surplus is held before it goes.")
    fail_safe: FailSafe = Field(
        default_factory=FailSafe,
        description="What long blindness leads to: at most a rise to a floor. Missing metrics never scale down.",
    )
    budget: Budget = Field(
        default_factory=Budget,
        description="A limit on accelerator time. Accepted and validated; acted on in a later version.",
    )
    priority: int = Field(
        0,
        ge=-1000,
        le=1000,
        description="Who goes first when accelerators are short. Accepted; acted on in a later version.",
    )
    prometheus: EndpointName = Field(
        "default", description="Name that the administrator gave the Prometheus endpoint; never a URL."
    )
    metrics: Metrics = Field(
        default_factory=Metrics, description="How the engine's series are found, where labels differ from the usual."
    )
    schedules: tuple[Schedule, ...] = Field(
        (),
        max_length=16,
        description="Windows with their own floor. Accepted and validated; acted on in a later version.",
    )
    timing: Timing = Field(
        default_factory=Timing,
        description="The clockwork of the decision. The defaults fit a 15 s scrape and cold starts of minutes.",
    )

    @model_validator(mode="after")
    def _zero_is_opted_in_and_held(self) -> Self:
        if self.replicas.min == 0 and not self.scale_to_zero.enabled:
            raise ValueError(ZERO_NEEDS_OPT_IN)
        holds = any(query.signal is CustomSignal.HELD_REQUESTS for query in self.metrics.queries)
        if self.scale_to_zero.enabled and not holds:
            raise ValueError(NOTHING_HOLDS)
        return self

    @model_validator(mode="after")
    def _floor_within_bounds(self) -> Self:
        floor = self.fail_safe.replicas
        if floor is not None and floor > self.replicas.max:
            raise ValueError(f"{FLOOR_ABOVE_MAX}: {floor} > {self.replicas.max}")
        return self

    @property
    def exports_tokens(self) -> bool:
        """Whether the engine's preset exports token counters; without them the core scales by concurrency."""
        return self.engine.preset in {Preset.VLLM, Preset.SGLANG}


class PolicyMetadata(BaseModel):
    """The part of a Kubernetes object's metadata that is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    name: ObjectName
    namespace: NamespaceName = "default"


class ScalingPolicy(BaseModel):
    """One ScalingPolicy resource, as a file or the API server gives it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    api_version: Literal["inference-autoscaler.dev/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["ScalingPolicy"]
    metadata: PolicyMetadata
    spec: PolicySpec
    status: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """The policy's identity, ``namespace/name``."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
