"""Policy files: every error at once, at its place, with its remedy; and no text can harm the reader."""

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.policyfile import PolicyDocument, parse
from autoscaler.yamltext import ALIAS_LIMIT, DEPTH_LIMIT, SIZE_LIMIT_BYTES, Mark, read

ROOT = Path(__file__).resolve().parent.parent
GOOD = """\
apiVersion: inference-autoscaler.dev/v1alpha1
kind: ScalingPolicy
metadata:
  name: chat
spec:
  targetRef: {name: chat}
  model: {name: m}
  accelerator: {class: H100-80GB}
  replicas:
    min: 1
    max: 4
"""


def problems(text: str) -> list[str]:
    """All problems of a text as they are printed, without the file's name."""
    return [str(one).removeprefix("f:") for document in parse(text, "f") for one in document.problems]


def with_spec(lines: str) -> str:
    """The good policy with more lines in its spec; they begin in line 12."""
    return GOOD + "".join(f"  {line}\n" for line in lines.splitlines())


def test_a_good_file_gives_its_policy() -> None:
    """The policy, its first line, no problems."""
    (document,) = parse(GOOD, "f")
    assert document.policy is not None
    assert document.policy.key == "default/chat"
    assert (document.line, document.problems) == (1, ())


@pytest.mark.parametrize("name", ["Chat", "my chat", "../../etc", "-a", "a-", "a..b", "chat/x", "ä", "[red]x", "a\\n"])
@pytest.mark.parametrize("field", ["name", "namespace"])
def test_a_name_that_no_object_can_have_is_refused_at_its_place(field: str, name: str) -> None:
    """The API server would refuse it, and a name becomes a part of paths: told with file, line and path."""
    text = GOOD.replace("  name: chat\n", f'  name: chat\n  namespace: "{name}"\n', 1)
    if field == "name":
        text = GOOD.replace("  name: chat\n", f'  name: "{name}"\n', 1)
    (problem,) = problems(text)
    assert problem.startswith(f"{4 if field == 'name' else 5}:")
    assert f"metadata.{field}" in problem


def test_names_with_dots_are_good_and_namespaces_with_dots_are_not() -> None:
    """A name is a DNS subdomain, a namespace is one label of at most 63 characters."""
    assert problems(GOOD.replace("name: chat", "name: llama-3.1.chat", 1)) == []
    assert len(problems(GOOD.replace("  name: chat\n", "  name: chat\n  namespace: a.b\n", 1))) == 1
    assert len(problems(GOOD.replace("  name: chat\n", f"  name: chat\n  namespace: {'a' * 64}\n", 1))) == 1


