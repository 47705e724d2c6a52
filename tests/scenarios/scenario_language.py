"""The language of the scenario files: stories of one policy, told in ticks, with the decisions they must lead to.

A file is a sequence of blocks, parted by blank lines::

    # A sentence that says what the story shows.
    policy replicas.max=8
    start ready=2
    run until=300 arrivals=8
    ----
    t=0 2→2 no-demand-seen-yet | want – down – | ready 2 warming 0 pool 0

Lines before ``----`` are commands, lines after it are what they must print. Commands:

``policy path=value ...``
    sets fields of the policy (names as users write them; see ``BASE`` for the rest).
``start ready=N``
    puts a target with N ready replicas there, at t=0, without memory.
``tick at=S [what is seen]``
    one decision at S seconds, carried out at once; prints it with all its terms and its sentence.
``run until=S [what is seen]``
    a tick every 15 s until S inclusive; prints only what differs from the decision before.
``restart`` / ``forget``
    the controller restarts with its memory read back from JSON / without one.

What is seen, and stays so until said otherwise: ``arrivals`` in requests/s, ``waiting``, ``held``; and for this command
only: ``ready=N`` (so many of the oldest replicas are ready from now), ``failed=N`` (so many of those that start are
crash-looping), ``crashing=N`` (likewise, and each is tried again at every other tick), ``hung=N`` (so many of those
that start never will), ``spec=N`` (someone else sets the count first; ``unreadable``: it cannot be read), and
``metrics=`` one of ``present``, ``stale`` (nothing newer than before), ``none``, ``down``, ``nan``, ``zero`` (every
gauge 0), ``partial`` (half of the pods have no series), ``warned`` (an answer with a warning), ``no-prompts`` (nobody
counts prompt tokens), ``mute`` (everything but a count of requests), ``frozen-finished``, ``frozen-prompts`` and
``frozen-generated`` (that counter repeats what it told before in every pod; with ``-of-one`` in the first only).

A start ends only when ``ready`` says so. Prompts have 1,000 tokens, outputs 200; what is told is 5 s old.
"""

import copy
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from autoscaler import journal
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.decision import Decision
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals

AGE_S, TICK_S, RESIDENCE_S = 5.0, 15.0, 6.0
BASE: dict[str, Any] = {
    "targetRef": {"name": "llm"},
    "mode": "Enforce",
    "model": {"name": "llm"},
    "engine": {
        "maxSequences": 256,
        "kvTokens": 400_000,
        "stepTime": {
            "fixedSeconds": 0.0115,
            "prefillTokenSeconds": 70e-6,
            "sequenceSeconds": 35e-6,
            "kvTokenSeconds": 80e-9,
            "source": "A100 8B",
        },
    },
    "accelerator": {"class": "A100-80GB"},
    "objectives": {"ttftSeconds": 2},
    "replicas": {"min": 1, "max": 20},
    "coldStart": {"priorSeconds": 120},
}


@dataclass(slots=True)
class Pod:
    """One pod and its counters."""

    name: str
    ordered_at: float
    ready_at: float | None = None
    failed: bool = False
    crashing: bool = False
    hung: bool = False
    running: float = 0.0
    waiting: float = 0.0
    finished: float = 0.0
    started: float = 0.0
    seen_at: float = 0.0
    told: PodSample | None = None


FROZEN = {
    "frozen-finished": "finished_requests",
    "frozen-prompts": "prompt_tokens",
    "frozen-generated": "generation_tokens",
}


