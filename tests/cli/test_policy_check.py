"""``autoscaler policy check``: what a person at the terminal sees, and what a script gets."""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autoscaler.cli import main

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "policies").rglob("*.yaml"))
GOOD = """\
apiVersion: inference-autoscaler.dev/v1alpha1
kind: ScalingPolicy
metadata: {name: chat, namespace: prod}
spec:
  targetRef: {name: chat}
  model: {name: m}
  engine:
    maxSequences: 256
    stepTime:
      {fixedSeconds: 0.01, prefillTokenSeconds: 2e-5, sequenceSeconds: 1e-5, kvTokenSeconds: 4e-8, source: measured}
  accelerator: {class: H100-80GB, price: {reference: aws/h100}}
  replicas: {min: 2, max: 4}
"""


def check(*arguments: str, stdin: str | None = None) -> Result:
    """Run the command as a user would."""
    return CliRunner().invoke(main, ["policy", "check", *arguments], input=stdin)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A policy without errors and without warnings."""
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    return file


def changed(good: Path, old: str, new: str) -> str:
    """Write the good policy with one change beside it, and return the new file's name."""
    assert old in GOOD
    file = good.with_name("changed.yaml")
    file.write_text(GOOD.replace(old, new))
    return str(file)


def test_a_good_file_ends_with_0(good: Path) -> None:
    """One line that counts; nothing else is worth saying."""
    done = check(str(good))
    assert (done.exit_code, done.stdout) == (0, "1 valid policy in 1 file: 0 errors, 0 warnings\n")


@pytest.mark.parametrize("wrong", [False, True], ids=["explained", "refused"])
def test_no_name_breaks_out_of_its_line(good: Path, wrong: bool) -> None:
    """A model's name may hold what it likes: it stays in its sentence, and no terminal obeys it, also a real one."""
    named = r'"m\nAll checks passed.\e[31m\a\u202E"'
    text = GOOD.replace("{name: m}", f"{{name: {named}}}")
    text = text.replace("min: 2", "min: 9") if wrong else text
    file = good.with_name("named\x1b[2J.yaml")
    file.write_text(text)
    done = CliRunner().invoke(main, ["policy", "check", "--explain", str(file)], color=True)
    said = re.sub(r"\x1b\[(0|1|31|33)m", "", done.stdout) if wrong else done.stdout
    assert "named�[2J.yaml" in said
    assert wrong or "serves m�All checks passed.�[31m�� with vllm." in " ".join(said.split())
    assert not re.search(r"\x1b\[2J|[\a\u202e]|\x1b\[31mAll", said)
    assert "\nAll checks" not in said


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_policies_have_no_errors_and_only_the_flagged_one_warns(file: Path) -> None:
    """Measured pairs are clean even when warnings are errors; the pair without measurements says so."""
    done = check("--strict", str(file))
    if "mistral-small" in file.name:
        assert done.exit_code == 1
        assert "physics prior" in done.stdout
    else:
        assert (done.exit_code, "0 errors" in done.stdout) == (0, True)


