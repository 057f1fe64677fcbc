"""Alert topic -> queue -> one PagerDuty incident for each alert of each thing."""
