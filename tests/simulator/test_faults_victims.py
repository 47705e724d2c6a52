"""A run tells of each fault whom it befell, or that it found nobody: what hit nothing must not look like what hit."""

import json
from pathlib import Path
from typing import Any

import pytest

from autoscaler.core.signals import Presence
from autoscaler.journal import OutcomeStatus
from simulator.baselines.peers import PEERS, Style
from simulator.experiments.provenance import write_json
from simulator.faults.victims import NAMES_MOST, Befallen
from simulator.pages import picture, run_report, run_tables
from simulator.run import run
from simulator.world import SimulatedWorld
from tests.simulator.faulty_runs import QUANTILE, between, faulty_scenario, spec, steady_trace
from tests.simulator.small_demo import policy
from tests.simulator.test_faults_replicas import SPOT, ours, story
from tests.simulator.test_several_pools import call, facts, inputs

__all__ = ["inputs"]  # the fixture


def befallen(line: str, *, on_nodes: bool = False, peer: str = "ours") -> Befallen:
    """Return whom the one fault of a run befell."""
    cluster = SPOT if on_nodes else None
    scenario = faulty_scenario(f"faults:\n  - {{{line}}}\n", trace=steady_trace(rises_at_minute=12), cluster=cluster)
    world = SimulatedWorld(scenario)
    for _ in run(scenario, PEERS[peer].contender(scenario, spec(), QUANTILE, Style.DEFAULT), world):
        pass
    (found,) = world.befallen()
    return found


def test_those_whom_a_fault_of_metrics_befell_are_those_whose_samples_were_lost() -> None:
    """By name, and no others: of half the pods the journal shows a target that is down."""
    line = "fault: targetDown, startSeconds: 1800, durationSeconds: 120, share: 0.5"
    entries = between(ours(line), 1800, 1980)
    samples = [sample for entry in entries for sample in entry.signals.samples]
    down = {sample.pod for sample in samples if sample.presence is Presence.TARGET_DOWN}
    assert down
    assert down < {sample.pod for sample in samples}
    assert set(befallen(line).names) == down


def test_those_whose_start_a_fault_befell_are_those_that_failed() -> None:
    """What was ordered before and after the window is not among them."""
    line = "fault: crashLoop, startSeconds: 700, durationSeconds: 100"
    seen = [one for entry in ours(line) for one in entry.signals.replicas if one.reason == "CrashLoopBackOff"]
    assert set(befallen(line).names) == {one.pod for one in seen}


def test_a_fault_of_writes_counts_the_ticks_at_which_a_write_failed() -> None:
    """A window in which nobody wrote is one in which nothing was refused."""
    line = "fault: scaleRefused, startSeconds: 700, durationSeconds: 300"
    refused = [entry for entry in ours(line) if entry.outcome.status is OutcomeStatus.REFUSED]
    found = befallen(line)
    assert (found.of, len(found.names)) == ("ticks", len(refused))
    assert refused


NOBODY = [
    ("fault: failedStart, startSeconds: 1900, durationSeconds: 100", False, "befell no replica"),
    ("fault: counterReset, startSeconds: 1900, share: 0.000001", False, "befell no replica"),
    ("fault: slowReplicas, startSeconds: 1900, durationSeconds: 60, share: 0.000001, factor: 2", False,
     "befell no replica"),
    ("fault: prometheusDown, startSeconds: 1801, durationSeconds: 5", False, "was felt at no tick"),
    ("fault: scaleConflict, startSeconds: 2000, durationSeconds: 100", False, "was felt at no tick"),
    ("fault: controllerRestart, startSeconds: 5, downSeconds: 10", False, "was felt at no tick"),
    ("fault: stockout, startSeconds: 2000, durationSeconds: 60", True, "found no node group that was to grow"),
]  # fmt: skip
SOMEBODY = [
    ("fault: counterReset, startSeconds: 1900", False, "replicas"),
    ("fault: slowReplicas, startSeconds: 1900, durationSeconds: 60, factor: 2", False, "replicas"),
    ("fault: replicaCrash, startSeconds: 1900", False, "replicas"),
    ("fault: stockout, startSeconds: 700, durationSeconds: 200", False, "replicas"),
    ("fault: prometheusDown, startSeconds: 1801, durationSeconds: 60", False, "ticks"),
    ("fault: delayedScrapes, startSeconds: 1801, durationSeconds: 60, lagSeconds: 60", False, "ticks"),
    ("fault: slowApi, startSeconds: 700, durationSeconds: 300, delaySeconds: 9", False, "ticks"),
    ("fault: controllerRestart, startSeconds: 1801", False, "ticks"),
    ("fault: leaderChange, startSeconds: 1801", False, "ticks"),
    ("fault: nodeLoss, startSeconds: 1502", True, "nodes"),
    ("fault: spotReclaim, startSeconds: 1502", True, "nodes"),
    ("fault: stockout, startSeconds: 700, durationSeconds: 300", True, "node groups"),
]


