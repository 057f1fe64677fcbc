"""The AWS half as a CDK app: one construct a capability, put together in `stack.py`."""

# The stacks' names, for those who deploy them without loading the CDK.
STACK = "Solarshed"
TIMESTREAM_STACK = "SolarshedTimestream"
