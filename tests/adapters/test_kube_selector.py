"""Label selectors as /scale prints them."""

import pytest

from autoscaler.adapters.kube_selector import SelectorError, parse


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        pytest.param("app=chat", {"app": "chat", "x": "y"}, True, id="equal"),
        pytest.param("app==chat", {"app": "chat"}, True, id="equal-twice"),
        pytest.param("app=chat,tier=gpu", {"app": "chat"}, False, id="all-must-hold"),
        pytest.param("app!=chat", {}, True, id="unequal-holds-without-the-label"),
        pytest.param("app!=chat", {"app": "chat"}, False, id="unequal"),
        pytest.param("tier in (a, b),app=chat", {"tier": "b", "app": "chat"}, True, id="in"),
        pytest.param("tier in (a,b)", {}, False, id="in-without-the-label"),
        pytest.param("tier notin (a,b)", {}, True, id="notin-without-the-label"),
        pytest.param("tier notin (a,b)", {"tier": "a"}, False, id="notin"),
        pytest.param("app", {"app": ""}, True, id="exists"),
        pytest.param("!app", {"app": ""}, False, id="does-not-exist"),
        pytest.param("app=", {"app": ""}, True, id="empty-value"),
        pytest.param("", {"app": "chat"}, False, id="no-requirement-selects-nothing"),
    ],
)
def test_matches_as_kubernetes_does(text: str, labels: dict[str, str], matches: bool) -> None:
    """Every form of a requirement means what it means in Kubernetes."""
    assert parse(text).matches(labels) is matches


def test_an_exact_pair_is_found_to_look_up_by() -> None:
    """A requirement for one value can be looked up; a set or a negation cannot."""
    assert parse("tier in (a,b),x!=y,app=chat").exact == ("app", "chat")
    assert parse("tier in (a,b),x!=y").exact is None


@pytest.mark.parametrize(
    "text", ["app is chat", "app in (chat", '{"matchLabels":{"app":"chat"}}', "map[app:chat]", "!", "=chat"]
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    """Nonsense is an error with the words that were not understood: a custom resource may print anything there."""
    with pytest.raises(SelectorError, match="is no label selector requirement"):
        parse(text)


def test_a_key_may_have_a_prefix() -> None:
    """As in Kubernetes' own labels."""
    assert parse("leaderworkerset.sigs.k8s.io/name=chat").exact == ("leaderworkerset.sigs.k8s.io/name", "chat")