@pytest.mark.parametrize(("line", "on_nodes", "said"), NOBODY)
def test_one_that_finds_nobody_says_so(line: str, on_nodes: bool, said: str) -> None:
    """With the seconds, and what it could not find."""
    found = befallen(line, on_nodes=on_nodes)
    assert found.missed is not None
    assert found.missed.endswith(said)
    assert found.as_json()["befell"]["count"] == 0


@pytest.mark.parametrize(("line", "on_nodes", "of"), SOMEBODY)
def test_one_that_finds_somebody_says_whom(line: str, on_nodes: bool, of: str) -> None:
    """Nodes and replicas by name, ticks by their number."""
    found = befallen(line, on_nodes=on_nodes)
    told = found.as_json()["befell"]
    assert (found.missed, found.of) == (None, of)
    assert told["count"] == len(found.names) > 0
    assert ("names" in told) is (of != "ticks")


def test_a_leader_that_goes_is_felt_by_a_peer_too() -> None:
    """Its followers are idle: it is a restart."""
    assert befallen("fault: leaderChange, startSeconds: 1801", peer="hpa").missed is None


def test_a_long_list_of_victims_is_cut_and_their_number_is_not() -> None:
    """A run of a week would be megabytes of names."""
    found = befallen("fault: counterReset, startSeconds: 1900")
    many = Befallen(occurrence=found.occurrence, of="replicas", names=tuple(map(str, range(NAMES_MOST + 5))))
    told = many.as_json()["befell"]
    assert (told["count"], len(told["names"])) == (NAMES_MOST + 5, NAMES_MOST)
    assert found.missed is None
    missed = [Befallen(occurrence=found.occurrence, of="replicas", names=())] * (run_tables.MISSED_MOST + 3)
    lines = list(run_tables.missed(missed))
    assert len(lines) == run_tables.MISSED_MOST + 1
    assert lines[-1] == "found nobody: 3 more; run.json names all"


FAULTS = """\
faults:
  - {fault: replicaCrash, startSeconds: 400}
  - {fault: spotReclaim, startSeconds: 500}
  - {fault: nodeLoss, perHour: 20}
"""


def test_a_run_prints_what_found_nobody_and_its_page_shows_it_in_grey(inputs: Path) -> None:
    """There is no spot node; and of nodes that models share all tell the same, which is printed once."""
    (inputs / "faults.yaml").write_text(FAULTS, encoding="utf-8")
    done = call(
        "run", inputs / "prefill.yaml", inputs / "mine.csv", "--beside", inputs / "decode.yaml", inputs / "mine.csv",
        "--cluster", inputs / "nodes.yaml", "--faults", inputs / "faults.yaml", "--out", inputs / "befallen",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.output.count("found nobody: spotReclaim at 500 s found no node") == 1
    first, second = (facts(inputs / "befallen" / name)["faults"]["occurrences"] for name in (".", "answers"))
    kinds = {"spotReclaim", "nodeLoss"}
    assert [one for one in first if one["fault"] in kinds] == [one for one in second if one["fault"] in kinds]
    assert {one["fault"] for one in first} == kinds | {"replicaCrash"}

    assert call("report", inputs / "befallen").exit_code == 0
    page = (inputs / "befallen" / "report.html").read_text()
    assert "spotReclaim: minute 8.3\\u003cbr\\u003efound nobody" in page
    assert "befell 1 node: node-0000" in page
    assert "<li>spotReclaim: minute 8.3; found nobody (it befalls nodes)</li>" in page
    assert "Beside it on the same nodes: answers." in page


def marks(occurrences: list[dict[str, Any]]) -> list[str]:
    """Return the names of the points that mark these on a page."""
    entries = story("")[0]
    drawn = run_report.figure(policy(), entries, name="ours")
    before = len(drawn.data)
    run_report.mark_faults(drawn, occurrences, picture.unit_of(entries))
    return [trace.name for trace in drawn.data[before:]]


def test_the_page_of_a_run_of_days_tells_faults_in_days() -> None:
    """As its axis does, and its panel."""
    one = {"fault": "targetDown", "begins_s": 86_400.0, "ends_s": 129_600.0}
    entries = story("")[0]
    drawn = run_report.figure(policy(), entries, name="ours")
    run_report.mark_faults(drawn, [one], picture.DAYS)
    assert drawn.data[-1].text == ("targetDown: day 1.00 to 1.50",)


def test_a_run_that_was_kept_before_victims_were_told_is_drawn_as_it_was(tmp_path: Path) -> None:
    """Nothing is known of whom its faults befell: it is not said that they found nobody."""
    old = {"fault": "targetDown", "begins_s": 60.0, "ends_s": 120.0}
    write_json(tmp_path / "old.json", old)
    assert marks([json.loads((tmp_path / "old.json").read_text())]) == ["faults"]
    missed = {**old, "befell": {"of": "replicas", "count": 0, "names": []}}
    assert marks([missed]) == ["faults that found nobody"]
    assert marks([old, missed]) == ["faults", "faults that found nobody"]
