"""What runs in AWS Lambda: one folder a capability, the same names as in `infra/`."""
