"""Queue -> points -> time series store."""
