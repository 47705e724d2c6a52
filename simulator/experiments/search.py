"""The search for a policy's settings on traffic, offline: what ``simulator tune`` runs.

The traffic is cut in two by time. The search sees the first part alone; what it found is then run on the second, beside
the policy as it was, so that the figure that is told is one that nobody has tuned for. Of the settings whose attainment
reaches what the policy wants, the one with the fewest accelerator-hours is best; where none does, the one with the
highest attainment. The policy as it is is tried first, as number 0: what is found is never worse than it on the first
part, by this rule.

Numbers are tried in order, in batches that begin at multiples of ``BATCH``. What a batch holds is proposed by Optuna
(tree-structured Parzen estimator) from a sampler that is seeded by the search's seed and the batch's number, and is
told of the whole batches before it and of nothing else. So number n is the same setting however many cores there are,
however many settings are asked for, and wherever a search was stopped and gone on with: within a batch too, as what
was tried of it is not tried again, and the rest of it is the same proposals.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any

import numpy as np
import optuna

from autoscaler.core import plan
from simulator.baselines.peers import PEERS, Style
from simulator.experiments.cores import on_cores
from simulator.experiments.policy_settings import Settings, point_at, settings_at, space, tuned
from simulator.experiments.sweep import Case, scenario_of
from simulator.experiments.trial import opening_of, run_trial
from simulator.traces import TraceError, traffic_of
from simulator.traces.scaling import part_of

BATCH = 8
TRAIN_SHARE = 0.6
PART_LEAST_S = 120.0
"""From the first to the last request of a part: of nothing at all, nothing is late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a setting came to in each seed, in the seeds' order: share of requests in time, and accelerator-hours.

    ``requests`` is how many were scored in all seeds together.
    """

    attainments: tuple[float, ...]
    hours_by_seed: tuple[float, ...]
    requests: int

    @property
    def attainment(self) -> float:
        """The share of requests in time, in the mean over the seeds."""
        return fmean(self.attainments)

    @property
    def hours(self) -> float:
        """The accelerator-hours, in the mean over the seeds."""
        return fmean(self.hours_by_seed)

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {
            "attainment": self.attainment,
            "accelerator_hours": self.hours,
            "requests": self.requests,
            "by_seed": {"attainment": list(self.attainments), "accelerator_hours": list(self.hours_by_seed)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What was tried and what it came to on the part that is searched on. ``settings`` None: the policy as it is."""

    settings: Settings | None
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best of all that was tried, by its number; ``reached``: it reaches what the policy wants, in training."""

    number: int
    best: Tried
    reached: bool
    tried: int


def split(case: Case) -> tuple[Case, Case]:
    """Return the case cut in two by time: what is searched on, and what is held out.

    Raises:
        TraceError: a part would have no request that is scored, or next to none.
    """
    cut_s = TRAIN_SHARE * case.trace.span_s
    first, second = part_of(case.trace, 0.0, cut_s), part_of(case.trace, cut_s, None)
    for part, called in ((first, f"first {TRAIN_SHARE:.0%}"), (second, f"last {1 - TRAIN_SHARE:.0%}")):
        opening_s = opening_of([part.span_s])
        scored = any((piece.arrival_s >= opening_s).any() for piece in traffic_of(part).pieces())
        if part.span_s < PART_LEAST_S or not scored:
            raise TraceError(
                f"{case.trace.name}: in the {called} of its time requests come for {part.span_s:.0f} s alone;"
                f" a search needs {PART_LEAST_S:.0f} s of them there: give more traffic, or another part of it"
                " (simulator trace slice)"
            )
    later = None if case.faults is None else case.faults.after(cut_s)
    return replace(case, trace=first), replace(case, trace=second, faults=later)


def search(
    case: Case, known: Sequence[Tried], *, trials: int, seeds: Sequence[int], seed: int, jobs: int | None
) -> Iterator[Tried]:
    """Yield what is tried after all that is ``known``, as soon as it was, until there are ``trials`` in all."""
    tried = list(known)
    while len(tried) < trials:
        begun = len(tried) - len(tried) % BATCH
        batch = proposals(case, tried[:begun], seed=seed)
        rest = batch[len(tried) - begun : trials - begun]
        for settings, figures in zip(rest, evaluated(case, rest, seeds, jobs=jobs), strict=True):
            tried.append(Tried(settings=settings, figures=figures))
            yield tried[-1]


def proposals(case: Case, whole_batches: Sequence[Tried], *, seed: int) -> list[Settings | None]:
    """Return the batch that follows on whole batches: it follows from them and from the seed alone.

    The study is made anew for each batch, as a sampler that has proposed before, or knows of a proposal that was
    never told, proposes otherwise.
    """
    searched = space(case.policy.spec, case.coldstart_s)
    study = optuna.create_study(sampler=_sampler(seed, len(whole_batches) // BATCH))
    study.add_trials(_told(case, each) for each in whole_batches)
    first: list[Settings | None] = [] if whole_batches else [None]
    asked = [study.ask(dict(searched)) for _ in range(BATCH - len(first))]
    return [*first, *(settings_at(each.params) for each in asked)]


def _sampler(seed: int, batch: int) -> optuna.samplers.TPESampler:
    return optuna.samplers.TPESampler(seed=int(np.random.SeedSequence((seed, batch)).generate_state(1)[0]))


def _told(case: Case, tried: Tried) -> optuna.trial.FrozenTrial:
    """Return what the sampler is told of a setting: its cost, and by how much it falls short of what is wanted."""
    spec = case.policy.spec
    return optuna.trial.create_trial(
        value=tried.figures.hours,
        params=point_at(tried.settings, spec, case.coldstart_s),
        distributions=dict(space(spec, case.coldstart_s)),
        constraints={"shortfall": spec.objectives.ttft_attainment - tried.figures.attainment},
    )


def evaluated(
    case: Case, settings: Sequence[Settings | None], seeds: Sequence[int], *, jobs: int | None
) -> Iterator[Figures]:
    """Yield the figures of each setting, in their order, each as soon as all its seeds have run."""
    tasks = [(replace(case, policy=tuned(case.policy, each)), seed) for each in settings for seed in seeds]
    ran = on_cores(_run, tasks, jobs=jobs)
    while of_one := tuple(islice(ran, len(seeds))):
        yield Figures(
            attainments=tuple(attainment for attainment, _, _ in of_one),
            hours_by_seed=tuple(hours for _, hours, _ in of_one),
            requests=sum(requests for _, _, requests in of_one),
        )


def best(tried: Sequence[Tried], wanted: float) -> Found:
    """Return the cheapest setting that reaches what is wanted; where none does, the one with the highest attainment.

    Of equals it is the one that was tried first.

    Raises:
        ValueError: none was tried.
    """
    if not tried:
        raise ValueError("no setting was tried")
    numbers = range(len(tried))
    reaching = [number for number in numbers if tried[number].figures.attainment >= wanted]
    if reaching:
        number = min(reaching, key=lambda each: tried[each].figures.hours)
    else:
        number = min(numbers, key=lambda each: (-tried[each].figures.attainment, tried[each].figures.hours))
    return Found(number=number, best=tried[number], reached=bool(reaching), tried=len(tried))


def _run(case: Case, seed: int) -> tuple[float, float, int]:
    """Run the case's policy in one seed: attainment, accelerator-hours, requests. In a process of its own."""
    scenario, spec = scenario_of(case, seed), case.policy.spec
    contender = PEERS["ours"].contender(scenario, spec, plan.quantile(spec), Style.DEFAULT)
    result = run_trial(scenario, contender, case.promise)
    return result.outcomes.attainment, result.accelerator_hours, result.outcomes.requests
