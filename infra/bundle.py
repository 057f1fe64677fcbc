"""Lambda bundles: the capability's own folder and the contract, copied; pure Python, no Docker.

boto3 comes with AWS's Python runtime, so nothing is installed into a bundle.
"""

import shutil
import tempfile
from pathlib import Path

from aws_cdk import aws_lambda as lambda_

_ROOT = Path(__file__).resolve().parent.parent

# The CDK copies a bundle when the function is made; these folders last as long as the process.
_staging = tempfile.TemporaryDirectory(prefix="solarshed-bundles-")


def lambda_code(capability: str) -> lambda_.Code:
    """The code of the Lambda in `cloud/<capability>`: that folder, and `contract`."""
    bundle = Path(_staging.name) / capability
    if not bundle.exists():
        for package in ("contract", f"cloud/{capability}"):
            shutil.copytree(_ROOT / package, bundle / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(_ROOT / "cloud/__init__.py", bundle / "cloud")
    return lambda_.Code.from_asset(str(bundle))