@pytest.mark.parametrize("file", sorted((ROOT / "policies").rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_policy_is_good(file: Path) -> None:
    """What we ship has no problem."""
    assert [str(p) for document in parse(file.read_text(), str(file)) for p in document.problems] == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("modee: Observe", "12:3: spec.modee: there is no field 'modee' here; did you mean 'mode'?"),
        (
            "engine: {max_sequences: 4}",
            "12:12: spec.engine.max_sequences: there is no field 'max_sequences' here; did you mean 'maxSequences'?",
        ),
        (
            "ttftSeconds: 1",
            "12:3: spec.ttftSeconds: there is no field 'ttftSeconds' here; it belongs at spec.objectives.ttftSeconds",
        ),
        (
            "minReplicas: 1",
            "12:3: spec.minReplicas: there is no field 'minReplicas' here; it is called spec.replicas.min",
        ),
        (
            "budget: {xyzzy: 1}",
            "12:12: spec.budget.xyzzy: there is no field 'xyzzy' here; the fields are acceleratorHoursPerDay",
        ),
        (
            "mode: enforce",
            (
                '12:3: spec.mode: "enforce" is not known here; it must be one of Observe, Recommend, Enforce; '
                "did you mean Enforce?"
            ),
        ),
        (
            "paused: yes",
            "12:11: spec.paused: yes is text to some and yes or no to others; write true, false or quotes",
        ),
        ("paused: 'yes'", '12:3: spec.paused: "yes" is not a yes or no; write true or false'),
        (
            "priority: 010",
            (
                "12:13: spec.priority: '010' is read as different numbers by different tools; write plain digits, "
                "at most 18, e.g. 10"
            ),
        ),
        (
            "priority: 0x" + "f" * 5000,
            (
                f"12:13: spec.priority: '0x{'f' * 34}... is read as different numbers by different tools; write plain "
                "digits, at most 18, e.g. 10"
            ),
        ),
        (
            "prometheus: Default_1",
            (
                '12:3: spec.prometheus: "Default_1" is not the name of an endpoint; write lower-case letters, digits '
                "and '-', e.g. default"
            ),
        ),
        (
            "coldStart: {priorSeconds: 1.0e-9}",
            "12:15: spec.coldStart.priorSeconds: 1e-09 is too small; it must be at least 0.1",
        ),
        (
            'prometheus: "\\ud800"',
            "12:15: spec.prometheus: '\\ud800' holds half a character (a surrogate); write the character itself",
        ),
        (
            "prewarm: !many {min: 1}",
            "12:12: spec.prewarm: the tag '!many' means nothing here; write plain YAML without tags",
        ),
        (
            "schedules: [{cron: '0 25 * * *', durationSeconds: 60}]",
            "12:16: spec.schedules[0].cron: '0 25 * * *' is no cron expression (bad hour); write e.g. 0 8 * * mon-fri",
        ),
        (
            "schedules: [{cron: '0 8 * * *', durationSeconds: 60, timeZone: Europe/Berln}]",
            "12:56: spec.schedules[0].timeZone: 'Europe/Berln' is not a time zone; did you mean Europe/Berlin?",
        ),
        (
            "schedules: [{cron: '0 8 * * *', durationSeconds: 60, replicasMin: 9}]",
            "12:56: spec.schedules[0].replicasMin: 9 is more than replicas.max, which is 4; lower it or raise max",
        ),
        ("priority: 1.5", "12:3: spec.priority: 1.5 is not a whole number; write digits without quotes, e.g. 4"),
        ("priority: 5000", "12:3: spec.priority: 5000 is too large; it must be at most 1000"),
        ("engine: {version: 0.3}", "12:12: spec.engine.version: 0.3 is not text; put it in quotes"),
        ("prewarm: 3", "12:3: spec.prewarm: 3 is not a block of fields; indent its fields below it"),
        ("schedules: {}", "12:3: spec.schedules: {} is not a list; begin each item with '- '"),
        (
            "failSafe: {replicas: 9}",
            "12:14: spec.failSafe.replicas: failSafe.replicas must not exceed replicas.max: 9 > 4",
        ),
        (
            "pin: {replicas: 1, until: 2026-12-01T08:00:00}",
            (
                "12:22: spec.pin.until: '2026-12-01T08:00:00' is not a time with a zone; write RFC 3339, e.g. "
                "2026-12-01T08:00:00Z"
            ),
        ),
        (
            "pin: {replicas: 1, until: soon}",
            "12:22: spec.pin.until: 'soon' is not a time with a zone; write RFC 3339, e.g. 2026-12-01T08:00:00Z",
        ),
        ("objectives: {itlSeconds: .nan}", "12:16: spec.objectives.itlSeconds: NaN is not a finite number; write one"),
        (
            "metrics:\n  queries:\n  - {signal: wating, promql: x}",
            (
                '14:8: spec.metrics.queries[0].signal: "wating" is not known here; it must be one of waiting, running, '
                "heldRequests; did you mean waiting?"
            ),
        ),
        (
            "metrics:\n  queries:\n  - {signal: waiting, promql: 'sum(queue'}",
            (
                "14:25: spec.metrics.queries[0].promql: no PromQL: unclosed left parenthesis; correct it, and try it "
                "in Prometheus' own expression browser"
            ),
        ),
        ("paused: true\npaused: false", "13:3: spec.paused: 'paused' is given twice; keep one"),
        (
            "engine: &e {preset: tgi}\nprewarm: {<<: *e}",
            "13:13: spec.prewarm: a key must be plain text; write the fields out instead of merging with <<",
        ),
        (
            "engine: {version: !python/name 1}",
            "12:21: spec.engine.version: cannot read '1' as !python/name; write plain YAML without tags",
        ),
    ],
)
def test_an_error_has_its_place_and_its_remedy(lines: str, expected: str) -> None:
    """Line, column, path and what to write instead."""
    assert problems(with_spec(lines)) == [expected]


def test_what_the_server_drops_is_dropped() -> None:
    """Null is as if it were not there, 5.0 is a whole number, and a status is nothing that a file may say."""
    text = with_spec("mode: null\npriority: 5.0") + "status: 5\n"
    (document,) = parse(text, "f")
    assert document.policy is not None
    assert (document.policy.spec.mode.value, document.policy.spec.priority) == ("Recommend", 5)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ("{name: Chat_8b}", "spec.targetRef.name"),
        ("{name: a/../b}", "spec.targetRef.name"),
        ("{name: chat, kind: deploy/x}", "spec.targetRef.kind"),
        ("{name: chat, apiVersion: apps/one}", "spec.targetRef.apiVersion"),
    ],
)
def test_a_target_is_what_a_cluster_can_have(wrong: str, path: str) -> None:
    """Names, kinds and versions as Kubernetes has them, and in words what they look like."""
    (problem,) = problems(GOOD.replace("targetRef: {name: chat}", f"targetRef: {wrong}"))
    assert path in problem
    assert "e.g." in problem