@dataclass(slots=True)
class Story:
    """A target, its controller, and the time; commands change it and print lines."""

    policy: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(BASE))
    pods: list[Pod] = field(default_factory=list)
    memory: Memory | None = None
    spec_replicas: int = 0
    readable: bool = True
    now_s: float = 0.0
    seen_s: float = 0.0
    made: int = 0
    arrivals: float = 0.0
    waiting: float = 0.0
    held: float | None = None
    decisions: list[Decision] = field(default_factory=list)

    def command(self, line: str) -> list[str]:
        """Obey one line and return what it prints.

        Raises:
            ValueError: the line is none of the language.
        """
        verb, *words = line.split()
        told = dict(word.split("=", 1) for word in words)
        match verb:
            case "policy":
                return self._set(told)
            case "start":
                self._resize(int(told["ready"]))
                for pod in self.pods:
                    pod.ordered_at, pod.ready_at = -3600.0, -3500.0
                return []
            case "tick":
                return [self._printed(self._tick(float(told.pop("at")), told), whole=True)]
            case "run":
                return self._run(float(told.pop("until")), told)
            case "restart":
                assert self.memory is not None
                self.memory = journal.decode(Memory, journal.encode(self.memory))
                return []
            case "forget":
                self.memory = None
                return []
        raise ValueError(f"no such command: {line}")

    def _set(self, told: dict[str, str]) -> list[str]:
        for path, text in told.items():
            *parents, leaf = path.split(".")
            place = self.policy
            for parent in parents:
                place = place.setdefault(parent, {})
            place[leaf] = YAML(typ="safe").load(text)
            if place[leaf] is None:
                del place[leaf]
        return []

    def _run(self, until_s: float, told: dict[str, str]) -> list[str]:
        lines: list[str] = []
        before = ""
        while self.now_s + TICK_S <= until_s or not lines:
            at_s = self.now_s + TICK_S if self.memory is not None else self.now_s
            line = self._printed(self._tick(at_s, told), whole=False)
            told = {key: value for key, value in told.items() if key in {"metrics", "failed", "crashing"}}
            if line.split(" ", 1)[1] != before:
                lines.append(line)
            before = line.split(" ", 1)[1]
        return lines

    def _tick(self, at_s: float, told: dict[str, str]) -> Decision:
        spec = PolicySpec.model_validate(self.policy)
        self.arrivals = float(told.get("arrivals", self.arrivals))
        self.waiting = float(told.get("waiting", self.waiting))
        self.held = float(told["held"]) if "held" in told else self.held
        self.readable = told.get("spec") != "unreadable"
        if "spec" in told and self.readable:
            self._resize(int(told["spec"]), at_s)
        for pod in [pod for pod in self.pods if pod.ready_at is None][: int(told.get("failed", 0))]:
            pod.failed = True
        for pod in [pod for pod in self.pods if pod.ready_at is None][: int(told.get("crashing", 0))]:
            # A new try looks like any start that is under way.
            pod.crashing, pod.failed = True, round(at_s / TICK_S) % 2 == 0
        serving = sum(pod.ready_at is not None for pod in self.pods)
        for pod in [pod for pod in self.pods if pod.ready_at is None][: int(told.get("hung", 0))]:
            pod.hung = True
        coming = [pod for pod in self.pods if pod.ready_at is None and not (pod.failed or pod.crashing or pod.hung)]
        for pod in coming[: max(0, int(told.get("ready", 0)) - serving)]:
            pod.ready_at = at_s - AGE_S
        signals = self._signals(at_s, told.get("metrics", "present"))
        memory = initial(spec) if self.memory is None else self.memory
        self.memory, decision = decide(spec, memory, signals)
        self.decisions.append(decision)
        if decision.target is not None:
            self._resize(decision.target, at_s)
        return decision

    def _resize(self, replicas: int, at_s: float = 0.0) -> None:
        """Make or delete pods; those that are not ready go first, as a ReplicaSet does it."""
        while len(self.pods) < replicas:
            self.made += 1
            self.pods.append(Pod(name=f"llm-{self.made}", ordered_at=at_s))
        self.pods.sort(key=lambda pod: (pod.ready_at is None, pod.ordered_at))
        del self.pods[replicas:]
        self.spec_replicas = replicas

    def _signals(self, at_s: float, metrics: str) -> Signals:
        ready = [pod for pod in self.pods if pod.ready_at is not None]
        passed_s, self.now_s = at_s - self.now_s, at_s
        for pod in ready:
            _serve(pod, self.arrivals * passed_s / len(ready), self.arrivals / len(ready), self.waiting / len(ready))
        others = "present" if metrics.endswith("-of-one") else metrics
        self.seen_s = self.seen_s if metrics == "stale" else at_s
        samples = tuple(
            _sample(pod, self.seen_s - AGE_S, metrics.removesuffix("-of-one") if pod is ready[0] else others)
            for pod in ready
        )
        if metrics == "none":
            samples = ()
        if metrics == "partial":
            lost = [PodSample(pod=sample.pod, at=sample.at, presence=Presence.ABSENT) for sample in samples[::2]]
            samples = (*lost, *samples[1::2])
        return Signals(
            at=at_s,
            spec_replicas=self.spec_replicas if self.readable else None,
            replicas=tuple(_replica(pod) for pod in self.pods),
            samples=samples,
            held_requests=self.held,
            warnings=("one Prometheus replica did not answer",) if metrics == "warned" else (),
        )

    def _printed(self, decision: Decision, *, whole: bool) -> str:
        def number(value: int | None) -> str:
            return "–" if value is None else str(value)

        parts = [
            f"t={decision.at:g} {number(decision.spec_replicas)}→{number(decision.target)} {decision.why.value}",
            f"want {number(decision.want)} down {number(decision.want_down)}",
            f"ready {decision.ready} warming {decision.warming} pool {decision.prewarm}",
        ]
        if whole and decision.terms:
            parts.append(" ".join(f"{term.name} {term.replicas:.2f}" for term in decision.terms))
        parts += [condition.name for condition in decision.conditions]
        return " | ".join(parts) + (f"\n  {decision.detail}" if whole else "")


