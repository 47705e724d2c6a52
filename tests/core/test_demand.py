"""Demand: rates between two samples of one pod, restarts, new and missing pods, and what they come to."""

import math
from dataclasses import replace
from typing import Any

import pytest

from autoscaler.core import demand
from autoscaler.core.capacity import known
from autoscaler.core.demand import DemandMemory, Observed
from autoscaler.core.dispersion import Dispersion, binned
from autoscaler.core.signals import PodSample, Presence, Signals
from tests.core.pods_seen import policy, replica, sample, steady

SPEC = policy()
W_S = 0.07 + 200 * (35e-6 + 1200 * 80e-9)  # 0.03·400,000 KV tokens over 10 running: k = 1,200.


def seen(*ticks: Signals, spec: Any = SPEC) -> tuple[DemandMemory, Observed]:
    """Fold ticks and return the memory and what the last one tells."""
    memory, observed = demand.initial(), None
    for signals in ticks:
        memory, observed = demand.update(spec, known(spec), memory, signals)
    assert observed is not None
    return memory, observed


def at(time: float, *samples: PodSample, **other: Any) -> Signals:
    """Return signals with these samples, all of replicas that are ready for long."""
    values: dict[str, Any] = {"replicas": tuple(replica(one.pod) for one in samples)}
    return Signals(at=time, spec_replicas=len(samples), samples=samples, **(values | other))


def test_the_first_sample_is_no_rate() -> None:
    """One sample only stores its counters: no demand, nothing fresh."""
    _, observed = seen(steady(0))
    assert (observed.fresh, observed.demand, observed.arrival_rps) == (False, None, None)


def test_a_steady_stream_is_measured_as_it_is() -> None:
    """8 requests/s of 1,000 and 200 tokens: λ, p, o, k and the released work after the decode part has filled."""
    memory, observed = seen(*(steady(15.0 * tick) for tick in range(60)))
    assert observed.arrival_rps == pytest.approx(8.0)
    assert observed.mix.prompt_tokens == pytest.approx(1000)
    assert observed.mix.output_tokens == pytest.approx(200)
    assert observed.mix.kv_tokens == pytest.approx(1200)
    assert observed.itl_s == pytest.approx(0.03)
    assert observed.demand == pytest.approx(8 * W_S, rel=1e-3)
    assert memory.dispersion.index == 1.0


def test_decode_work_is_released_over_the_residence_time() -> None:
    """After a jump by 10 requests/s prefill counts at once, decoding by 1 − exp(−15/(200·0.03)) of it."""
    before = [steady(15.0 * tick, ready=1) for tick in range(60)]
    served = (59 * 15 + 1000) * 8
    after = at(900, sample("llm-0", 895, served + 18 * 15))
    memory, _ = seen(*before)
    _, observed = seen(*before, after)
    decode_s = 200 * (35e-6 + 1200 * 80e-9)
    expected = 18 * 0.07 + 8 * decode_s + (1 - math.exp(-15 / 6)) * 10 * decode_s
    assert memory.demand == pytest.approx(8 * W_S, rel=1e-3)
    assert observed.demand == pytest.approx(expected, rel=1e-3)


def test_a_tick_without_a_new_sample_changes_nothing() -> None:
    """Ticks and scrapes alias: the same scrape seen twice is one measurement."""
    first, second = steady(0), steady(15)
    memory, _ = seen(first, second)
    again, observed = demand.update(SPEC, known(SPEC), memory, replace(second, at=22.0))
    assert again == memory
    assert not observed.fresh
    assert observed.arrival_rps == pytest.approx(8.0)


def test_each_pod_is_measured_over_its_own_interval() -> None:
    """Two pods scraped 7 s apart, one of them seen 30 s ago: each rate is over its own time, not over the tick's."""
    first = at(0, sample("a", -2, 100), sample("b", -9, 100))
    _, observed = seen(first, at(15, sample("a", 13, 160), sample("b", 6, 145)))
    assert observed.arrival_rps == pytest.approx(60 / 15 + 45 / 15)
    _, observed = seen(first, at(15, sample("a", 13, 160), sample("b", -9, 100)), at(30, sample("a", 28, 220)))
    assert observed.arrival_rps == pytest.approx(4.0)