def test_a_field_that_metadata_does_not_have_is_a_typing_error() -> None:
    """The server refuses it too."""
    (problem,) = problems(GOOD.replace("  name: chat\n", "  name: chat\n  lables: {a: b}\n", 1))
    assert problem == "5:3: metadata.lables: there is no field 'lables' in metadata; did you mean 'labels'?"


def test_rules_across_fields_are_all_told_beside_other_errors() -> None:
    """A misspelt field hides none of them, and each points at the field that it is about."""
    text = with_spec(
        "modee: x\nprewarm: {min: 5, max: 2}\nfailSafe: {replicas: 9}\n"
        "coldStart: {priorSeconds: 60, weightsGib: 16}\npin: {replicas: 1, until: soon}"
    )
    paths = [problem.split(": ")[1] for problem in problems(text)]
    assert paths == [
        "spec.modee",
        "spec.prewarm.min",
        "spec.failSafe.replicas",
        "spec.coldStart.priorSeconds",
        "spec.coldStart.weightsGib",
        "spec.pin.until",
    ]


def test_a_rule_across_fields_does_not_hide_a_number_that_is_wrong_by_itself() -> None:
    """Both are told, at the same place."""
    told = problems(with_spec("coldStart: {priorSeconds: -1, weightsGib: 5, loadGibPerSecond: 1}"))
    assert [one.split(": ")[1] for one in told] == ["spec.coldStart.priorSeconds"] * 2
    assert any("-1 is too small" in one for one in told)
    assert any("not both" in one for one in told)


def test_labels_and_annotations_are_texts() -> None:
    """The server refuses a number there, and a list."""
    text = GOOD.replace("  name: chat\n", "  name: chat\n  labels: {x: 5, y: a}\n  annotations: [1]\n", 1)
    assert problems(text) == [
        "5:12: metadata.labels.x: 5 is not text; put it in quotes",
        "6:3: metadata.annotations: annotations are names with texts; write e.g. annotations: {team: search}",
    ]


def test_an_empty_item_is_no_valid_policy() -> None:
    """A list with nothing in an item is a mistake of whoever made it, not a good file."""
    (problem,) = problems("apiVersion: v1\nkind: List\nitems:\n- \n")
    assert problem.endswith("nothing stands here; write a policy, or remove it")


def test_a_missing_field_is_told_with_its_meaning() -> None:
    """Whoever does not know the field learns what it is."""
    text = GOOD.replace("model: {name: m}", "model: {}")
    assert problems(text) == [
        (
            "7:3: spec.model.name: required, and missing: The served model name: the value of the engine's "
            "model_name label."
        )
    ]


def test_all_errors_come_at_once_in_the_order_of_the_lines() -> None:
    """One run tells everything, so that nobody mends a file five times."""
    text = GOOD.replace("max: 4", "max: 0").replace("kind: ScalingPolicy", "kind: ScalingPolcy") + "  modee: x\n"
    assert [line.split(":")[0] for line in problems(text)] == ["2", "11", "12"]


def test_documents_are_judged_one_by_one() -> None:
    """A bad document does not take the good ones with it, nor does a fault of syntax in the last."""
    documents = parse(GOOD + "---\n" + GOOD.replace("max: 4", "max: x") + "---\n# nothing\n---\na: [1\n", "f")
    assert [document.policy is not None for document in documents] == [True, False, False]
    assert [document.problems[0].line for document in documents[1:]] == [23, 28]


def test_other_kinds_are_passed_over() -> None:
    """A Deployment beside its policy is none of our business."""
    beside = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\n"
    (document,) = parse(beside + GOOD, "f")
    assert (document.line, document.problems) == (5, ())


def test_a_list_is_read_item_by_item() -> None:
    """What kubectl get -o yaml prints can be checked; places point into the list."""
    indented = "".join(f"  {line}\n" for line in GOOD.replace("max: 4", "max: x").splitlines())
    text = "apiVersion: v1\nkind: List\nitems:\n- " + indented[2:]
    assert problems(text) == ['14:7: spec.replicas.max: "x" is not a whole number; write digits without quotes, e.g. 4']


