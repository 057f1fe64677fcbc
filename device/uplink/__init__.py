"""The uplink process: takes what control put in the outbox to AWS IoT Core."""
