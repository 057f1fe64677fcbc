"""The AWS half as a CDK app: one construct a capability, put together in `stack.py`."""
