"""What a policy means, in sentences with its numbers, from the functions that decide and not from a second truth."""

from autoscaler.core import capacity, coldstart, plan
from autoscaler.core.plan import Times
from autoscaler.core.policy import PolicySpec, ScalingPolicy
from autoscaler.core.policy_parts import CustomSignal, Mode
from autoscaler.footprint.prices import PriceList, price_of

Section = tuple[str, tuple[str, ...]]


def explain(policy: ScalingPolicy, prices: PriceList) -> tuple[Section, ...]:
    """Return headed groups of sentences that say what the controller will do for a policy."""
    spec = policy.spec
    lead = plan.times(spec, coldstart.initial(spec).estimate)
    return (
        ("What is scaled", _what(policy, prices)),
        ("What a request may expect", _objectives(spec)),
        ("How the count is found", _how(spec, lead)),
        ("How a surplus goes", _down(spec, lead)),
        ("What happens blind", _blind(spec)),
        ("What it never does", _never(spec)),
    )


def _what(policy: ScalingPolicy, prices: PriceList) -> tuple[str, ...]:
    spec, target = policy.spec, policy.spec.target_ref
    return (
        (
            f"{target.kind} {target.name} in namespace {policy.metadata.namespace}, which serves {spec.model.name} "
            f"with {spec.engine.preset}."
        ),
        _mode(spec),
        (
            f"Never fewer than {_replicas(spec.replicas.min)} and never more than {spec.replicas.max}; these bounds "
            "are orders and hold even when metrics are missing."
        ),
        _cost(spec, prices),
        *_held_by_hand(spec),
    )


def _mode(spec: PolicySpec) -> str:
    return {
        Mode.OBSERVE: "Mode Observe: it records and publishes no count; nothing is written to the target.",
        Mode.RECOMMEND: "Mode Recommend: it publishes the count it would set; nothing is written to the target.",
        Mode.ENFORCE: "Mode Enforce: it writes the count to the target's /scale.",
    }[spec.mode]


def _held_by_hand(spec: PolicySpec) -> tuple[str, ...]:
    said = []
    if spec.paused:
        said.append("It is paused: recording goes on, and no count is decided.")
    if spec.pin is not None:
        said.append(
            f"Until {spec.pin.until.isoformat()} it holds {_replicas(spec.pin.replicas)}, whatever metrics say."
        )
    return tuple(said)


def _cost(spec: PolicySpec, prices: PriceList) -> str:
    accelerator, price = spec.accelerator, price_of(spec.accelerator, prices)
    holds = f"A replica holds {accelerator.count_per_replica} x {accelerator.class_} from its order to its end"
    if price.usd_per_hour is None:
        return f"{holds}; what that costs is unknown ({price.source})."
    replica = price.usd_per_hour * accelerator.count_per_replica
    least, most = replica * spec.replicas.min, replica * spec.replicas.max
    return (
        f"{holds}, at ${replica:,.2f} an hour; the fleet costs between ${least:,.2f} and ${most:,.2f} an hour. "
        f"Price: {price.source}."
    )


def _objectives(spec: PolicySpec) -> tuple[str, ...]:
    wanted = spec.objectives
    share = f"{100 * wanted.ttft_attainment:.4g} %"
    first = f"{share} of requests are to get their first token within {wanted.ttft_seconds:g} s."
    if wanted.itl_seconds is None:
        return (first, "Nothing is promised about the time between tokens.")
    return (first, f"A request's mean time per output token is to stay within {wanted.itl_seconds:g} s.")


