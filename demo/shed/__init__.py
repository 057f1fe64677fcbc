"""The simulated shed: sun, bank, house, inverter and relay box, seen only through bytes, files and pins."""
