"""The rules of the house: who may import whom, and what the control process must not drag in."""

import ast
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

ROOT = Path(__file__).parent.parent
HOUSE = {"device", "contract", "cloud", "infra", "owner", "page", "dashboard", "proxy", "demo", "tests", "solarshed"}
MAY_IMPORT = {
    "contract": {"contract"},
    "device": {"device", "contract"},
    "cloud": {"cloud", "contract"},
    "infra": {"infra", "contract"},
    # It counts what the device and the Lambdas do, by having them do it.
    "infra/costs": {"infra", "device", "cloud", "contract"},
    # Of infra the stack's name, of device how a key is made; see below.
    "owner": {"owner", "infra", "device", "contract"},
    "dashboard": {"dashboard", "contract"},
    # On the Pi it reads the outbox, and makes of it what the telemetry Lambda stores.
    "page": {"page", "dashboard", "owner", "device", "cloud", "contract"},
    "proxy": {"proxy", "contract"},
    # Of cloud how the columns of a table are declared.
    "demo": {"demo", "page", "dashboard", "owner", "infra", "device", "cloud", "contract"},
}


def imports_of(path: Path) -> Iterator[str]:
    """The top-level name of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_part_imports_only_the_parts_below_it(folder: str) -> None:
    with_rules_of_their_own = [ROOT / other for other in MAY_IMPORT if other.startswith(f"{folder}/")]
    modules = [
        module
        for module in (ROOT / folder).rglob("*.py")
        if not any(module.is_relative_to(other) for other in with_rules_of_their_own)
    ]

    for module in modules:
        house = set(imports_of(module)) & HOUSE
        assert house <= MAY_IMPORT[folder], f"{module.relative_to(ROOT)} imports {house - MAY_IMPORT[folder]}"
    assert modules


def test_the_contract_and_the_decision_need_nothing_but_the_standard_library() -> None:
    for module in [*(ROOT / "contract").rglob("*.py"), ROOT / "device/decide.py", ROOT / "device/mate.py"]:
        outside = set(imports_of(module)) - HOUSE - set(sys.stdlib_module_names)
        assert not outside, f"{module.relative_to(ROOT)} imports {outside}"


@pytest.mark.parametrize("module", ["decide", "observe", "limits", "override", "readings", "wishes"])
def test_deciding_does_no_io_and_looks_at_no_clock(module: str) -> None:
    allowed = {"collections", "dataclasses", "enum", "math", "typing", "contract", "device"}

    assert set(imports_of(ROOT / f"device/{module}.py")) <= allowed


def test_the_control_process_loads_no_cloud_library() -> None:
    heavy = {"awscrt", "awsiot", "boto3", "botocore", "aws_cdk", "cryptography", "requests", "duckdb"}

    loaded = subprocess.run(
        [sys.executable, "-c", "import device.control, sys; print(*{name.partition('.')[0] for name in sys.modules})"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split()

    assert "serial" in loaded
    assert heavy.isdisjoint(loaded)


def test_the_owners_commands_load_neither_the_cdk_nor_what_runs_on_a_pi() -> None:
    program = "import owner.provision, owner.override, owner.status, owner.cloud_check, sys; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()

    assert "boto3" in loaded
    assert {"aws_cdk", "awsiot", "gpiozero", "serial"}.isdisjoint(loaded)
    assert {name for name in loaded if name.startswith("infra")} == {"infra"}
    assert {"device.control", "device.uplink", "device.relays", "demo"}.isdisjoint(loaded)


@pytest.mark.filterwarnings("ignore:A test tried to use")
def test_tests_reach_no_further_than_this_machine() -> None:
    with socket.socket() as somewhere, pytest.raises(SocketConnectBlockedError):
        somewhere.connect(("192.0.2.1", 80))  # TEST-NET-1: nobody is there
