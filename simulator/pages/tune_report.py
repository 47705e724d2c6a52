"""What a search for settings has found, told: its table, its evidence, and in one sentence what to do with it."""

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from simulator.experiments.policy_settings import own_settings, ranges
from simulator.experiments.search import TRAIN_SHARE, Figures, Found
from simulator.experiments.sweep import Case
from simulator.experiments.trial import opening_of
from simulator.pages.tables import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was found, and on each part what it comes to (``after``) and what the policy as it was does (``before``)."""

    case: Case
    found: Found
    before: dict[str, Figures]
    after: dict[str, Figures]

    @property
    def wanted(self) -> float:
        """The share of requests in time that the policy wants."""
        return self.case.policy.spec.objectives.ttft_attainment

    @property
    def unchanged(self) -> bool:
        """Whether the policy as it was is the best of all that was tried."""
        return self.found.best.settings is None

    def keeps(self, figures: Figures) -> bool:
        """Whether what is wanted was reached."""
        return figures.attainment >= self.wanted

    def held_out(self) -> str:
        """Return what the part that was not searched on says, in one sentence."""
        was, now = self.before["test"], self.after["test"]
        misses = f"misses the {self.wanted:.2%} that the policy wants on the held-out part"
        if self.unchanged:
            tried = f"nothing that was tried was better, so the policy is as it was ({self.found.tried} tried)"
            return tried if self.keeps(now) else f"{tried}; it {misses}"
        if not self.keeps(now):
            instead = "use the policy as it was, or" if self.keeps(was) else "before you use it,"
            return f"the tuned policy {misses}: {instead} search on more traffic"
        if self.keeps(was) and was.hours <= now.hours:
            if self.keeps(self.before["train"]):
                return "the policy as it was keeps the promise on both parts, held out for no more hours: keep it"
            return (
                "the parts disagree: the policy as it was misses the promise on the part searched on, and keeps it on"
                " the held-out part for no more hours: search on more traffic"
            )
        return "the tuned policy keeps the promise on the held-out part"


def table(outcome: Outcome, *, interrupted: bool) -> Table:
    """Return what was found beside what was, on both parts."""
    title = f"{counted(outcome.found.tried, 'setting')} tried{', then interrupted' if interrupted else ''}"
    made = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for heading in ("", "searched on: in time", "hours", "held out: in time", "hours"):
        made.add_column(heading, justify="right" if heading else "left")
    for name, figures in (("as it was", outcome.before), ("tuned", outcome.after)):
        cells = [text for one in figures.values() for text in (f"{one.attainment:.2%}", f"{one.hours:.2f}")]
        made.add_row(name, *cells)
    return made


def head(outcome: Outcome, evidence_name: str) -> str:
    """Return the comment at the head of the tuned policy."""
    was, now = outcome.before["test"], outcome.after["test"]
    return (
        f"# Tuned on the first {TRAIN_SHARE:.0%} of {outcome.case.trace.name}. On the rest, held out:\n"
        f"# {now.attainment:.3%} in time at {now.hours:.2f} accelerator-hours;\n"
        f"# before {was.attainment:.3%} at {was.hours:.2f}. The evidence is in {evidence_name} beside it.\n"
        f"# In short: {outcome.held_out()}.\n"
    )


def evidence(outcome: Outcome, task: dict[str, Any], parts: tuple[Case, Case]) -> dict[str, Any]:
    """Return what the finding follows from and what it came to: the ``after`` of training is the best of many."""
    case, found = outcome.case, outcome.found
    own = own_settings(case.policy.spec)
    return {
        "task": task,
        "parts": {name: _part(part) for name, part in zip(("train", "test"), parts, strict=True)},
        "wanted": outcome.wanted,
        "searched": ranges(case.policy.spec, case.coldstart_s),
        "tried": found.tried,
        "won": {"number": found.number, "policy_as_it_was": outcome.unchanged},
        "reached_in_training": found.reached,
        "reached_on_the_rest": outcome.keeps(outcome.after["test"]),
        "in_short": outcome.held_out(),
        "read": "after.train is the best of all that was tried on that part, so it flatters; after.test does not",
        "before": _told(own, outcome.before),
        "after": _told(own if found.best.settings is None else found.best.settings.as_json(), outcome.after),
    }


def _told(settings: dict[str, Any], figures: dict[str, Figures]) -> dict[str, Any]:
    return {"settings": settings, **{part: one.as_json() for part, one in figures.items()}}


def _part(part: Case) -> dict[str, float]:
    span_s = part.trace.span_s
    return {"span_s": span_s, "opening_not_scored_s": opening_of([span_s])}
