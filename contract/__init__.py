"""What the device, the cloud and infra say to each other. Imports nothing but the standard library."""
