"""Lambda bundles: the capability's own folder, the contract, and the packages it imports, copied; no Docker.

The packages are copied from where they are installed, which is in the versions that `locks/` names: their Python only,
so that a bundle runs on any processor. boto3 comes with AWS's Python runtime.
"""

import shutil
import tempfile
from importlib.metadata import distribution
from pathlib import Path, PurePath

from aws_cdk import aws_lambda as lambda_

_ROOT = Path(__file__).resolve().parent.parent

_POWERTOOLS = ("aws-lambda-powertools", "jmespath", "typing-extensions")
_PAGERDUTY = ("pdpyras", "requests", "urllib3", "idna", "certifi", "charset-normalizer")

# By capability, the distributions that it imports and what those import in turn.
PACKAGES: dict[str, tuple[str, ...]] = {
    "telemetry": (),
    "timestream": (),
    "heartbeat": _POWERTOOLS,
    "alerts": _POWERTOOLS + _PAGERDUTY,
}

# certifi's authorities are a .pem. Compiled parts are left out: charset-normalizer runs without them.
_SUFFIXES = {".py", ".pem"}
# A third of Powertools, for HTTP APIs, which we have none of.
_UNUSED = PurePath("aws_lambda_powertools/event_handler")

# The CDK copies a bundle when the function is made; these folders last as long as the process.
_staging = tempfile.TemporaryDirectory(prefix="solarshed-bundles-")


def lambda_code(capability: str) -> lambda_.Code:
    """The code of the Lambda in `cloud/<capability>`: that folder, `contract`, and its packages."""
    bundle = Path(_staging.name) / capability
    if not bundle.exists():
        for package in ("contract", f"cloud/{capability}"):
            shutil.copytree(_ROOT / package, bundle / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(_ROOT / "cloud/__init__.py", bundle / "cloud")
        for name in PACKAGES[capability]:
            _copy_package(name, bundle)
    return lambda_.Code.from_asset(str(bundle))


def _copy_package(name: str, bundle: Path) -> None:
    files = distribution(name).files
    if not files:
        raise FileNotFoundError(f"the list of files of {name} is missing: install it again with `make setup`")
    for file in files:
        if _is_needed(file):
            target = bundle / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target)


def _is_needed(file: PurePath) -> bool:
    return (
        file.suffix in _SUFFIXES
        # Scripts lie outside, in `../../../bin`.
        and not {"..", "tests"} & set(file.parts)
        and not file.is_relative_to(_UNUSED)
    )
