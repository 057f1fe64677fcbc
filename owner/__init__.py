"""What the owner runs on a laptop, with boto3 and an ordinary AWS profile: provision, override, status."""
