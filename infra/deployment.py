"""Where the stacks go, and what every bucket and queue of ours has in common."""

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct


@dataclass(frozen=True)
class Deployment:
    """AWS, or the demo's emulator.

    The emulator speaks plain HTTP, so a policy that refuses everything but TLS would refuse everything there; and it
    is thrown away, so nothing is kept when its stacks go.
    """

    local: bool

    @property
    def removal_policy(self) -> cdk.RemovalPolicy:
        """What becomes of stateful resources when their stack is destroyed."""
        return cdk.RemovalPolicy.DESTROY if self.local else cdk.RemovalPolicy.RETAIN

    def synthesizer(self) -> cdk.IStackSynthesizer:
        """The emulator's IAM refuses the bootstrap stack's roles, but not the caller's own credentials."""
        return cdk.CliCredentialsStackSynthesizer() if self.local else cdk.DefaultStackSynthesizer()

    def bucket(self, scope: Construct, id_: str) -> s3.Bucket:
        """An encrypted bucket that is never public and speaks TLS only."""
        return s3.Bucket(
            scope,
            id_,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=not self.local,
            removal_policy=self.removal_policy,
        )

    def queue(
        self,
        scope: Construct,
        id_: str,
        *,
        visibility_timeout: cdk.Duration | None = None,
        dead_letter_queue: sqs.DeadLetterQueue | None = None,
    ) -> sqs.Queue:
        """An encrypted queue that keeps what nobody takes for 14 days, the longest there is, and speaks TLS only."""
        return sqs.Queue(
            scope,
            id_,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=not self.local,
            retention_period=cdk.Duration.days(14),
            visibility_timeout=visibility_timeout,
            dead_letter_queue=dead_letter_queue,
        )
