"""The demo's making: how much traffic, how many replicas to begin with, and runs side by side."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler.core.policy import ScalingPolicy
from autoscaler.core.policy_parts import Mode
from autoscaler.pricelist import shipped_prices
from simulator.commands import demo as replay
from simulator.engine.profiles import load_profile
from simulator.experiments import demo
from simulator.experiments.demo import Frame, Setup
from simulator.pages import tables
from simulator.traces import Trace, Traffic, load_trace
from tests.simulator.simulated_pools import requests
from tests.simulator.small_demo import bursty_trace, policy, small_setup, told

PROFILE = load_profile(demo.PROFILE)


def changed(**spec: object) -> ScalingPolicy:
    """Return the demo's policy with parts of its spec replaced."""
    data = policy().model_dump(mode="json", by_alias=True)
    for path, value in spec.items():
        part, name = path.split("__")
        data["spec"][part][name] = value
    return ScalingPolicy.model_validate(data)


def short_setup(of: ScalingPolicy) -> Setup:
    """Return five minutes of traffic for a policy."""
    trace = bursty_trace().slice(0.0, 300.0)
    return demo.setup(of, trace, need_replicas=2.0, seed=1, coldstart_s=60.0, prices=shipped_prices())


def test_the_mean_need_is_work_and_slots_by_hand() -> None:
    """One request a second of 1000 prompt and 100 output tokens, term by term."""
    trace = requests(*[(float(second), 1000, 100) for second in range(101)])
    work_s = 70e-6 * 1000 + (35e-6 + 80e-9 * 1050) * 100
    slots = 100 * 0.0115 / (0.9 * 256)
    assert demo.work_replicas(trace, PROFILE) == pytest.approx(1.01 * (work_s + slots))


def test_what_no_replica_can_hold_is_no_work() -> None:
    """An engine refuses what is longer than its KV cache, to the block, as it comes: it costs no replica anything."""
    small = replace(PROFILE, kv_tokens=1600)
    short = requests(*[(float(second), 1000, 100) for second in range(101)])
    both = requests(*[(float(second), prompt, 100) for second in range(101) for prompt in (1000, 1501)])
    assert demo.too_long(both, small).tolist() == [False, True] * 101
    assert demo.work_replicas(both, small) == pytest.approx(demo.work_replicas(short, small))
    assert not demo.too_long(requests((0.0, 1500, 100)), small).any()
    assert demo.copies_for(requests((0.0, 9999, 1), (200.0, 9999, 1)), small, 10.0) == 1


def test_copies_bring_the_mean_need_to_what_is_wanted() -> None:
    """The need of so many copies is within half a copy of the wanted one."""
    trace = bursty_trace()
    copies = demo.copies_for(trace, PROFILE, 10.0)
    assert abs(copies * demo.work_replicas(trace, PROFILE) - 10.0) <= demo.work_replicas(trace, PROFILE) / 2


def test_the_shipped_conversations_fill_a_fleet_of_eight_to_twelve() -> None:
    """One copy fills a fraction of a replica; the copies of the demo need ten of them in the mean."""
    trace = load_trace("azure-conv-2023")
    one = demo.work_replicas(trace, PROFILE)
    assert one < 1
    assert 8 <= demo.copies_for(trace, PROFILE, demo.CHAT_NEED_REPLICAS) * one <= 12


@pytest.mark.parametrize(
    "trace",
    [
        requests((0.0, 0, 0), (200.0, 0, 0)),
        requests((0.0, 1, 1), (86_400.0, 1, 1)),
    ],
    ids=["nothing asked for", "two in a day"],
)
def test_a_trace_of_almost_nothing_does_not_fill_memory(trace: Trace) -> None:
    """Few small requests would need millions of copies: no more than a million requests are made of them."""
    copies = demo.copies_for(trace, PROFILE, 10.0)
    assert 1 <= copies * len(trace) <= demo.MOST_REQUESTS
    assert demo.first_replicas(trace, PROFILE, 1, 60) == 1


def test_the_fleet_begins_within_its_bounds() -> None:
    """The opening's need at a utilization of 0.6 and half a replica, within minimum and maximum; never none."""
    trace = bursty_trace()
    need = demo.work_replicas(trace.slice(0, 300), PROFILE, 300.0)
    assert demo.first_replicas(trace, PROFILE, 1, 60) == int(np.ceil(need / 0.6 + 0.5))
    assert demo.first_replicas(trace, PROFILE, 5, 60) == 5
    assert demo.first_replicas(trace, PROFILE, 0, 1) == 1
    assert demo.first_replicas(Traffic.of(trace, piece_requests=10), PROFILE, 1, 60) == int(np.ceil(need / 0.6 + 0.5))
    late = replace(trace, arrival_s=trace.arrival_s + 1000.0)
    assert demo.first_replicas(late, PROFILE, 0, 60) == 1, "nobody comes in the first five minutes"


