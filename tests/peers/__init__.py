"""What a device talks to, in versions that fail on order: a broker, its shadow service, and a line that goes dead."""