def test_what_queues_has_arrived() -> None:
    """Nothing finishes but running and waiting grow, and the gateway holds more: all of it arrived."""
    first = at(0, sample("a", -5, 100, running=10, waiting=0), held_requests=0.0)
    second = at(15, sample("a", 10, 100, running=25, waiting=30), held_requests=15.0)
    _, observed = seen(first, second)
    assert observed.arrival_rps == pytest.approx((15 + 30 + 15) / 15)
    assert observed.waiting == 45


def test_what_piled_up_while_nobody_served_does_not_arrive_anew() -> None:
    """For 150 s a gateway holds what comes, in the end 1,500; the first new engine takes them all, and 150 more."""
    story = [at(0, sample("a", -5, 100), held_requests=0.0), at(15, sample("a", 10, 250), held_requests=0.0)]
    story += [at(15.0 * n, held_requests=150.0 * (n - 1)) for n in range(2, 12)]
    story += [at(180, sample("b", 175, 0, running=50, waiting=1600), held_requests=0.0)]
    story[-1] = replace(story[-1], replicas=(replica("b", ordered_at=30.0, ready_at=165.0),))
    memory, observed = seen(*story[:-1])
    assert (observed.reporting, observed.waiting, memory.held) == (0, 1500.0, 1500.0)
    _, observed = seen(*story)
    assert observed.arrival_rps == pytest.approx((1650 - 1500) / 15)


def test_a_restarted_pod_loses_its_interval_and_the_rest_is_scaled() -> None:
    """Counters that fell are a restart: the other pod stands for both until the next sample."""
    first = at(0, sample("a", -5, 100), sample("b", -5, 100))
    _, observed = seen(first, at(15, sample("a", 10, 160), sample("b", 10, 3)))
    assert observed.arrival_rps == pytest.approx(2 * 4.0)
    assert observed.mix.prompt_tokens == pytest.approx(1000)


def test_a_pod_that_became_ready_just_now_counts_from_zero() -> None:
    """Its whole counters came since it is ready; one that was ready for long only stores them."""
    first = at(0, sample("a", -5, 100))
    young = replica("b", ready_at=2.0)
    second = at(15, sample("a", 10, 160), sample("b", 10, 45), replicas=(replica("a"), young))
    _, observed = seen(first, second)
    assert observed.arrival_rps == pytest.approx(60 / 15 + (45 + 10) / 15)
    old = at(15, sample("a", 10, 160), sample("b", 10, 45_000))
    _, observed = seen(first, old)
    assert observed.arrival_rps == pytest.approx(2 * 4.0)


def test_a_ready_pod_without_a_sample_is_estimated_from_the_others() -> None:
    """Sums are scaled by expected over known pods, but a pod that is too young to be scraped is not expected."""
    one = {"replicas": (replica("a"), replica("b"))}
    _, observed = seen(at(0, sample("a", -5, 100), **one), at(15, sample("a", 10, 160, waiting=3), **one))
    assert (observed.reporting, observed.expected) == (1, 2)
    assert observed.arrival_rps == pytest.approx(2 * (60 + 3) / 15)
    assert observed.waiting == 6
    young = {"replicas": (replica("a"), replica("b", ready_at=-10.0))}
    _, observed = seen(at(0, sample("a", -5, 100), **young), at(15, sample("a", 10, 160), **young))
    assert observed.expected == 1
    assert observed.arrival_rps == pytest.approx(4.0)


def test_missing_and_impossible_numbers_are_not_zero() -> None:
    """NaN, infinities and negative counts are as absent; without any count of requests there is no rate."""
    broken = {"finished_requests": math.nan, "ttft_count": -1.0, "running": math.inf, "waiting": None}
    _, observed = seen(at(0, sample("a", -5, 100, **broken)), at(15, sample("a", 10, 160, **broken)))
    assert (observed.fresh, observed.demand, observed.running, observed.waiting) == (False, None, None, None)


