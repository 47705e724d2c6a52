"""The DCGM exporter's metrics as data: which PromQL tells what of every accelerator, and whose a row is.

Memory (``FB_*``, in MiB) is footprint only: engines allocate their KV cache once, so memory in use says nothing of
load. ``GPU_UTIL`` is left out, since decoding pegs it near 100 %. SM activity is the better measure of work but is
commented out in the exporter's default counters, where graphics-engine activity is on; both run from 0 to 1.

The identity stands in labels whose spelling depends on honorLabels and on the exporter's age, so every spelling is
asked for and ``device_key`` picks. Source: etc/default-counters.csv of the DCGM exporter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class DeviceSignal(StrEnum):
    """What the DCGM exporter tells of an accelerator."""

    MEMORY_USED_MIB = "memory-used-mib"
    MEMORY_FREE_MIB = "memory-free-mib"
    MEMORY_RESERVED_MIB = "memory-reserved-mib"
    BUSY_RATIO = "busy-ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKey:
    """Which accelerator, on which node, held by which pod (None: by none, or the exporter does not say)."""

    uuid: str
    node: str | None = None
    namespace: str | None = None
    pod: str | None = None
    accelerator_class: str | None = None


_DEVICE_BY = (
    "UUID, Hostname, hostname, node, modelName, namespace, pod, exported_namespace, exported_pod, "
    "pod_namespace, pod_name"
)
DCGM_QUERIES: Mapping[DeviceSignal, str] = {
    DeviceSignal.MEMORY_USED_MIB: f"max by ({_DEVICE_BY}) (DCGM_FI_DEV_FB_USED)",
    DeviceSignal.MEMORY_FREE_MIB: f"max by ({_DEVICE_BY}) (DCGM_FI_DEV_FB_FREE)",
    DeviceSignal.MEMORY_RESERVED_MIB: f"max by ({_DEVICE_BY}) (DCGM_FI_DEV_FB_RESERVED)",
    DeviceSignal.BUSY_RATIO: (
        f"max by ({_DEVICE_BY}) (DCGM_FI_PROF_SM_ACTIVE) or max by ({_DEVICE_BY}) (DCGM_FI_PROF_GR_ENGINE_ACTIVE)"
    ),
}


def device_key(labels: Mapping[str, str]) -> DeviceKey | None:
    """Return whose series a DCGM row is, whichever way its labels are spelled; None without a UUID.

    Without honorLabels ``pod`` is the exporter itself and the workload stands in ``exported_pod``, so the prefixed
    spelling goes first; the oldest exporters say ``pod_name``.
    """

    def first(*names: str) -> str | None:
        return next((labels[name] for name in names if labels.get(name)), None)

    uuid = first("UUID")
    if uuid is None:
        return None
    return DeviceKey(
        uuid=uuid,
        node=first("Hostname", "hostname", "node"),
        namespace=first("exported_namespace", "pod_namespace", "namespace"),
        pod=first("exported_pod", "pod_name", "pod"),
        accelerator_class=first("modelName"),
    )
