"""The AWS half as a CDK app: one construct a capability, put together in `stack.py`."""

# The stacks' names, for those who deploy them without loading the CDK.
STACK = "Solarshed"
TIMESTREAM_STACK = "SolarshedTimestream"
INFLUXDB_STACK = "SolarshedInfluxDb"

# For the same: where Timestream for LiveAnalytics is offered. botocore 1.43.106 (2026), endpoints.json,
# `ingest.timestream`.
TIMESTREAM_REGIONS = (
    *("us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-1"),
    *("ap-northeast-1", "ap-south-1", "ap-southeast-2", "us-gov-west-1"),
)