def _serve(pod: Pod, arrived: float, rate_rps: float, waiting: float) -> None:
    running = rate_rps * RESIDENCE_S
    # What waits came on top of the arrivals that are served.
    pod.finished += max(0.0, arrived - (running - pod.running))
    pod.started += arrived
    pod.running, pod.waiting = running, waiting


def _sample(pod: Pod, at: float, metrics: str) -> PodSample:
    if metrics == "down":
        return PodSample(pod=pod.name, at=at, presence=Presence.TARGET_DOWN)
    if metrics == "nan":
        return PodSample(pod=pod.name, at=at, presence=Presence.INVALID)
    gauge = 0.0 if metrics == "zero" else 1.0
    requests, mute = metrics != "mute", metrics in {"mute", "no-prompts"}
    sample = PodSample(
        pod=pod.name,
        at=at,
        running=pod.running * gauge,
        waiting=pod.waiting * gauge,
        kv_ratio=min(1.0, pod.running * 1100 / 400_000) * gauge,
        prompt_tokens=None if mute else pod.started * 1000,
        generation_tokens=pod.finished * 200,
        finished_requests=pod.finished if requests else None,
        ttft_count=pod.started if requests else None,
        itl_sum_s=pod.finished * 200 * 0.03,
        itl_count=pod.finished * 200,
    )
    if metrics in FROZEN and pod.told is not None:
        kept: dict[str, Any] = {FROZEN[metrics]: getattr(pod.told, FROZEN[metrics])}
        sample = replace(sample, **kept)
    pod.told = sample
    return sample


def _replica(pod: Pod) -> Replica:
    state = ReplicaState.READY if pod.ready_at is not None else ReplicaState.STARTING
    return Replica(
        pod=pod.name,
        uid=pod.name,
        state=ReplicaState.FAILED if pod.failed else state,
        ordered_at=pod.ordered_at,
        ready_at=pod.ready_at,
        reason="CrashLoopBackOff" if pod.failed else None,
    )


def decisions_of(file: Path) -> list[Decision]:
    """Return every decision of a file's story, those that are not printed too."""
    story = Story()
    replayed(file, story)
    return story.decisions


def replayed(file: Path, story: Story | None = None) -> str:
    """Return the file with what its commands print now in place of what they ought to print."""
    story = Story() if story is None else story
    out, printed = [], False
    waiting: list[str] = []
    for line in file.read_text().splitlines():
        if line == "----":
            out.append(line)
            out += waiting
            waiting, printed = [], True
        elif not line.strip():
            out.append(line)
            printed = False
        elif not printed:
            out.append(line)
            waiting += [] if line.startswith("#") else story.command(line)
    assert math.isfinite(story.now_s)
    return "\n".join(out) + "\n"