def _how(spec: PolicySpec, lead: Times) -> tuple[str, ...]:
    believed, timing = coldstart.initial(spec).estimate, spec.timing
    return (
        (
            f"Every {timing.tick_seconds:g} s it reads the engine's metrics from the Prometheus named "
            f"{spec.prometheus} and decides anew."
        ),
        (
            f"Before the first measurement a cold start is believed to take {believed.p50_s:.0f} s, and more than "
            f"{believed.p75_s:.0f} s one time in four; every pod that starts corrects that."
        ),
        (
            f"So it looks {lead.horizon_s:.0f} s ahead: such a slow cold start, {lead.lag_s:.3g} s by which metrics "
            "are late, and half a tick. The measured cold starts move this horizon."
        ),
        (
            "It orders, at once and in one step, for the demand that will not be exceeded then with probability "
            f"{plan.quantile(spec):g}; replicas already on their way count in full."
        ),
        _pool(spec),
        _capacity(spec),
    )


def _pool(spec: PolicySpec) -> str:
    pool = spec.prewarm
    if pool.min == 0 and pool.max is None:
        return "The part of it above present need is the pre-warm pool; the measured errors alone size it."
    most = "without a limit" if pool.max is None else f"at most {pool.max}"
    return f"The part of it above present need is the pre-warm pool: at least {pool.min}, {most}."


def _capacity(spec: PolicySpec) -> str:
    if not spec.exports_tokens:
        per_replica = capacity.target_concurrency(spec)
        return f"{spec.engine.preset} exports no tokens, so a replica is to carry {per_replica:g} requests in flight."
    coefficients = capacity.known(spec)
    limits = [
        f"{spec.engine.max_sequences} sequences" if spec.engine.max_sequences is not None else None,
        f"{spec.engine.kv_tokens} KV tokens" if spec.engine.kv_tokens is not None else "the KV tokens it reports",
    ]
    held = " and ".join(limit for limit in limits if limit is not None)
    return (
        f"One engine step takes {coefficients.a_s * 1000:.3g} ms, and {coefficients.b_s * 1000:.3g} ms more for each "
        f"prefill token; a replica holds {held}. Source: {coefficients.source}."
    )


def _down(spec: PolicySpec, lead: Times) -> tuple[str, ...]:
    if spec.scale_down.stabilization_seconds is None:
        hold = (
            f"A surplus is held for two median cold starts, {lead.hold_s:.0f} s by what is believed now, and then goes "
            "in one step: for a shorter lull, starting a replica again would cost more than keeping it."
        )
    else:
        hold = f"A surplus is held for {lead.hold_s:g} s, as the policy says, and then goes in one step."
    return (
        hold,
        "Only time in which metrics were seen counts towards that.",
        (
            f"A replica that goes may take {spec.scale_down.drain_grace_seconds:g} s to finish its requests, as far as "
            "the pod's own terminationGracePeriodSeconds allows."
        ),
    )


def _blind(spec: PolicySpec) -> tuple[str, ...]:
    stale_s = max(spec.timing.stale_after_seconds, 3 * spec.timing.scrape_seconds)
    first = f"When the newest sample is older than {stale_s:g} s it holds the count: it does not scale on guesses."
    floor = spec.fail_safe
    if floor.replicas is None:
        return (first, "However long that lasts, it goes on holding; failSafe.replicas would set a floor.")
    rise = f"Blind for {floor.after_seconds:g} s, it rises to {_replicas(floor.replicas)} if there are fewer."
    return (first, rise)


def _never(spec: PolicySpec) -> tuple[str, ...]:
    said = [
        "It never scales down on missing, stale or contradictory metrics.",
        "It never scales down while a healthy replica is starting: Kubernetes would delete that one first.",
        "It never deletes a pod and never writes anything of the target but its replica count.",
    ]
    if spec.mode is not Mode.ENFORCE:
        said[2] = "It never writes to the target in this mode, and never deletes a pod."
    queried = any(query.signal is CustomSignal.HELD_REQUESTS for query in spec.metrics.queries)
    if spec.replicas.min > 0:
        said.append("It never goes to zero.")
    elif queried:
        said.append("It keeps the last replica in this version, and starts one from zero when a request is held.")
    return tuple(said)


def _replicas(count: int) -> str:
    return f"{count} replica" if count == 1 else f"{count} replicas"
