"""Several pools in one run: a model in two roles, and models beside one another on the same nodes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autoscaler.journal import Entry
from simulator import journalfile
from simulator.cli import main
from tests.simulator.small_demo import bursty_trace, write_csv
from tests.simulator.test_cli import demo_policy
from tests.simulator.test_clusterfile import NODES


def call(*arguments: str | Path) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(main, [*map(str, arguments)])


def named(name: str, text: str | None = None) -> str:
    """The demo's policy under another name."""
    lines = (text or demo_policy()).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  name: "))
    return "\n".join([*lines[:at], f"  name: {name}", *lines[at + 1 :]]) + "\n"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a trace, policies, nodes, and a run of each kind."""
    folder = tmp_path_factory.mktemp("several")
    write_csv(folder / "mine.csv", bursty_trace())
    prompts = "\n".join(line for line in demo_policy().splitlines() if "itlSeconds" not in line)
    (folder / "prefill.yaml").write_text(named("prompts", prompts), encoding="utf-8")
    (folder / "decode.yaml").write_text(named("answers"), encoding="utf-8")
    accelerator = next(line.split(":")[1].strip() for line in demo_policy().splitlines() if "  class:" in line)
    (folder / "nodes.yaml").write_text(NODES.replace("accelerator: A100-80GB", f"accelerator: {accelerator}"))
    return folder


def roles(inputs: Path, out: str, *more: str) -> Path:
    """Run the model in two roles."""
    done = call(
        "run", inputs / "prefill.yaml", inputs / "mine.csv", "--decode", inputs / "decode.yaml", "--out", inputs / out,
        *more,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return inputs / out


def beside(inputs: Path, out: str) -> Path:
    """Run two models on the same nodes."""
    done = call(
        "run", inputs / "prefill.yaml", inputs / "mine.csv", "--beside", inputs / "decode.yaml", inputs / "mine.csv",
        "--cluster", inputs / "nodes.yaml", "--out", inputs / out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return inputs / out


def facts(folder: Path) -> dict[str, Any]:
    """What a run says of itself."""
    told: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return told


def journal(folder: Path) -> list[Entry]:
    """What was seen and decided."""
    return list(journalfile.read(folder / "journal.jsonl.gz"))


def test_roles_are_scaled_apart_and_serve_the_same_requests(inputs: Path) -> None:
    """Each has a journal with its own metrics; the outcomes are those of the requests, told the same in both."""
    folder = roles(inputs, "roles")
    prefill, decode = facts(folder), facts(folder / "answers")
    assert (prefill["role"], decode["role"]) == ("prefill", "decode")
    assert prefill["result"]["outcomes"] == decode["result"]["outcomes"]
    assert prefill["result"]["outcomes"]["unfinished"] + prefill["result"]["outcomes"]["in_time"] > 0
    last = {name: journal(place)[-1].signals.samples for name, place in (("p", folder), ("d", folder / "answers"))}
    prompts, answers = (
        {name: sum(getattr(s, field) or 0 for s in samples) for name, samples in last.items()}
        for field in ("prompt_tokens", "generation_tokens")
    )
    assert prompts["p"] > 10 * prompts["d"] > 0, "prompts are computed in one"
    assert answers["d"] > 10 * answers["p"] > 0, "and tokens yielded in the other"
    for place, role, other in ((folder, "prefill", "answers"), (folder / "answers", "decode", "prompts")):
        assert call("report", place).exit_code == 0
        page = (place / "report.html").read_text()
        assert f"ours 0.9, {role}: ready" in page, "its tracks say which role they are"
        assert f"The {role} pool of a model in two roles; the other is {other}." in page


def test_a_slower_link_makes_first_tokens_later_by_what_the_bytes_take(inputs: Path) -> None:
    """At a hundredth of the bandwidth, a prompt of a thousand tokens takes half a second more."""
    quick, slow = (facts(roles(inputs, f"link-{rate}", "--kv-gigabytes-per-second", rate)) for rate in ("25", "0.25"))
    p50_s = [told["result"]["outcomes"]["ttft_p50_s"] for told in (quick, slow)]
    assert p50_s[1] - p50_s[0] > 0.1


def test_models_beside_one_another_have_the_nodes_and_nothing_else_in_common(inputs: Path) -> None:
    """Each has its own results; both pay for the same nodes; no accelerator is held twice."""
    folder = beside(inputs, "beside")
    one, two = facts(folder), facts(folder / "answers")
    assert (one["beside"], two["beside"]) == (["answers"], ["prompts"])
    paid = [told["result"]["paid"]["accelerator_hours"] for told in (one, two)]
    held = [told["result"]["accelerator_hours"] for told in (one, two)]
    assert paid[0] == pytest.approx(paid[1])
    assert sum(held) <= paid[0] + 1e-9
    assert call("report", folder / "answers").exit_code == 0


def test_several_pools_give_the_same_bytes_again(inputs: Path) -> None:
    """For the same seed, in every file."""
    for run in (roles, beside):
        first, again = (run(inputs, f"{run.__name__}-{n}") for n in (1, 2))
        files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
        assert len(files) >= 6
        for file in files:
            assert (first / file).read_bytes() == (again / file).read_bytes(), file


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--beside", "decode.yaml", "mine.csv"), "--beside needs nodes that the models share; give them by --cluster"),
        (("--decode", "prefill.yaml"), "two policies are called prompts; give each its own metadata.name"),
        (("--decode", "none.yaml"), "none.yaml"),
        (("--kv-gigabytes-per-second=5",), "is the link to a decode pool; give --decode, or leave it out"),
        (("--joint",), "the policy has none; add spec.objectives.itlSeconds, or leave --joint out"),
        (
            ("--decode", "decode.yaml", "--beside", "decode.yaml", "mine.csv"),
            "--decode and --beside do not go together; leave one of them out",
        ),
    ],
)
def test_pools_that_cannot_be_are_told(inputs: Path, options: tuple[str, ...], sentence: str) -> None:
    """In one sentence, before anything runs or is written."""
    given = [option if option.startswith("--") else inputs / option for option in options]
    done = call("run", inputs / "prefill.yaml", inputs / "mine.csv", *given, "--out", inputs / "refused")
    assert done.exit_code == 1
    assert sentence in done.output
    assert not (inputs / "refused").exists()


def test_run_reads_a_trace_as_strictly_as_it_is_told(inputs: Path) -> None:
    """A broken line is left out and counted, or refused."""
    text = (inputs / "mine.csv").read_text()
    (inputs / "broken.csv").write_text(text + "not a line\n")
    given = ("run", inputs / "prefill.yaml", inputs / "broken.csv", "--out", inputs / "strict")
    refused = call(*given, "--strict")
    assert refused.exit_code == 1
    assert "broken.csv" in refused.output
    assert call(*given).exit_code == 0