def test_first_tokens_stand_in_for_finished_requests() -> None:
    """An engine that counts first tokens only still has arrivals."""
    counts = {"finished_requests": None}
    _, observed = seen(at(0, sample("a", -5, 100, **counts)), at(15, sample("a", 10, 160, **counts)))
    assert observed.arrival_rps == pytest.approx(4.0)


@pytest.mark.parametrize("presence", [one for one in Presence if one is not Presence.PRESENT])
def test_only_present_samples_are_read(presence: Presence) -> None:
    """Stale, absent, invalid and target-down samples carry no number, whatever stands in them."""
    _, observed = seen(at(0, sample("a", -5, 100)), at(15, sample("a", 10, 160, presence=presence)))
    assert (observed.fresh, observed.reporting, observed.expected) == (False, 0, 1)


def test_a_sample_from_the_future_is_not_believed() -> None:
    """A broken clock would make every later sample look old."""
    _, observed = seen(at(0, sample("a", -5, 100)), at(15, sample("a", 4000, 160)), at(30, sample("a", 25, 220)))
    assert observed.fresh
    assert observed.arrival_rps == pytest.approx(4.0)


def test_token_means_are_weighted_by_counts() -> None:
    """Four requests of 9,000 tokens move a mean of 1,000 by 1 − exp(−4/400) of the difference."""
    first, second = at(0, sample("a", -5, 1000)), at(15, sample("a", 10, 2000))
    prompts = 2000 * 1000 + 4 * 9000
    _, observed = seen(first, second, at(30, sample("a", 25, 2004, prompt_tokens=prompts)))
    assert observed.mix.prompt_tokens == pytest.approx(1000 + (1 - math.exp(-0.01)) * 8000)


def test_every_gauge_at_zero_under_traffic_is_a_contradiction() -> None:
    """40 requests/s with a residence of seconds cannot leave every gauge at 0."""
    idle = {"running": 0.0, "waiting": 0.0}
    _, observed = seen(at(0, sample("a", -5, 0, **idle)), at(15, sample("a", 10, 600, **idle)))
    assert observed.contradiction == "40.0 requests/s arrive but every gauge is 0"
    _, observed = seen(at(0, sample("a", -5, 0, **idle)), at(15, sample("a", 10, 6, **idle)))
    assert observed.contradiction is None


@pytest.mark.parametrize(
    ("steps", "hung_at"), [pytest.param(70.0, 30, id="steps counted"), pytest.param(None, 90, id="steps not counted")]
)
@pytest.mark.parametrize("running", [10.0, 0.0])
def test_an_engine_that_moves_nothing_hangs_in_the_end(steps: float | None, hung_at: int, running: float) -> None:
    """Where steps are counted 30 s without one are enough; else 90 s, as a prefill is only counted at its end."""
    ticks = [at(15 * n, sample("a", 15 * n - 5, 100, waiting=3 + n, running=running, steps=steps)) for n in range(12)]
    found = [seen(*ticks[: n + 1])[1] for n in range(len(ticks))]
    first = next(n for n, observed in enumerate(found) if observed.hung)
    assert 15 * first == hung_at
    assert "have moved no token" in str(found[first].contradiction)


def test_a_long_prefill_is_no_hung_engine() -> None:
    """100,000 tokens take a small GPU half a minute: steps pass, or at least it is not called hung so soon."""
    for steps in (None, 1.0):
        ticks = [
            at(15 * n, sample("a", 15 * n - 5, 100, running=1, waiting=4, steps=None if steps is None else n * 40))
            for n in range(4)
        ]
        _, observed = seen(*ticks)
        assert (observed.hung, observed.contradiction) == ((), None)


