"""The stacks, synthesized once for each test process."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

Json = dict[str, Any]

# What the CDK's command line would bring to the app.
CONTEXT: Json = json.loads((ROOT / "cdk.json").read_text())["context"]

# Without an address for the alarms the app warns that nobody is told.
ALARM_EMAIL = "owner@example.org"


@dataclass(frozen=True)
class Synthesized:
    """A cloud assembly's folder and its templates by stack name."""

    directory: Path
    templates: dict[str, Json]

    def resources(self, type_: str = "") -> dict[str, Json]:
        """The resources of one type, or of all, of all stacks, by logical id."""
        return {
            id_: resource
            for template in self.templates.values()
            for id_, resource in template["Resources"].items()
            if resource["Type"] == type_ or not type_
        }


@pytest.fixture(scope="session")
def cdk_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The CDK runs the `node` that PATH names first, which may be too old, or absent; and it keeps caches at home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("JSII_RUNTIME_PACKAGE_CACHE_ROOT", str(ROOT / ".cache" / "jsii"))
        yield


def synthesize(**settings: object) -> Synthesized:
    """Make the app with these settings and read what it says.

    Only after `cdk_environment`: loading the CDK starts node.
    """
    from infra.app import make_app

    assembly = make_app({**CONTEXT, **settings}).synth()
    directory = Path(assembly.directory)
    names = [stack.stack_name for stack in assembly.stacks]
    return Synthesized(directory, {n: json.loads((directory / f"{n}.template.json").read_text()) for n in names})


@pytest.fixture(scope="session")
def stacks(cdk_environment: None) -> Synthesized:
    """The stacks as they are deployed to AWS."""
    return synthesize(alarm_email=ALARM_EMAIL)


@pytest.fixture(scope="session")
def local_stacks(cdk_environment: None) -> Synthesized:
    """The stacks as the demo deploys them to its emulator."""
    return synthesize(alarm_email=ALARM_EMAIL, local="true")
