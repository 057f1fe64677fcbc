"""List prices in us-east-1, in US dollars: the first tier of each, and nothing taken off for free tiers.

`as_of` is when the price was published, or "undated": these are the prices of then, not of today. None was
read from AWS's price list itself. Where `seen` is true, a stored copy of the price's page, or somebody's transcription
or worked example of it, said so at that time; the others are from general knowledge and are marked by "?" where they
are printed. Look at the pages before you rely on them.
"""

from dataclasses import dataclass

COMPILED = "2026-11-23"
REGION = "us-east-1"
UNDATED = "undated"

_MILLION = 1e6


@dataclass(frozen=True)
class Price:
    """`usd` for each `per` of `unit`, by `page`."""

    usd: float
    per: float
    unit: str
    page: str
    as_of: str
    seen: bool

    @property
    def of_one(self) -> float:
        """For one of the unit."""
        return self.usd / self.per


_IOT = "https://aws.amazon.com/iot-core/pricing/"
_SQS = "https://aws.amazon.com/sqs/pricing/"
_SNS = "https://aws.amazon.com/sns/pricing/"
_LAMBDA = "https://aws.amazon.com/lambda/pricing/"
_S3 = "https://aws.amazon.com/s3/pricing/"
_DYNAMODB = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
_SECRETS = "https://aws.amazon.com/secrets-manager/pricing/"
_EVENTBRIDGE = "https://aws.amazon.com/eventbridge/pricing/"
_CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"
_TIMESTREAM = "https://aws.amazon.com/timestream/pricing/"
_PRIVATE_LINK = "https://aws.amazon.com/privatelink/pricing/"
_TRANSFER = "https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer"
_MANAGED_GRAFANA = "https://aws.amazon.com/grafana/pricing/"
_GRAFANA_CLOUD = "https://grafana.com/pricing/"

PRICES: dict[str, Price] = {
    # Of IoT Core, worked examples for Ireland and a table for Canada were seen, which cost the same.
    "iot.minutes": Price(0.08, _MILLION, "minute of connection", _IOT, "2026-09", seen=True),
    "iot.messages": Price(1.00, _MILLION, "message of 5 KB", _IOT, "2026-09", seen=True),
    "iot.shadow": Price(1.25, _MILLION, "shadow or registry operation of 1 KB", _IOT, "2026-09", seen=True),
    "iot.rules": Price(0.15, _MILLION, "rule triggered, of 5 KB", _IOT, "2025-06", seen=False),
    "iot.actions": Price(0.15, _MILLION, "action executed, of 5 KB", _IOT, "2025-06", seen=False),
    "sqs.requests": Price(0.40, _MILLION, "request of 64 KB", _SQS, "2026-03", seen=True),
    "sns.publishes": Price(0.50, _MILLION, "publish of 64 KB", _SNS, "2025-06", seen=False),
    "lambda.requests": Price(0.20, _MILLION, "request", _LAMBDA, "2026-05", seen=True),
    "lambda.gb_s": Price(0.0000133334, 1, "GB-second, arm64", _LAMBDA, "2026-05", seen=True),
    "s3.puts": Price(0.005, 1000, "PUT or LIST", _S3, "2025-06", seen=False),
    "s3.gets": Price(0.0004, 1000, "GET", _S3, "2025-06", seen=False),
    "s3.gb": Price(0.023, 1, "GB-month, Standard", _S3, "2025-06", seen=False),
    "dynamodb.writes": Price(0.625, _MILLION, "write request unit of 1 KB", _DYNAMODB, "2025-07", seen=True),
    "dynamodb.reads": Price(0.125, _MILLION, "read request unit of 4 KB", _DYNAMODB, "2025-07", seen=True),
    "dynamodb.gb": Price(0.25, 1, "GB-month", _DYNAMODB, "2025-06", seen=False),
    "dynamodb.pitr": Price(0.20, 1, "GB-month of point-in-time recovery", _DYNAMODB, "2025-06", seen=False),
    "secrets.secrets": Price(0.40, 1, "secret-month", _SECRETS, UNDATED, seen=True),
    "secrets.calls": Price(0.05, 10_000, "call", _SECRETS, UNDATED, seen=True),
    "scheduler.invocations": Price(1.00, _MILLION, "invocation", _EVENTBRIDGE, "2026-03", seen=True),
    "cloudwatch.alarms": Price(0.10, 1, "alarm metric and month", _CLOUDWATCH, UNDATED, seen=True),
    "cloudwatch.logs": Price(0.50, 1, "GB of logs taken in", _CLOUDWATCH, "2025-03", seen=True),
    "cloudwatch.stored": Price(0.03, 1, "GB-month of logs kept", _CLOUDWATCH, "2025-03", seen=True),
    # Seen for us-east-2 in 2020, when the service was new.
    "timestream.writes": Price(0.50, _MILLION, "write of 1 KB", _TIMESTREAM, "2020-07", seen=True),
    "timestream.memory": Price(0.036, 1, "GB-hour in the memory store", _TIMESTREAM, "2020-07", seen=True),
    "timestream.magnetic": Price(0.03, 1, "GB-month in the magnetic store", _TIMESTREAM, "2020-07", seen=True),
    "timestream.tcu": Price(0.518, 1, "TCU-hour of queries", _TIMESTREAM, "2025-06", seen=False),
    "transfer.gb": Price(0.09, 1, "GB to the internet", _TRANSFER, UNDATED, seen=True),
}

# Stated apart: whoever wants them pays them, and nothing of ours needs them.
APART: dict[str, Price] = {
    "Amazon Managed Grafana, editor (at least one)": Price(9.0, 1, "user-month", _MANAGED_GRAFANA, UNDATED, seen=True),
    "Amazon Managed Grafana, viewer": Price(5.0, 1, "user-month", _MANAGED_GRAFANA, UNDATED, seen=True),
    "Grafana Cloud Free (3 users)": Price(0.0, 1, "month", _GRAFANA_CLOUD, "2026-05", seen=True),
    "Grafana Cloud Pro, platform": Price(19.0, 1, "month", _GRAFANA_CLOUD, "2026-05", seen=True),
    "Grafana Cloud Pro, each further user": Price(8.0, 1, "user-month", _GRAFANA_CLOUD, "2026-05", seen=True),
    # AWS's agent-toolkit-for-aws names it as the least that the service costs.
    "Timestream for InfluxDB, one db.influx.medium": Price(95.0, 1, "month", _TIMESTREAM, "2026", seen=True),
    "Timestream for InfluxDB, storage": Price(0.10, 1, "GB-month", _TIMESTREAM, "2025-06", seen=False),
    # 720 hours at 0.01. Seen is only that it is paid by the hour and zone, and 0.01 for each GB besides.
    "InfluxDB, endpoint of Secrets Manager": Price(7.20, 1, "month", _PRIVATE_LINK, "2025-06", seen=False),
}
