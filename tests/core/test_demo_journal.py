"""The demo's two hours of real requests: every decision recomputed, no false alarm, and each counter frozen in them."""

import gzip
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import simulator
from autoscaler import journal
from autoscaler.core.decide import decide, initial
from autoscaler.core.decision import Decision
from autoscaler.core.policy import PolicySpec, ScalingPolicy
from autoscaler.core.signals import Signals
from autoscaler.journal import Entry
from tests.core.engines_modelled import COUNTERS
from tests.core.test_recompute import check

MODELS = ("chat", "code")


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Entry]]:
    """Return the journals of the demo by model: both Azure hours under our own decisions."""
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "simulator", "demo", "--fast", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    entries = {}
    for model in MODELS:
        with gzip.open(out / f"journal-{model}-ours.jsonl.gz", "rt") as lines:
            entries[model] = [journal.decode(Entry, line) for line in lines]
    return entries


def spec_of(model: str) -> PolicySpec:
    """Return the policy that the demo scales a model by."""
    (file,) = Path(simulator.__file__).parent.rglob(f"demo-{model}.yaml")
    return ScalingPolicy.model_validate(YAML(typ="safe").load(file)).spec


def test_every_decision_can_be_recomputed_and_none_looks_frozen(journals: dict[str, list[Entry]]) -> None:
    """Counts and reasons by independent code from the decision's own numbers; no tick carries a false alarm."""
    decisions = [entry.decision for model in MODELS for entry in journals[model]]
    assert len(decisions) > 400
    for decision in decisions:
        check(decision)
        assert decision.numbers["frozen_counters"] == 0
        assert "FrozenCounters" not in [condition.name for condition in decision.conditions]
    assert len({decision.why for decision in decisions}) > 4


def decided(spec: PolicySpec, told: Iterator[Signals]) -> list[Decision]:
    """Return the decisions on signals, carried out by nobody."""
    memory, decisions = initial(spec), []
    for signals in told:
        memory, decision = decide(spec, memory, signals)
        decisions.append(decision)
    return decisions


def frozen(entries: list[Entry], counter: str, since: int, *, everywhere: bool) -> Iterator[Signals]:
    """Yield the journal's signals; a counter repeats its value of one tick from then on, in every pod or in one."""
    told = {sample.pod: getattr(sample, counter) for sample in entries[since].signals.samples}
    victims = set(told) if everywhere else {min(told)}
    for tick, entry in enumerate(entries):
        samples = []
        for sample in entry.signals.samples:
            # A pod that comes later never counts at all.
            old: dict[str, Any] = {counter: told.get(sample.pod, 0.0)}
            stops = tick >= since and (everywhere or sample.pod in victims)
            samples.append(replace(sample, **old) if stops else sample)
        yield replace(entry.signals, samples=tuple(samples))


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("counter", COUNTERS)
def test_a_counter_that_freezes_after_twenty_minutes_is_told_and_shrinks_nothing(
    journals: dict[str, list[Entry]], counter: str, everywhere: bool
) -> None:
    """Told after a minute; for the forty that follow at most a quarter less is wanted than by the counter itself.

    That much the mix of requests drifts from the last mean; believed, the counter would have left next to nothing.
    """
    for model in MODELS:
        spec, entries = spec_of(model), journals[model]
        since = len(entries) // 3
        honest = decided(spec, (entry.signals for entry in entries))
        blinded = decided(spec, frozen(entries, counter, since, everywhere=everywhere))
        told = ["FrozenCounters" in [one.name for one in decision.conditions] for decision in blinded]
        assert told.index(True) == since + 4
        if everywhere:
            assert all(told[since + 4 :])
        for mine, true in zip(blinded, honest, strict=True):
            assert (mine.want or 0) >= 0.75 * (true.want or 0)