def test_frames_show_all_runs_at_the_same_instant_and_lose_no_entry() -> None:
    """Where all decide every 15 s, every frame is one entry of each, and the share grows to one."""
    frames = list(demo.frames([small_setup()]))
    assert all(len({entry.at for entry in frame.entries}) == 1 for frame in frames)
    assert [frame.share for frame in frames] == sorted(frame.share for frame in frames)
    assert frames[-1].share == 1.0
    for number in range(3):
        assert tuple(frame.entries[number] for frame in frames) == told(number).entries


def test_a_policy_that_ticks_faster_than_the_hpa_is_shown_as_often_as_it_decides() -> None:
    """Ours every 5 s beside the HPA's 15 s: to the end of the trace, three frames to one, no entry lost or doubled."""
    setup = short_setup(changed(timing__tickSeconds=5, timing__scrapeSeconds=5))
    frames: list[Frame] = list(demo.frames([setup]))
    ours = [entry for frame in frames for entry in frame.new if entry.policy.endswith("/ours")]
    others = [entry for frame in frames for entry in frame.new if not entry.policy.endswith("/ours")]
    end_s = setup.scenario.trace.span_s
    assert len(ours) == pytest.approx((end_s - 60) / 5, abs=2)
    assert len(others) == pytest.approx(2 * (end_s - 60) / 15, abs=4)
    assert [entry.at for entry in ours] == sorted({entry.at for entry in ours})
    assert all(frame.entries[0].policy.endswith("/ours") for frame in frames)


def test_the_hpa_has_the_policys_bounds_and_no_zero() -> None:
    """An HPA on a Pods metric cannot go to zero, whatever the policy's minimum is."""
    spec = policy().spec
    spec = spec.model_copy(update={"replicas": spec.replicas.model_copy(update={"min": 0, "max": 7})})
    _, queue, concurrency = demo.contenders(spec)
    assert [(one.policy.min_replicas, one.policy.max_replicas) for one in (queue, concurrency)] == [(1, 7), (1, 7)]


def test_a_policy_that_only_recommends_or_is_paused_is_simulated_as_if_it_enforced_and_says_so() -> None:
    """The table shows what it would do; that it would not write is told under it."""
    paused = policy().model_copy(update={"spec": policy().spec.model_copy(update={"paused": True})})
    recommends = policy().model_copy(update={"spec": policy().spec.model_copy(update={"mode": Mode.RECOMMEND})})
    for odd, words in ((paused, "is paused"), (recommends, "is in mode Recommend")):
        assert demo.contenders(odd.spec)[0].policy == policy().spec
        told_ = tables.notes([replace(small_setup(), policy=odd)])
        assert told_[0] == f"chat: the policy {words}; simulated as if mode Enforce."
    assert len(tables.notes([small_setup()])) == 4
    assert max(map(len, tables.notes([small_setup()]))) <= 80


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    """Whatever a model is called, its journal has a plain name in the folder that was asked for."""
    journals = {("../../Some where/" + "x" * 300, "HPA conc. 2.5"): told(0).entries[:1]}
    (path,) = demo.keep(tmp_path, journals).values()
    assert path.parent == tmp_path
    assert path.name == f"journal-some-where-{'x' * 83}-hpa-conc-2-5.jsonl.gz"


def test_the_hpa_on_concurrency_has_the_target_that_was_swept_for_its_trace() -> None:
    """Forty in flight suits conversations and ruins code completions, so each model has its own."""
    chat, code = replay.setups(None, None, seed=1, coldstart_s=120.0)
    names = [demo.contenders(one.policy.spec, one.in_flight_per_pod)[2].name for one in (chat, code)]
    assert names == ["HPA conc. 40", "HPA conc. 2"]
    assert "40 for chat, 2 for code, swept for each trace" in " ".join(tables.notes([chat, code]))
    assert "not swept for this" in " ".join(tables.notes([small_setup()]))


def test_kept_journals_are_read_back_as_they_were(tmp_path: Path) -> None:
    """Each run has a file of its own with a plain name; what is read is what was kept, in the same order."""
    journals = {("chat", told(number).name): told(number).entries for number in range(3)}
    paths = demo.keep(tmp_path / "deep" / "out", journals)
    assert sorted(path.name for path in paths.values()) == [
        "journal-chat-hpa-conc-40.jsonl.gz",
        "journal-chat-hpa-queue-5.jsonl.gz",
        "journal-chat-ours.jsonl.gz",
    ]
    assert demo.read(paths) == journals
    scores = demo.scores(small_setup(), demo.read(paths))
    assert [score.name for score in scores] == ["ours", "HPA queue 5", "HPA conc. 40"]
