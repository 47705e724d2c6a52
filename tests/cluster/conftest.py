"""One real control plane for all tests of this folder; each test has a namespace of its own."""

import uuid
from collections.abc import Iterator

import pytest

from deploy.localcluster import LocalCluster, service_account

# A service account that no manifest names, so that a test may give it rights of its own.
NEWCOMER = service_account("tests", "newcomer")


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """A control plane with 4 nodes of 8 H100, 2 of 8 A100 and 4 of one L4; the HPA controller looks every 2 s."""
    with LocalCluster(hpa_sync_period="2s", users=(NEWCOMER,)) as running:
        yield running


@pytest.fixture
def namespace(cluster: LocalCluster) -> Iterator[str]:
    """A fresh namespace, deleted (without waiting) afterwards so that its pods give their GPUs back."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "pods", "--all", "-n", name, "--grace-period=0", "--force", "--wait=false")
    cluster.kubectl("delete", "namespace", name, "--wait=false")
