"""Dashboards as code: one list of panels, for Grafana (in two query languages) and for the page of one machine."""
