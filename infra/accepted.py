"""Findings of cdk-nag and of the CDK's template check that are accepted, each with its reason where it occurs."""

from typing import Any

import aws_cdk as cdk
from constructs import IConstruct


def accept(where: IConstruct, rule: str, reason: str) -> None:
    """Say that `rule`, such as "AwsSolutions::AwsSolutions-S1", finds something in or below `where`, and why it may."""
    cdk.Validations.of(where).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))


def accept_nag(where: IConstruct, rule: str, reason: str) -> None:
    """The same, of a rule of cdk-nag's pack AwsSolutions by its short name, such as "S1"."""
    accept(where, f"AwsSolutions::AwsSolutions-{rule}", reason)


def accept_wildcard(where: IConstruct, arn: str, reason: str) -> None:
    """Say why a role may do something with all resources whose names match `arn`, where it is a pattern."""
    written = _as_nag_writes(cdk.Stack.of(where).resolve(arn))
    if "*" in written:
        accept_nag(where, f"IAM5[Resource::{written}]", reason)


def _as_nag_writes(arn: Any) -> str:  # noqa: ANN401 - a string or an intrinsic
    match arn:
        case {"Fn::Join": [str(separator), list(parts)]}:
            return separator.join(map(_as_nag_writes, parts))
        case {"Fn::GetAtt": [str(id_), str(attribute)]}:
            return f"<{id_}.{attribute}>"
        case {"Ref": str(id_)}:
            return f"<{id_}>"
        case _:
            return str(arn)