def test_one_hung_engine_among_ten_is_named_and_stops_nobody_else() -> None:
    """Nine engines serve, so demand is known; the tenth is a matter for a person."""
    names = [f"p{index}" for index in range(10)]

    def tick(n: int) -> Signals:
        well = [sample(name, 15 * n - 5, 100 + 60 * n, steps=500.0 * n) for name in names[1:]]
        return at(15 * n, sample("p0", 15 * n - 5, 100, waiting=3 + n, steps=70.0), *well)

    _, observed = seen(*(tick(n) for n in range(5)))
    assert (observed.hung, observed.contradiction) == (("p0",), None)
    assert observed.arrival_rps is not None
    assert observed.arrival_rps > 9 * 4.0 - 1e-9


def test_what_a_gateway_holds_is_no_sign_of_a_hung_engine() -> None:
    """An idle engine moves nothing because it has nothing; held requests are on their way to it."""
    idle = {"running": 0.0, "waiting": 0.0, "steps": 70.0}
    _, observed = seen(*(at(15 * n, sample("a", 15 * n - 5, 100, **idle), held_requests=9.0) for n in range(12)))
    assert (observed.hung, observed.contradiction) == ((), None)


def test_a_contradiction_stands_until_a_newer_interval_says_otherwise() -> None:
    """The tick between two scrapes knows nothing new, so it may not order either."""
    zero = {"running": 0.0, "waiting": 0.0}
    ticks = [at(0, sample("a", -5, 0)), at(15, sample("a", 10, 6000, **zero))]
    memory, observed = seen(*ticks)
    assert observed.contradiction == "399.3 requests/s arrive but every gauge is 0"
    again, observed = demand.update(SPEC, known(SPEC), memory, replace(ticks[1], at=22.0))
    assert (observed.fresh, observed.contradiction) == (False, memory.contradiction)
    _, observed = demand.update(SPEC, known(SPEC), again, at(30, sample("a", 25, 6060)))
    assert observed.contradiction is None


NO_PROMPTS: dict[str, Any] = {"prompt_tokens": None}
NO_OUTPUTS: dict[str, Any] = {"generation_tokens": None}


@pytest.mark.parametrize(("lost", "name"), [(NO_PROMPTS, "prompt"), (NO_OUTPUTS, "generated")])
def test_tokens_that_nobody_tells_any_more_do_not_shrink_the_requests(lost: dict[str, Any], name: str) -> None:
    """A series that went missing is no prompt of length 0: the mean stays, traffic still counts, and it is told."""
    before = [at(15.0 * n, sample("a", 15 * n - 5, 1000 + 120 * n)) for n in range(20)]
    after = [at(15.0 * n, sample("a", 15 * n - 5, 1000 + 120 * n, **lost)) for n in range(20, 60)]
    memory, known_before = seen(*before)
    _, observed = seen(*before, *after)
    assert observed.mix.prompt_tokens == pytest.approx(known_before.mix.prompt_tokens)
    assert observed.mix.output_tokens == pytest.approx(known_before.mix.output_tokens)
    assert observed.arrival_rps == pytest.approx(8.0)
    assert observed.untold == f"requests are counted, but no engine tells their {name} tokens"
    assert memory.untold is None
    again = at(900.0, sample("a", 895, 1000 + 120 * 60))
    and_again = at(915.0, sample("a", 910, 1000 + 120 * 61))
    _, observed = seen(*before, *after, again, and_again)
    assert observed.untold is None


