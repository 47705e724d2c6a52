"""Cluster files: nodes and starts as data. What is wrong is told with its place; what is right changes the run."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from simulator.cli import main
from simulator.engine.profiles import load_profile
from simulator.inputfile import InputFileError
from simulator.nodes import clusterfile
from simulator.nodes.clusterfile import parse
from simulator.nodes.modelled_cluster import ModelledCluster, ModelledClusterError
from simulator.nodes.node import Content, Sleep, Tier
from simulator.startup.distributions import NOTHING, Empirical, Fixed, LogNormal
from tests.simulator.small_demo import bursty_trace, write_csv
from tests.simulator.test_cli import demo_policy

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "simulator" / "data" / "cluster-example.yaml"
NODES = """\
nodeGroups:
  - name: gpus
    accelerator: A100-80GB
    acceleratorsPerNode: 4
    minNodes: 1
    maxNodes: 3
    usdPerHour: 8
    provisioningSeconds: 90
"""
STARTS = """\
replica:
  image: {name: vllm, gigabytes: 10}
  weights: {name: llama, gigabytes: 16, from: networkFilesystem}
startup:
  scheduleSeconds: 1
  warmupSeconds: {median: 20, sigma: 0.2}
"""


def of(text: str, folder: Path = Path()) -> ModelledCluster:
    """The cluster of a text."""
    return parse(text, "c.yaml", folder)


def told(text: str, folder: Path = Path()) -> list[str]:
    """What is said of a text that cannot be used, line by line, without the file's name."""
    with pytest.raises(InputFileError) as error:
        of(text, folder)
    return [line.removeprefix("c.yaml") for line in str(error.value).splitlines()]


def test_the_example_is_what_its_comments_say() -> None:
    """It belongs to a shipped policy's accelerator, and a start takes what the policy's own prior says, nearly."""
    cluster = clusterfile.read(EXAMPLE)
    profile = load_profile("a100-80gb/llama-3.1-8b")
    assert [group.name for group in cluster.groups] == ["on-demand", "spot"]
    assert [group.spot for group in cluster.groups] == [False, True]
    assert cluster.weights_from is Tier.OBJECT_STORE
    usual_s = cluster.usual_start_s(profile)
    assert usual_s == pytest.approx(1 + 2 + 23.1 + 10 / 0.25 + 16.1 / 1.8)


def test_a_small_file_is_whole() -> None:
    """Everything but the groups has a default: without a start-up, starts are those that a scenario draws anyway."""
    cluster = of(NODES)
    (group,) = cluster.groups
    assert (group.min_nodes, group.max_nodes, group.usd_per_hour) == (1, 3, 8.0)
    assert group.provisioning == Fixed(seconds=90)
    assert (cluster.startup, cluster.usual_start_s(load_profile("a100-80gb/llama-3.1-8b"))) == (None, None)


