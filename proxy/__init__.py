"""HTTPS in front of Grafana or the local page: an nginx site, its certificate, its password, put in place whole or not
at all."""