def test_enough_pairs_are_shipped_and_each_number_has_a_source() -> None:
    """At least five pairs; each says where its step time comes from, and each number a comment beside or above."""
    assert len(SHIPPED) >= 5
    for file in SHIPPED:
        text = file.read_text()
        assert "AISimulate" in text or "physics prior" in text, file
        lines = text.splitlines()
        numbers = [i for i, line in enumerate(lines) if re.match(r"\s+\w+: [\d.][\d.e+-]*(\s|$)", line)]
        assert len(numbers) > 8
        bare = [lines[i] for i in numbers if "#" not in lines[i] and not lines[i - 1].lstrip().startswith("#")]
        assert bare == [], file


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "replicas: {min",
            "objectives: {ttftSeconds: 2}\n  replicas: {min",
            "spec.objectives.ttftSeconds: 2 s is not a",
        ),
        ("replicas: {min", "objectives: {ttftSeconds: 2}\n  replicas: {min", "write 1 or 2.5"),
        ("replicas: {min", "objectives: {itlSeconds: 0.06}\n  replicas: {min", "write 0.05 or 0.075"),
        ("replicas: {min", "objectives: {itlSeconds: 0.01}\n  replicas: {min", "one step alone takes 0.01 s"),
        (", price: {reference: aws/h100}", "", "costs are reported as unknown"),
        ("aws/h100", "aws/h10", "did you mean aws/h100?"),
        ("class: H100-80GB", "class: L40S", "aws/h100 is the price of H100-80GB, and the class is L40S"),
        ("    maxSequences: 256\n", "", "spec.engine.maxSequences: engines do not export max_num_seqs"),
        (
            "replicas: {min",
            "metrics: {queries: [{signal: waiting, promql: sum by (model) (my_queue)}]}\n  replicas: {min",
            "spec.metrics.queries[0].promql: tells its samples apart by model, so none of several names its pod",
        ),
        (
            "replicas: {min",
            "metrics: {podLabel: p, queries: [{signal: running, promql: sum by (pod) (busy)}]}\n  replicas: {min",
            "apart by pod, so none of several names its pod and none is read; write sum by (namespace, p) (...)",
        ),
        (
            "replicas: {min",
            "metrics: {queries: [{signal: heldRequests, promql: sum(envoy_held)}]}\n  replicas: {min",
            "adds up every series of that name in this Prometheus",
        ),
        ("replicas: {min", "priority: 3\n  replicas: {min", "spec.priority: accepted, but not acted on"),
        ("replicas: {min", "budget: {acceleratorHoursPerDay: 9}\n  replicas: {min", "spec.budget: accepted, but not"),
        (
            "replicas: {min",
            "schedules: [{cron: 0 8 * * *, durationSeconds: 60}]\n  replicas: {min",
            "spec.schedules: accepted, but not acted on",
        ),
        ("replicas: {min", "objectives: {ttftSeconds: 0.01}\n  replicas: {min", "one step alone takes 0.01 s"),
        ("replicas: {min", "scaleDown: {stabilizationSeconds: 0}\n  replicas: {min", "is shorter than a cold start"),
        ("replicas: {min", "timing: {tickSeconds: 900}\n  replicas: {min", "sees a burst when it is over"),
        (
            "replicas: {min",
            "pin: {replicas: 3, until: 2020-01-01T00:00:00Z}\n  replicas: {min",
            "spec.pin.until: this time has passed",
        ),
        (
            "replicas: {min",
            "pin: {replicas: 9, until: 2999-01-01T00:00:00Z}\n  replicas: {min",
            "spec.pin.replicas: the bounds hold over a pin: 9 lies outside 2 to 4",
        ),
    ],
)
def test_what_is_valid_and_not_as_meant_is_warned_of(good: Path, old: str, new: str, words: str) -> None:
    """A warning names place and remedy and ends with 0; with --strict it is an error and ends with 1."""
    file = changed(good, old, new)
    mild, strict = check(file), check("--strict", file)
    assert mild.exit_code == 0
    assert "warning: " in mild.stdout
    assert words in mild.stdout
    assert strict.exit_code == 1
    assert "error: " in strict.stdout


def test_two_policies_on_one_target_or_of_one_name_are_warned_of_across_files(good: Path) -> None:
    """Enforce would refuse both, and of one name the later replaces the earlier: the second place names the first."""
    other = changed(good, "metadata: {name: chat,", "metadata: {name: chat-2,")
    twice = good.with_name("twice.yaml")
    twice.write_text(GOOD.replace("max: 4", "max: 5"))
    assert f"spec.targetRef: the policy at {good}:1 has the same target" in check(str(good), other).stdout
    assert f"prod/chat stands at {good}:1 already" in check(str(good), str(twice)).stdout
    apart = changed(good, "metadata: {name: chat, namespace: prod}", "metadata: {name: chat, namespace: test}")
    assert "0 warnings" in check(str(good), apart).stdout


def test_a_pair_without_measurements_is_flagged(good: Path) -> None:
    """No step time: the physics prior is named, and what it lacks."""
    step = GOOD[GOOD.index("    stepTime") : GOOD.index("  accelerator")]
    done = check(changed(good, step, ""))
    assert "no measured step time, so a physics prior" in done.stdout
    assert "spec.model.parametersBillion: the physics prior needs it" in done.stdout


def test_an_engine_without_tokens_needs_its_concurrency(good: Path) -> None:
    """TGI is scaled by requests in flight; where none are stated, what is assumed is said."""
    done = check(changed(good, "    maxSequences: 256\n", "    preset: tgi\n"))
    assert "8 per replica is assumed" in done.stdout
    assert "attainment is unknown" in done.stdout


def test_explain_says_what_the_policy_does_with_its_numbers(good: Path) -> None:
    """Bounds, costs, horizon, hold, blindness and the promises, from the functions that decide."""
    done = check("--explain", changed(good, "replicas: {min", "coldStart: {priorSeconds: 100}\n  replicas: {min"))
    text = " ".join(done.stdout.split())
    for sentence in (
        "Deployment chat in namespace prod, which serves m with vllm.",
        "nothing is written to the target",
        "Never fewer than 2 replicas and never more than 4",
        "the fleet costs between $13.76 and $27.52 an hour",
        "99 % of requests are to get their first token within 2.5 s",
        "a cold start is believed to take 100 s",
        "with probability 0.9",
        "A surplus is held for two median cold starts, 200 s by what is believed now",
        "When the newest sample is older than 90 s it holds the count",
        "It never scales down on missing, stale or contradictory metrics.",
        "It never goes to zero.",
    ):
        assert sentence in text, sentence