@pytest.mark.parametrize("text", ["", "# nothing\n", "kind: Deployment\napiVersion: apps/v1\n"])
def test_a_file_without_a_policy_says_how_to_get_one(text: str) -> None:
    """An empty answer would look like success."""
    assert problems(text) == ["1:1: no ScalingPolicy in this file; start one with `autoscaler policy init deploy/NAME`"]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("spec: [1\n", "2:1", "not valid YAML"),
        ("spec:\n\tmode: x\n", "2:1", "indent with spaces, not tabs"),
        ("spec: 'x\n", "2:1", "not valid YAML"),
        ("kind: Scaling\x00Policy", "1:14", "special characters"),
        ("a: *unknown\n", "1:4", "undefined alias"),
        ("a: b: c\n", "1:5", "quote a text that holds a colon"),
        ("{", "1:2", "close the bracket or brace that is still open"),
        ("a: 'x", "1:6", "close the quote that is still open"),
        ("a: [1, 2\nb: 3", "2:2", "put a comma between, or close the bracket or brace before"),
        ("a: *unknown\n", "1:4", "quote a text that begins with *"),
        ("a: @b\n", "1:4", "quote a text that begins with it"),
        ("a: %b\n", "1:4", "quote a text that begins with it"),
        ("a: 1\n b: 2\n", "2:3", "not valid YAML"),
        ("- a\nb: 1\n", "2:1", "; mend it there or in the line above"),
    ],
)
def test_text_that_is_not_yaml_is_one_sentence(text: str, place: str, words: str) -> None:
    """The place of the fault, and never a traceback."""
    (found,) = problems(text)
    assert found.startswith(f"{place}: ")
    assert words in found
    assert "\n" not in found


def _bomb() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    names = "abcdefghi"
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise(names)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_bomb(), "values once its aliases are followed"),
        ("a: &a [*a]\n", "contains it"),
        ("a: " + "[" * 5000 + "]" * 5000, f"deeper than {DEPTH_LIMIT}"),
        ("a: " + "{b: " * 5000, f"deeper than {DEPTH_LIMIT}"),
        ("a: &a 1\nb: [" + "*a, " * (ALIAS_LIMIT + 1) + "1]\n", f"more than {ALIAS_LIMIT} aliases"),
        ("# " + "x" * SIZE_LIMIT_BYTES, "256 KiB"),
    ],
    ids=["billion laughs", "self", "deep lists", "deep maps", "aliases", "size"],
)
def test_a_small_text_cannot_grow_large(text: str, words: str) -> None:
    """Bombs are refused in a moment, by name."""
    began = time.monotonic()
    found = problems(text)
    assert any(words in one for one in found), found
    assert time.monotonic() - began < 5


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet=":-{}[]&*!|>'\"#%@`,? \n\tab0", max_size=80))
def test_no_text_raises(text: str) -> None:
    """Whatever is read, there is an answer: a policy, or problems that stand inside the text."""
    documents = parse(text, "f")
    assert documents != ()
    for document in documents:
        assert (document.policy is None) == bool(document.problems)
        for problem in document.problems:
            assert problem.line >= 1
            assert problem.column >= 1


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.text(alphabet="x:-[]{}&*'\" \n", max_size=3))
def test_a_damaged_policy_never_raises(place: int, damage: str) -> None:
    """A typing error anywhere is a problem or still a policy, never a traceback."""
    for document in parse(GOOD[:place] + damage + GOOD[place + 1 :], "f"):
        assert (document.policy is None) == bool(document.problems)


def test_a_path_finds_its_place() -> None:
    """Warnings point at the key, or at the nearest block where the key is not written."""
    (document,) = parse(GOOD, "f")
    assert isinstance(document, PolicyDocument)
    places = {
        path: (document.problem_at(path, "m").line, document.problem_at(path, "m").column)
        for path in ("spec.replicas.max", "spec.accelerator.price.reference", "spec.engine.stepTime", "spec")
    }
    assert places == {
        "spec.replicas.max": (11, 5),
        "spec.accelerator.price.reference": (8, 3),
        "spec.engine.stepTime": (5, 1),
        "spec": (5, 1),
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3", -3),
        ("5.0", 5),
        ("1.5e-5", 1.5e-5),
        ("~", None),
        ("true", True),
        ('"yes"', "yes"),
        ("2026-12-01T08:00:00Z", "2026-12-01T08:00:00Z"),
        ('"5"', "5"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_scalars_are_read_as_kubectl_reads_them(text: str, value: object) -> None:
    """Numbers, null and truth as written; times stay text as they do on their way through kubectl."""
    (document,) = read(f"v: {text}\n")
    assert document.data == {"v": value}
    assert document.mark_of(("v",)) == Mark(line=1, column=1)
