"""The search for a policy's knobs on traffic, offline: what ``simulator tune`` runs.

The traffic is cut in two by time. The search sees the first part alone; what it found is then run on the second, beside
the policy as it was, so that the figure that is told is one that nobody has tuned for. Of the settings whose attainment
reaches what the policy wants, the one with the fewest accelerator-hours is best; where none does, the one with the
highest attainment.

Settings are proposed by Optuna (tree-structured Parzen estimator), a batch at a time, and each batch is evaluated on
all cores and told in order. The sampler of a batch is seeded by the search's seed and the number of settings told
before, so the same command finds the same policy on any number of cores, and one that was interrupted goes on as if it
had not been.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import optuna
from joblib import Parallel, delayed

from autoscaler.core.policy import PolicySpec, ScalingPolicy
from simulator.baselines.peers import PEERS, Style
from simulator.experiments.sweep import Case, scenario_of
from simulator.experiments.trial import run_trial
from simulator.traces.scaling import part_of

BATCH = 8
TRAIN_SHARE = 0.6
Settings = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a setting came to, in the mean over the seeds: share of requests in time, and accelerator-hours."""

    attainment: float
    hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best setting, with its figures on the part that was searched on."""

    settings: Settings
    train: Figures
    reached: bool
    tried: int


def split(case: Case) -> tuple[Case, Case]:
    """Return the case cut in two by time: what is searched on, and what is held out."""
    cut_s = TRAIN_SHARE * case.trace.span_s
    first, second = part_of(case.trace, 0.0, cut_s), part_of(case.trace, cut_s, None)
    later = None if case.faults is None else case.faults.after(cut_s)
    return replace(case, trace=first), replace(case, trace=second, faults=later)


def tuned(policy: ScalingPolicy, settings: Settings) -> ScalingPolicy:
    """Return the policy with these settings: its quantile, its hold in seconds, and its least pre-warm pool."""
    spec = policy.spec
    prewarm = spec.prewarm.model_copy(
        update={"quantile": round(settings["prewarm.quantile"], 4), "min": int(settings["prewarm.min"])}
    )
    hold_s = round(settings["scaleDown.stabilizationSeconds"])
    down = spec.scale_down.model_copy(update={"stabilization_seconds": float(hold_s)})
    return policy.model_copy(update={"spec": spec.model_copy(update={"prewarm": prewarm, "scale_down": down})})


def proposed(trial: optuna.trial.Trial, spec: PolicySpec, coldstart_s: float) -> Settings:
    """Return what the sampler proposes: a quantile on the scale of ln(1 − q), a hold of 0 to 6 cold starts, a pool."""
    late = trial.suggest_float("1 - prewarm.quantile", 0.005, 0.5, log=True)
    most = min(4, spec.replicas.max if spec.prewarm.max is None else spec.prewarm.max)
    return {
        "prewarm.quantile": 1 - late,
        "scaleDown.stabilizationSeconds": trial.suggest_float("hold_s", 0.0, 6 * coldstart_s),
        "prewarm.min": float(trial.suggest_int("prewarm.min", 0, most)),
    }


def search(
    study: optuna.Study,
    case: Case,
    *,
    trials: int,
    seeds: Sequence[int],
    seed: int,
    jobs: int,
    on_batch: Callable[[int, Found], object] = lambda _tried, _best: None,
) -> Found:
    """Propose and evaluate until the study holds ``trials`` settings; return the best of all.

    ``on_batch`` hears after each batch how many are told, and the best so far. What is told to the study stays there.

    Raises:
        ValueError: no setting was ever evaluated.
    """
    spec = case.policy.spec
    _forget_interrupted(study)
    while (told := _told(study)) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=seed + told, constant_liar=True)
        asked = [study.ask() for _ in range(min(BATCH, trials - told))]
        settings = [proposed(each, spec, case.coldstart_s) for each in asked]
        results = evaluated(case, settings, seeds, jobs=jobs)
        for each, chosen, figures in zip(asked, settings, results, strict=True):
            each.set_user_attr("settings", dict(chosen))
            each.set_user_attr("attainment", figures.attainment)
            each.set_user_attr("shortfall", spec.objectives.ttft_attainment - figures.attainment)
            each.set_constraint("shortfall", spec.objectives.ttft_attainment - figures.attainment)
            study.tell(each, figures.hours)
        on_batch(_told(study), best(study))
    return best(study)


def _forget_interrupted(study: optuna.Study) -> None:
    """Drop what was proposed and never evaluated: the sampler would keep away from it, and find another policy."""
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def evaluated(case: Case, settings: Sequence[Settings], seeds: Sequence[int], *, jobs: int) -> list[Figures]:
    """Return the figures of each setting, in the mean over the seeds."""
    tasks = [(tuned(case.policy, each), seed) for each in settings for seed in seeds]
    ran = Parallel(n_jobs=jobs)(delayed(_run)(replace(case, policy=policy), seed) for policy, seed in tasks)
    return [_mean(ran[i : i + len(seeds)]) for i in range(0, len(ran), len(seeds))]


def as_it_is(case: Case, seeds: Sequence[int], *, jobs: int) -> Figures:
    """Return the figures of the case's own policy, in the mean over the seeds."""
    return _mean(Parallel(n_jobs=jobs)(delayed(_run)(case, seed) for seed in seeds))


def best(study: optuna.Study) -> Found:
    """Return the cheapest setting that reaches what is wanted; where none does, the one with the highest attainment.

    Raises:
        ValueError: none was evaluated.
    """
    done = [trial for trial in study.trials if trial.state is optuna.trial.TrialState.COMPLETE]
    if not done:
        raise ValueError("no setting was evaluated")
    reaching = [trial for trial in done if trial.user_attrs["shortfall"] <= 0]
    chosen = min(reaching, key=_cost) if reaching else min(done, key=lambda trial: (_late(trial), *_cost(trial)))
    figures = Figures(attainment=chosen.user_attrs["attainment"], hours=_cost(chosen)[0])
    return Found(settings=chosen.user_attrs["settings"], train=figures, reached=bool(reaching), tried=len(done))


def _cost(trial: optuna.trial.FrozenTrial) -> tuple[float, int]:
    return (float("inf") if trial.value is None else trial.value, trial.number)


def _late(trial: optuna.trial.FrozenTrial) -> float:
    return 1.0 - float(trial.user_attrs["attainment"])


def _told(study: optuna.Study) -> int:
    return sum(trial.state is optuna.trial.TrialState.COMPLETE for trial in study.trials)


def _run(case: Case, seed: int) -> tuple[float, float]:
    """Run the case's policy in one seed: attainment and accelerator-hours. In a process of its own."""
    scenario, spec = scenario_of(case, seed), case.policy.spec
    quantile = 0.9 if spec.prewarm.quantile is None else spec.prewarm.quantile
    contender = PEERS["ours"].contender(scenario, spec, quantile, Style.DEFAULT)
    result = run_trial(scenario, contender, case.promise)
    return result.outcomes.attainment, result.accelerator_hours


def _mean(ran: Sequence[tuple[float, float]]) -> Figures:
    return Figures(attainment=fmean(one for one, _ in ran), hours=fmean(hours for _, hours in ran))


def as_json(figures: Figures) -> dict[str, Any]:
    """Return the figures by name."""
    return {"attainment": figures.attainment, "accelerator_hours": figures.hours}
