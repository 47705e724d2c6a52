"""Prefix-aware routing: where most of a prompt is cached, unless that is little or the loads are too different."""

import json
from contextlib import chdir
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cli import main
from simulator.cli.options import ROUTINGS
from simulator.cluster import ROUTINGS as CLUSTER_ROUTINGS
from simulator.cluster import Cluster, Routing
from simulator.engine.routing import IMBALANCE_LEAST
from simulator.experiments.provenance import trace_digest
from simulator.traces import Trace, Traffic
from simulator.traces.writing import write_traffic
from tests.simulator.prefix_traces import conversations, with_blocks
from tests.simulator.simulated_pools import FIXED_120_S, EngineNumbers, drain_all, engine, engines, requests
from tests.simulator.test_cli import demo_policy

TEXT = list(range(1, 11))
OTHER = list(range(101, 111))


def routed(trace: Trace, *, routing: Routing = "prefix_aware", replicas: int = 3, stepwise: bool = False) -> Cluster:
    """A pool that routes so, once all is served."""
    return drain_all(
        Cluster(
            profile=engine(),
            startup=FIXED_120_S,
            seed=0,
            trace=trace,
            initial_replicas=replicas,
            routing=routing,
            stepwise=stepwise,
        )
    )


def hits(cluster: Cluster) -> int:
    """Tokens found, over all replicas."""
    return int(cluster.snapshot().engine["prefix_hits"].sum())


def test_a_conversation_stays_where_its_text_is_cached() -> None:
    """Least outstanding sends each turn of a conversation elsewhere, to be computed anew; prefix-aware does not."""
    rows = requests(*((10.0 * turn, 160, 5) for turn in range(6)))
    trace = with_blocks(rows, [TEXT] * 6, 16)
    aware, unaware = routed(trace), routed(trace, routing="least_outstanding")
    assert set(aware.requests().replica.tolist()) == {0}
    assert hits(aware) == 5 * (160 - 16)
    assert hits(unaware) == 3 * (160 - 16)


def test_a_small_part_of_a_prompt_does_not_decide() -> None:
    """Three of ten blocks are not more than 0.3 of a prompt, four are."""
    rows = requests((0.0, 160, 5), (10.0, 160, 5), (20.0, 160, 5))
    three = with_blocks(rows, [TEXT, TEXT[:3] + OTHER[3:], OTHER], 16)
    four = with_blocks(rows, [TEXT, TEXT[:4] + OTHER[4:], OTHER], 16)
    assert routed(three).requests().replica.tolist()[:2] == [0, 1]
    assert routed(four).requests().replica.tolist()[:2] == [0, 0]


def test_a_replica_with_far_more_requests_than_another_gets_no_more() -> None:
    """A crowd with one prefix fills its replica up to the imbalance allowed, then the others get their share."""
    crowd = 3 * IMBALANCE_LEAST
    rows = requests(*((0.001 * i, 160, 2000) for i in range(crowd)))
    cluster = Cluster(
        profile=engine(),
        startup=FIXED_120_S,
        seed=0,
        trace=with_blocks(rows, [TEXT] * crowd, 16),
        initial_replicas=3,
        routing="prefix_aware",
    )
    cluster.advance(1.0)
    outstanding = cluster.snapshot().engine["outstanding"]
    assert outstanding.max() - outstanding.min() <= IMBALANCE_LEAST + 1
    assert outstanding.min() > 0


def test_without_named_blocks_it_is_least_outstanding() -> None:
    """Nothing can be cached that nobody can name."""
    rows = requests(*((0.1 * i, 500, 50) for i in range(40)))
    aware, unaware = routed(rows), routed(rows, routing="least_outstanding")
    assert aware.requests().replica.tolist() == unaware.requests().replica.tolist()


def test_the_command_line_offers_every_routing() -> None:
    """The names stand twice, since the command line must not wait for the engine's compiler."""
    assert set(ROUTINGS) == set(CLUSTER_ROUTINGS)


def test_the_same_lengths_with_other_blocks_are_another_trace() -> None:
    """A result's digest stands for all that it follows from, whatever pieces the trace comes in."""
    rows = requests((0.0, 160, 5), (10.0, 160, 5))
    one, other = with_blocks(rows, [TEXT, TEXT], 16), with_blocks(rows, [TEXT, OTHER], 16)
    assert len({trace_digest(trace) for trace in (rows, one, other)}) == 3
    assert trace_digest(one) == trace_digest(Traffic.of(one, piece_requests=1))


def test_a_run_takes_its_routing_from_the_command_line(tmp_path: Path) -> None:
    """The result names it, and prompts of known conversations begin sooner where they are cached."""
    (tmp_path / "mine.yaml").write_text(demo_policy(), encoding="utf-8")
    rng = np.random.default_rng(1)
    talks = [[talk * 100 + i for i in range(8)] for talk in range(300)]
    lines = [
        {"timestamp": 400 * i, "input_length": 4096, "output_length": 50, "hash_ids": talks[rng.integers(300)]}
        for i in range(2000)
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    found = {}
    for routing in ("random", "prefix_aware"):
        arguments = ["run", "mine.yaml", "talks.jsonl", "--peer", "static", "--knob", "4", "--out", routing]
        with chdir(tmp_path):
            ran = CliRunner().invoke(main, [*arguments, "--routing", routing])
        assert ran.exit_code == 0, ran.output
        found[routing] = json.loads((tmp_path / routing / "run.json").read_text())
        assert found[routing]["routing"] == routing
    ttft_s = [found[routing]["result"]["outcomes"]["ttft_p50_s"] for routing in ("prefix_aware", "random")]
    assert ttft_s[0] < ttft_s[1]


def test_a_trace_with_odd_blocks_is_refused_before_the_run(tmp_path: Path) -> None:
    """One sentence, exit 1, and no folder."""
    rows = requests(*((60.0 * i, 30, 1) for i in range(20)))
    write_traffic(
        tmp_path / "odd.parquet", Traffic.of(with_blocks(rows, [[1, 2]] * 20, 20)), name="odd.parquet", block_tokens=20
    )
    (tmp_path / "mine.yaml").write_text(demo_policy(), encoding="utf-8")
    ran = CliRunner().invoke(
        main, ["run", str(tmp_path / "mine.yaml"), str(tmp_path / "odd.parquet"), "--out", str(tmp_path / "out")]
    )
    assert ran.exit_code == 1
    assert "give a multiple of that" in ran.stderr
    assert not (tmp_path / "out").exists()


@settings(max_examples=30, deadline=None)
@given(numbers=engines, seed=st.integers(0, 10_000), replicas=st.integers(2, 4))
def test_what_routing_sees_does_not_depend_on_how_steps_are_taken(
    numbers: EngineNumbers, seed: int, replicas: int
) -> None:
    """Closed form or step by step: the same replica for every request, the same times to 1e-6 s."""
    trace = conversations(seed, 120, 48)
    fast, slow = (
        drain_all(
            Cluster(
                profile=engine(**numbers),
                startup=FIXED_120_S,
                seed=0,
                trace=trace,
                initial_replicas=replicas,
                routing="prefix_aware",
                stepwise=stepwise,
            )
        )
        for stepwise in (False, True)
    )
    assert fast.requests().replica.tolist() == slow.requests().replica.tolist()
    assert np.abs(fast.requests().finish_s - slow.requests().finish_s).max() < 1e-6
    assert hits(fast) == hits(slow)