def test_explain_follows_the_policy(good: Path) -> None:
    """What the user set is what is said: mode, window, floor, pool, pin."""
    more = (
        "mode: Enforce\n  scaleDown: {stabilizationSeconds: 42}\n  failSafe: {replicas: 3, afterSeconds: 77}\n"
        "  prewarm: {min: 1, max: 2, quantile: 0.95}\n  pin: {replicas: 3, until: 2030-01-01T00:00:00Z}\n"
        "  replicas: {min"
    )
    text = " ".join(check("--explain", changed(good, "replicas: {min", more)).stdout.split())
    for sentence in (
        "Mode Enforce: it writes the count to the target's /scale.",
        "held for 42 s, as the policy says",
        "Blind for 77 s, it rises to 3 replicas",
        "the pre-warm pool: at least 1, at most 2.",
        "with probability 0.95",
        "Until 2030-01-01T00:00:00+00:00 it holds 3 replicas, whatever metrics say.",
    ):
        assert sentence in text, sentence


def test_json_is_for_scripts(good: Path) -> None:
    """One object for each policy, problems with line and column, the same exit codes."""
    bad = changed(good, "max: 4", "max: 1")
    done = check("-o", "json", "--explain", str(good), bad)
    assert done.exit_code == 1
    first, second = json.loads(done.stdout)
    assert (first["policy"], first["valid"], first["errors"]) == ("prod/chat", True, [])
    assert "What it never does" in first["explanation"]
    assert (second["policy"], second["valid"]) == (None, False)
    assert second["errors"][0]["path"] == "spec.replicas.min"
    assert second["errors"][0]["line"] == 12


def test_standard_input_is_read() -> None:
    """A dash is standard input, so that what a cluster holds can be checked."""
    assert check("-", stdin=GOOD).exit_code == 0
    done = check("-", stdin=GOOD.replace("max: 4", "max: x"))
    assert done.stdout.startswith("<stdin>:12:")


def test_a_price_list_of_ones_own(good: Path, tmp_path: Path) -> None:
    """It takes the place of the shipped one; one that is broken or absent is one sentence."""
    own = tmp_path / "prices.yaml"
    row = "{reference: aws/h100, class: H100-80GB, usd_per_hour: 2, as_of: '2026-11-01', source: our contract}"
    own.write_text(f"rows: [{row}]")
    done = check("--explain", "--prices", str(own), str(good))
    assert "between $4.00 and $8.00 an hour" in " ".join(done.stdout.split())
    own.write_text("rows: 3")
    for broken in (str(own), str(tmp_path / "absent.yaml")):
        refused = check("--prices", broken, str(good))
        assert refused.exit_code == 1
        assert refused.stderr.startswith(f"Error: --prices {broken}")
        assert len(refused.stderr.splitlines()) == 1


def test_files_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    """A folder, a binary: no traceback, and what to do."""
    binary = tmp_path / "model.bin"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    latin, wide = tmp_path / "latin.yaml", tmp_path / "wide.yaml"
    latin.write_bytes(GOOD.replace("prod", "caf\xe9").encode("latin-1"))
    wide.write_bytes(GOOD.encode("utf-16"))
    for path, words in (
        (tmp_path, "is a directory"),
        (binary, "is not UTF-8 text"),
        (latin, "is not UTF-8 text (byte 104 is 0xe9); save it as UTF-8"),
        (wide, "is not UTF-8 text (it looks like UTF-16); save it as UTF-8"),
    ):
        done = check(str(path))
        assert done.exit_code == 1
        assert words in done.stdout


def test_no_file_is_a_usage_error() -> None:
    """Checking nothing must not look like success."""
    assert check().exit_code == 2


def test_long_explanations_fit_the_terminal(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is longer than the terminal is wide."""
    monkeypatch.setenv("COLUMNS", "70")
    assert shutil.get_terminal_size().columns == 70
    lines = [line for line in check("--explain", str(good)).stdout.splitlines() if line.startswith("    ")]
    assert lines != []
    assert max(map(len, lines)) <= 70


@pytest.mark.parametrize("command", ["check", "init"])
def test_help_shows_its_examples_line_by_line(command: str) -> None:
    """An example can be copied as it stands; no mark of the formatter is left in it."""
    lines = CliRunner().invoke(main, ["policy", command, "--help"]).stdout.splitlines()
    assert [line for line in lines if line.strip().startswith("autoscaler policy ")] != []
    assert "\\b" not in "".join(lines)
