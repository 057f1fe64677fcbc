"""What runs on the Pi: the control process (sensors -> decide -> relays) and the uplink process (outbox -> MQTT)."""