def test_answers_stay_untold_while_prompts_are_told_and_none_ends() -> None:
    """An interval in which no request ends says nothing of answers: what was untold stays so, and stays remembered."""

    def tick(n: int) -> Signals:
        # Requests end in every second interval; prompts are told in all.
        ended = 1000 + 120 * (n // 2 * 2)
        told = {"finished_requests": ended, "prompt_tokens": 1000.0 * 120 * n, "ttft_count": 120.0 * n}
        return at(15.0 * n, sample("a", 15 * n - 5, ended, running=10.0, **told, **NO_OUTPUTS))

    found = [seen(*(tick(k) for k in range(n + 1)))[1].untold for n in range(10, 16)]
    assert found == ["requests are counted, but no engine tells their generated tokens"] * 6


def test_answers_are_as_long_as_ever_where_their_ends_are_not_counted() -> None:
    """Without a count of ends, first tokens count as many: an assumed length would shrink the fleet in silence."""
    told = [at(15.0 * n, sample("a", 15 * n - 5, 120 * n)) for n in range(40)]
    lost = [at(15.0 * n, sample("a", 15 * n - 5, 120 * n, finished_requests=None)) for n in range(40)]
    assert seen(*lost)[1].mix.output_tokens == pytest.approx(seen(*told)[1].mix.output_tokens, rel=0.05)
    assert seen(*lost)[1].demand == pytest.approx(seen(*told)[1].demand, rel=0.05)


def test_what_a_hung_engine_has_orders_nothing() -> None:
    """Its queue grows by 10 requests a second that nobody serves: demand is that of the nine others."""
    names = [f"p{index}" for index in range(10)]

    def tick(n: int) -> Signals:
        well = [sample(name, 15 * n - 5, 100 + 60 * n, steps=500.0 * n, waiting=0.0) for name in names[1:]]
        return at(15 * n, sample("p0", 15 * n - 5, 100, waiting=150.0 * n, steps=70.0), *well)

    _, observed = seen(*(tick(n) for n in range(40)))
    assert observed.hung == ("p0",)
    assert observed.arrival_rps == pytest.approx(10 * 4.0)
    assert observed.waiting == 0.0


def test_a_queue_alone_is_no_contradiction() -> None:
    """An engine that begins has nothing running and much waiting: that is not every gauge at 0."""
    begins = {"running": 0.0, "waiting": 50.0}
    _, observed = seen(at(0, sample("a", -5, 0, **begins)), at(15, sample("a", 10, 600, **begins)))
    assert observed.contradiction is None


def test_a_pod_that_does_not_tell_its_tokens_leaves_the_means_to_the_others() -> None:
    """Two versions side by side: the mean is that of those who tell, not half of it."""
    ticks = [
        at(15.0 * n, sample("a", 15 * n - 5, 60 * n), sample("b", 15 * n - 5, 60 * n, **NO_PROMPTS, **NO_OUTPUTS))
        for n in range(20)
    ]
    _, observed = seen(*ticks)
    assert observed.mix.prompt_tokens == pytest.approx(1000)
    assert observed.mix.output_tokens == pytest.approx(200)
    assert observed.untold is None


def test_without_arrivals_untold_tokens_do_not_matter() -> None:
    """Nothing arrives, so there is no work, whatever a request of it would have been: the way down is open again."""
    busy = [at(15.0 * n, sample("a", 15 * n - 5, 60 * n, **NO_PROMPTS)) for n in range(10)]
    idle = {"running": 0.0, "waiting": 0.0} | NO_PROMPTS
    quiet = [at(15.0 * n, sample("a", 15 * n - 5, 60 * 9, **idle)) for n in range(10, 32)]
    assert seen(*busy)[1].untold is not None
    assert seen(*busy, *quiet)[1].untold is None


def test_a_sample_without_any_count_of_requests_is_no_sight() -> None:
    """A pod that answers with everything but what demand is measured by counts as one that does not report."""
    mute = {"finished_requests": None, "ttft_count": None}
    _, observed = seen(
        at(0, sample("a", -5, 100), sample("b", -5, 100)), at(15, sample("a", 10, 160), sample("b", 10, 160, **mute))
    )
    assert (observed.reporting, observed.expected) == (1, 2)
    assert observed.arrival_rps == pytest.approx(8.0)
    _, observed = seen(at(0, sample("a", -5, 100)), at(15, sample("a", 10, 160, **mute)))
    assert (observed.newest_at, observed.reporting, observed.expected) == (None, 0, 1)


CONCURRENCY = policy(engine={"preset": "tgi", "targetConcurrency": 16})


@pytest.mark.parametrize(("lost", "sight"), [("running", None), ("waiting", 10.0)])
def test_in_flight_by_an_unknown_number_is_not_in_flight_by_none(lost: str, sight: float | None) -> None:
    """Concurrency mode: what was told before and is missing now leaves the demand where it was."""
    before = at(0, sample("a", -5, 100, running=40, waiting=8))
    _, first = seen(before, spec=CONCURRENCY)
    gone: dict[str, Any] = {"running": 1.0, "waiting": 1.0, lost: None}
    _, observed = seen(before, at(15, sample("a", 10, 100, **gone)), spec=CONCURRENCY)
    assert first.demand == pytest.approx(3.0)
    assert (observed.demand, observed.fresh) == (first.demand, False)
    assert observed.newest_at == sight
    assert (observed.untold is None) is (lost == "running")


def test_an_engine_without_a_queue_is_measured_by_what_runs() -> None:
    """Nobody ever told what waits, so nothing waits in it."""
    no_queue = {"waiting": None}
    _, observed = seen(at(0, sample("a", -5, 100, running=40, **no_queue), held_requests=8.0), spec=CONCURRENCY)
    assert observed.demand == pytest.approx(3.0)
    assert observed.untold is None


def test_a_memory_of_an_earlier_version_goes_on() -> None:
    """Its tracks know fewer values: those are unknown for one interval, and nothing else is lost."""
    memory, _ = seen(at(0, sample("a", -5, 100, steps=10.0)))
    old = replace(memory, tracks={pod: track._replace(values=track.values[:8]) for pod, track in memory.tracks.items()})
    _, observed = demand.update(SPEC, known(SPEC), old, at(15, sample("a", 10, 160, steps=20.0)))
    assert observed.arrival_rps == pytest.approx(4.0)


def test_concurrency_mode_needs_one_sample_only() -> None:
    """In flight over the target concurrency: 10 running, 5 waiting and 9 held over 16."""
    spec = policy(engine={"preset": "tgi", "targetConcurrency": 16})
    tokens = {"prompt_tokens": None, "generation_tokens": None, "ttft_count": None, "kv_ratio": None}
    _, observed = seen(at(0, sample("a", -5, 100, waiting=5, **tokens), held_requests=9.0), spec=spec)
    assert observed.fresh
    assert observed.demand == pytest.approx(24 / 16)
    gone = sample("a", 10, 100, running=None, waiting=None)
    _, observed = seen(at(0, sample("a", -5, 100)), at(15, gone), spec=spec)
    assert not observed.fresh


def test_dispersion_is_one_for_a_trend_and_large_for_bursts() -> None:
    """Successive differences do not take a slow ramp for bursts; alternating bins of 0 and 300 are bursts."""
    ramp, bursts = Dispersion(), Dispersion()
    for index in range(200):
        ramp = binned(ramp, 100.0 + index, 15.0, 15.0)
        bursts = binned(bursts, 300.0 * (index % 2), 15.0, 15.0)
    assert ramp.index == 1.0
    assert bursts.index == pytest.approx(300, rel=0.05)


def test_short_scrapes_fill_a_bin_and_gaps_break_it() -> None:
    """Five intervals of 3 s make one bin; after a gap of a minute the bins before and after it are no pair."""
    state = Dispersion()
    for _ in range(10):
        state = binned(state, 20.0, 3.0, 15.0)
    assert state.last_arrivals == pytest.approx(100.0)
    assert state.pairs == 1
    state = binned(state, 900.0, 60.0, 15.0)
    assert (state.last_arrivals, state.pairs) == (None, 1)


def test_a_bin_that_holds_the_rounding_of_a_sum_is_empty() -> None:
    """Rates that cancel leave 1e-17 and not 0: that and an empty bin are no pair."""
    state = Dispersion()
    for arrivals in (0.0, 3e-17, 0.0, 3e-17):
        state = binned(state, arrivals, 15.0, 15.0)
    assert state.pairs == 0
