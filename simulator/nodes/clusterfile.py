"""Cluster files: YAML to a ``ModelledCluster``; every mistake at once, each with its line and what to do about it.

Durations are seconds, written as a number (always the same), ``{median: 60, sigma: 0.3}`` (log-normal),
``{samples: [41, 55, 72]}``, ``{csv: starts.csv}`` (the column is the phase's: schedule_s, pull_s, load_s, warmup_s,
provisioning_s) or ``{journal: journal.db, policy: prod/chat}`` (a controller's store, or the journal file of a run).
Paths are relative to the cluster file.
"""

from math import inf
from pathlib import Path

from autoscaler import yamltext
from simulator.inputfile import InputFile, InputFileError, read_text
from simulator.nodes.clusterparts import ClusterFile, Duration, GroupPart, SleepPart, StartupPart
from simulator.nodes.modelled_cluster import ModelledCluster
from simulator.nodes.node import NodeGroup, Sleep, Tier
from simulator.nodes.scaling import NodeScaling
from simulator.startup.distributions import NOTHING, Distribution
from simulator.startup.phases import PhasedStartup
from simulator.startup.recordings import RecordingError


def read(path: Path) -> ModelledCluster:
    """Return the cluster of a file.

    Raises:
        InputFileError: the file or a recording that it names cannot be read, or all that is wrong in it.
    """
    return parse(read_text(path, "the cluster"), str(path), path.parent)


def parse(text: str, source: str, folder: Path) -> ModelledCluster:
    """Return the cluster of a text; recordings lie in ``folder``, and messages call the text ``source``.

    Raises:
        InputFileError: as ``read``.
    """
    file = InputFile(text, source, remedy="give one cluster, which begins with nodeGroups:")
    return _Reading(file, folder).cluster(file.part(ClusterFile, file.data))


class _Reading:
    """From the file's parts to values, with the recordings that they name."""

    def __init__(self, file: InputFile, folder: Path) -> None:
        self._file = file
        self._folder = folder

    def cluster(self, file: ClusterFile) -> ModelledCluster:
        scaling, replica = file.autoscaler, file.replica
        return ModelledCluster(
            groups=tuple(self._group(index, group) for index, group in enumerate(file.node_groups)),
            packing=file.scheduler,
            scaling=NodeScaling(
                scan_s=scaling.scan_seconds, empty_s=scaling.empty_seconds, backoff_s=scaling.backoff_seconds
            ),
            startup=None if file.startup is None else self._startup(file.startup),
            image=replica.image.content() if replica.image else None,
            weights=replica.weights.content() if replica.weights else None,
            weights_from=replica.weights.from_ if replica.weights else Tier.OBJECT_STORE,
            sleep=None if replica.sleep is None else self._sleep(replica.sleep),
            neighbors=tuple(neighbor.neighbor() for neighbor in file.neighbors),
        )

    def _group(self, index: int, group: GroupPart) -> NodeGroup:
        return NodeGroup(
            name=group.name,
            accelerator=group.accelerator,
            accelerators_per_node=group.accelerators_per_node,
            min_nodes=group.min_nodes,
            max_nodes=group.max_nodes,
            spot=group.spot,
            usd_per_hour=group.usd_per_hour,
            provisioning=self._duration(
                group.provisioning_seconds, "provisioning_s", ("nodeGroups", index, "provisioningSeconds")
            ),
            gigabytes_per_s=group.gigabytes_per_second.by_tier(),
            disk_gigabytes=group.disk_gigabytes,
            memory_gigabytes=group.memory_gigabytes,
            sleep_gigabytes=group.sleep_gigabytes,
            preloaded=tuple(image.content() for image in group.preloaded_images),
        )

    def _sleep(self, sleep: SleepPart) -> Sleep:
        wake = self._duration(sleep.wake_seconds, "wake_s", ("replica", "sleep", "wakeSeconds"))
        return Sleep(
            gigabytes=sleep.gigabytes,
            wake=wake,
            keeps_weights=sleep.level == 1,
            keeps_accelerators=sleep.keeps_accelerators,
            most_s=inf if sleep.most_seconds is None else sleep.most_seconds,
        )

    def _startup(self, startup: StartupPart) -> PhasedStartup:
        def phase(name: str, duration: Duration | None) -> Distribution:
            return self._duration(duration, f"{name}_s", ("startup", f"{name}Seconds"))

        return PhasedStartup(
            schedule=phase("schedule", startup.schedule_seconds),
            pull=phase("pull", startup.pull_seconds),
            load=phase("load", startup.load_seconds),
            warmup=phase("warmup", startup.warmup_seconds),
        )

    def _duration(self, duration: Duration | None, column: str, path: yamltext.Path) -> Distribution:
        if duration is None:
            return NOTHING
        try:
            return duration.distribution(column, self._folder)
        except RecordingError as error:
            raise InputFileError(self._file.told(path, str(error))) from error
