"""What roles may do. Each permission names its actions and its resources."""

from aws_cdk import aws_iam as iam

from infra.accepted import accept_wildcard


def allow(role: iam.Role, actions: list[str], resources: list[str], *, why_all: str = "") -> None:
    """Allow these actions and no other: the CDK's own `grant_...` methods allow several, some with wildcards.

    `why_all` is the reason why a resource may be a pattern.
    """
    iam.Grant.add_to_principal(grantee=role, actions=actions, resource_arns=resources)
    for arn in resources if why_all else []:
        accept_wildcard(role, arn, why_all)