def test_durations_are_fixed_log_normal_or_recorded(tmp_path: Path) -> None:
    """Five ways to write seconds; a recording's column is the phase's, and paths are relative to the file."""
    (tmp_path / "starts.csv").write_text("pull_s,load_s\n3,40\n5,60\n")
    startup = of(
        NODES + "startup: {scheduleSeconds: {samples: [1, 2]}, pullSeconds: {csv: starts.csv},"
        " loadSeconds: {csv: starts.csv}, warmupSeconds: {median: 20}}\n",
        tmp_path,
    ).startup
    assert startup is not None
    assert startup.schedule == Empirical(samples_s=(1.0, 2.0))
    assert startup.pull == Empirical(samples_s=(3.0, 5.0))
    assert startup.load == Empirical(samples_s=(40.0, 60.0))
    assert startup.warmup == LogNormal(median_s=20.0, sigma=0.0)
    assert of(NODES + STARTS).startup.pull == NOTHING  # type: ignore[union-attr]
    assert of(NODES + STARTS).image == Content(name="vllm", gigabytes=10.0)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", [": nothing in this file; give one cluster, which begins with nodeGroups:"]),
        (NODES + "---\n" + NODES, [": 2 documents in this file; give one cluster, which begins with nodeGroups:"]),
        ("nodeGroups: []\n", [":1:1: nodeGroups: it has 0 items; give at least 1"]),
        (
            NODES + "scheduler: best\n",
            [':9:1: scheduler: "best" is not known here; it must be one of firstFit, mostAllocated'],
        ),
        (
            NODES.replace("maxNodes: 3", "maxNodes: 0").replace("usdPerHour: 8", "usdPerHours: 8"),
            [
                ":6:5: nodeGroups[0].maxNodes: 0 is too small; it must be at least 1",
                ":7:5: nodeGroups[0].usdPerHours: there is no field 'usdPerHours' here; did you mean 'usdPerHour'?",
            ],
        ),
        (
            NODES.replace("minNodes: 1", "minNodes: 5"),
            [":2:5: nodeGroups[0]: minNodes 5 is above maxNodes 3; swap them"],
        ),
        (
            NODES.replace("Seconds: 90", "Seconds: {median: 9, samples: [1]}"),
            [":8:5: nodeGroups[0].provisioningSeconds: give one of: seconds as a number, median (with sigma), samples"],
        ),
        (
            NODES.replace("Seconds: 90", "Seconds: {samples: [4, -1]}"),
            [":8:5: nodeGroups[0].provisioningSeconds: a sample is negative; give seconds, 0 or more"],
        ),
        (
            NODES.replace("Seconds: 90", "Seconds: {csv: none.csv}"),
            [":8:5: nodeGroups[0].provisioningSeconds: cannot read none.csv: No such file or directory; give a CSV"],
        ),
        (
            NODES + "replica: {image: {name: vllm, gigabytes: 10}}\n",
            [":1:1: with replica.image or replica.weights, startup is required: what a start takes beyond them"],
        ),
    ],
)
def test_all_that_is_wrong_is_told_with_line_path_and_remedy(text: str, sentences: list[str]) -> None:
    """As in a policy: every mistake at once, each at its place."""
    found = told(text)
    assert len(found) == len(sentences), found
    for sentence, expected in zip(found, sentences, strict=True):
        assert sentence.startswith(expected)


def test_replicas_may_sleep_where_a_group_has_memory_for_it() -> None:
    """Level 1 by default; without memory it would be a wish that nobody fulfils."""
    text = NODES.replace("usdPerHour: 8", "sleepGigabytes: 100") + STARTS
    sleep = "  sleep: {level: 2, gigabytes: 4, wakeSeconds: {median: 3, sigma: 0.3}}\n"
    cluster = of(text.replace("startup:", sleep + "startup:"))
    assert cluster.sleep == Sleep(gigabytes=4.0, wake=LogNormal(median_s=3.0, sigma=0.3), keeps_weights=False)
    assert cluster.groups[0].sleep_gigabytes == 100.0
    (sentence,) = told(NODES + STARTS.replace("startup:", sleep + "startup:"))
    assert sentence == ":1:1: replica.sleep, and no group has memory for it; give a group sleepGigabytes"


def test_a_recording_without_the_phase_is_told_at_its_place(tmp_path: Path) -> None:
    """A journal knows no node's provisioning; a CSV lacks a column."""
    (tmp_path / "starts.csv").write_text("pull_s\n3\n")
    (sentence,) = told(NODES.replace("Seconds: 90", "Seconds: {csv: starts.csv}"), tmp_path)
    assert sentence.endswith("no column provisioning_s; there are: pull_s")
    (sentence,) = told(NODES.replace("Seconds: 90", "Seconds: {journal: nowhere.gz}"), tmp_path)
    assert "give the journal.jsonl.gz of a run" in sentence


