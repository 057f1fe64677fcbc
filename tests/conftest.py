"""For all tests."""

import os
from collections.abc import Generator

import pytest

# The fixtures, for every folder.
from tests.cdk_fixture import cdk_environment as cdk_environment
from tests.cdk_fixture import local_stacks as local_stacks
from tests.cdk_fixture import stacks as stacks
from tests.cloud_fixture import cloud as cloud
from tests.month_fixture import month_of_minutes as month_of_minutes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a check that could not run is a failure, not a skip."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
