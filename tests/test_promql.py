"""Custom queries are judged before Prometheus is asked: is it PromQL, and can what it gives be read?"""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.promql import LONGEST, doubts_of, fault_of


def doubts(text: str, *, by_pod: bool = True) -> list[str]:
    """Return what is said of a query of a policy in the namespace prod."""
    assert fault_of(text) is None
    return list(doubts_of(text, pod_label="pod", namespace_label="namespace", namespace="prod", by_pod=by_pod))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sum(foo", "unclosed left parenthesis; correct it, and try it in Prometheus' own expression browser"),
        ("nosuch(foo)", "unknown function with name 'nosuch'"),
        ("rate(foo)", "expected type matrix in call to function 'rate', got vector"),
        ("foo[5m]", "gives a range vector, where one value is needed of each series"),
        ("(foo[5m:1m])", "gives a range vector"),
        ('"foo"', "gives a text, where numbers are needed"),
        ("   ", "no expression found"),
        ('foo{a="b" or a="c"}', 'one selector cannot choose with or; write two of them, x{a="b"} or x{a="c"}'),
        ('sum by (pod) (rate(foo{a="b" or a="c"}[5m])) > 0', "one selector cannot choose with or"),
        ("start()", "start() is no function; write time() for the instant that is asked for"),
        ("foo + vector(end())", "end() is no function"),
    ],
)
def test_what_prometheus_would_refuse_is_refused_here(text: str, words: str) -> None:
    """In the parser's words, with what to do."""
    fault = fault_of(text)
    assert fault is not None
    assert words in fault


@pytest.mark.parametrize(
    "text",
    [
        'my_queue{namespace="prod"}',
        "my_queue",
        'my_queue{namespace="prod"} @ start()',
        'sum(my_queue{namespace="prod", model="m"})',
        "sum by (namespace, pod) (my_queue)",
        'sum by (pod) (my_queue{namespace="prod"})',
        'sum by (pod) (my_queue{namespace=~"prod|stage"})',
        'sum without (engine) (my_queue{namespace="prod"})',
        'topk(3, my_queue{namespace="prod"})',
        'sum by (pod) (max_over_time(my_queue{namespace="prod"}[1m])) or vector(0)',
        'label_replace(sum by (instance) (my_queue{namespace="prod"}), "pod", "$1", "instance", "(.*)")',
        'my_a{namespace="prod"} * on (pod) group_left () my_b{namespace="prod"}',
        'my_a{namespace="prod"} + on (namespace, pod) my_b{namespace="prod"}',
        '2 * sum by (pod) (my_queue{namespace="prod"})',
    ],
)
def test_a_query_whose_samples_can_be_read_is_not_doubted(text: str) -> None:
    """One number, or samples that name their pod, of the policy's own namespace: nothing to say."""
    assert doubts(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('sum by (model) (my_queue{namespace="prod"})', "apart by model, so none of several names its pod"),
        ('sum without (pod) (my_queue{namespace="prod"})', "apart without pod, so none of several names its pod"),
        ('count_values("v", my_queue{namespace="prod"})', "apart by v, so none"),
        ('my_a{namespace="prod"} + on (instance) my_b{namespace="prod"}', "apart by instance, so none"),
        ('my_a{namespace="prod"} + ignoring (pod) my_b{namespace="prod"}', "apart without pod, so none"),
        ("sum(my_queue)", 'counts the pods in every namespace of this Prometheus; select {namespace="prod"}'),
        ("sum by (pod) (my_queue)", "counts pods of the same name in every namespace"),
        ('sum(my_queue{namespace="stage"})', "selects the namespace stage, and the pods are in prod"),
        ('my_queue{namespace="stage"}', "selects the namespace stage"),
        ("vector(1)", "reads no series, so it is the same at all times"),
        ("3", "reads no series"),
    ],
)
def test_a_query_that_may_be_read_otherwise_than_meant_is_doubted(text: str, words: str) -> None:
    """What would be dropped without a word at night is told by day, once and with the remedy."""
    (said,) = doubts(text)
    assert words in said


def test_requests_held_are_added_up_wherever_they_wait() -> None:
    """A gateway has a namespace of its own and no pods of ours; only a selection of everything is doubted."""
    assert doubts('sum(envoy_held{namespace="gateway", model="m"})', by_pod=False) == []
    assert doubts('envoy_held{model="m"}', by_pod=False) == []
    (said,) = doubts("sum(envoy_held)", by_pod=False)
    assert "adds up every series of that name in this Prometheus" in said


def test_a_text_longer_than_a_policy_may_hold_is_not_parsed() -> None:
    """Its length is told by the field's own rule; a parser is no place for a megabyte of parentheses."""
    assert fault_of("(" * (LONGEST + 1)) is None


@pytest.mark.parametrize(
    "text", ["+".join(["a"] * 400), "a" + " or a" * 370, "a+" * 999 + "a"], ids=["+", "or", "deep"]
)
def test_hundreds_of_operators_are_judged_in_a_moment(text: str) -> None:
    """The parser copies a part whenever it is looked at: looked at once each, no query holds up the check."""
    began = time.process_time()
    if fault_of(text) is None:
        assert doubts(text) == []
    assert time.process_time() - began < 1.5


PIECES = [
    "sum",
    "by",
    "(",
    ")",
    "{",
    "}",
    "[5m]",
    "foo",
    'a="b"',
    ",",
    "+",
    "or",
    "on",
    "group_left",
    "1",
    '"x"',
    " ",
    "-",
]


@pytest.mark.timeout(300)
@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.text(max_size=60)))
@example("(" * 900 + "a" + ")" * 900)
@example("-" * 1900 + "a")
@example("a+" * 990 + "a")
def test_no_text_raises(text: str) -> None:
    """Whatever is written there, the answer is a sentence."""
    if fault_of(text) is None:
        for by_pod in (False, True):
            assert all(doubts(text, by_pod=by_pod))