def test_a_cluster_that_cannot_hold_the_replica_says_what_it_has() -> None:
    """Four A100 of a node do not hold a replica of an H100, nor one of eight A100."""
    with pytest.raises(ModelledClusterError, match=r"it needs 1 × H100 on one node, .* gpus \(4 × A100-80GB\)"):
        of(NODES).needs(load_profile("h100/llama-3.1-8b"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trace, a policy, and nodes of the policy's accelerator."""
    folder = tmp_path_factory.mktemp("clusters")
    write_csv(folder / "mine.csv", bursty_trace())
    (folder / "mine.yaml").write_text(demo_policy(), encoding="utf-8")
    accelerator = json.loads(json.dumps(demo_policy())).split("class: ")[1].split()[0].rstrip(",}")
    (folder / "nodes.yaml").write_text(NODES.replace("A100-80GB", accelerator), encoding="utf-8")
    (folder / "starts.yaml").write_text(NODES.replace("A100-80GB", accelerator) + STARTS, encoding="utf-8")
    return folder


def call(inputs: Path, command: str, *arguments: str) -> Result:
    """A command on the folder's policy and trace."""
    trace = [str(inputs / "mine.csv")] if command == "run" else ["--trace", str(inputs / "mine.csv")]
    return CliRunner().invoke(main, [command, str(inputs / "mine.yaml"), *trace, *arguments])


def test_a_run_on_nodes_keeps_the_file_and_says_what_nodes_cost(inputs: Path) -> None:
    """Nodes are paid for as wholes, so they cost at least what the replicas on them held."""
    done = call(inputs, "run", "--cluster", str(inputs / "starts.yaml"), "--out", str(inputs / "one"))
    assert done.exit_code == 0, done.output
    assert "accelerator-hours of the nodes" in done.output
    facts = json.loads((inputs / "one" / "run.json").read_text())
    assert facts["cluster"]["groups"] == ["gpus"]
    assert facts["result"]["paid"]["accelerator_hours"] >= facts["result"]["accelerator_hours"]
    assert (inputs / "one" / "cluster.yaml").read_bytes() == (inputs / "starts.yaml").read_bytes()
    again = call(inputs, "run", "--cluster", str(inputs / "starts.yaml"), "--out", str(inputs / "two"))
    assert again.exit_code == 0
    assert (inputs / "one" / "run.json").read_bytes() == (inputs / "two" / "run.json").read_bytes()


def test_nodes_that_are_too_few_hold_replicas_back(inputs: Path) -> None:
    """One node of one accelerator never runs a second replica, whatever is asked for."""
    few = (inputs / "nodes.yaml").read_text().replace("maxNodes: 3", "maxNodes: 1").replace("Node: 4", "Node: 1")
    (inputs / "few.yaml").write_text(few)
    for name, nodes in (("held", ["--cluster", str(inputs / "few.yaml")]), ("free", [])):
        assert call(inputs, "run", *nodes, "--copies", "6", "--out", str(inputs / name)).exit_code == 0
    held, free = (json.loads((inputs / name / "run.json").read_text())["result"] for name in ("held", "free"))
    assert held["outcomes"]["in_time"] < free["outcomes"]["in_time"]
    assert held["accelerator_hours"] < free["accelerator_hours"]


def test_compare_and_tune_take_the_same_file(inputs: Path) -> None:
    """All contenders meet the same nodes, and the evidence names them."""
    nodes = ["--cluster", str(inputs / "nodes.yaml"), "--seeds", "1", "--jobs", "1"]
    done = call(inputs, "compare", *nodes, "--with", "static", "--out", str(inputs / "compared"))
    assert done.exit_code == 0, done.output
    assert json.loads((inputs / "compared" / "comparison.json").read_text())["cluster"]["groups"] == ["gpus"]
    done = call(inputs, "tune", *nodes, "--trials", "1", "--out", str(inputs / "tuned"))
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--cluster", "nowhere.yaml"], "cannot read the cluster nowhere.yaml: No such file or directory"),
        (["--cluster", "{folder}/starts.yaml", "--cold-start", "60"], "leave --cold-start out"),
        (["--cluster", "{folder}/mine.yaml"], "nodeGroups: required, and missing"),
        (["--cluster", "{folder}/other.yaml"], "no node of the cluster holds a replica"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(arguments: list[str], sentence: str, inputs: Path) -> None:
    """One sentence, exit 1, and no folder."""
    (inputs / "other.yaml").write_text(NODES.replace("A100-80GB", "L4"))
    given = [one.format(folder=inputs) for one in arguments]
    done = call(inputs, "run", *given, "--out", str(inputs / "never"))
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert not (inputs / "never").exists()
