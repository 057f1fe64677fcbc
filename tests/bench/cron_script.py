"""What the owner began with, in its shape: cron starts it once a minute, it looks once, decides once and ends.

It starts an interpreter, imports a serial port's and an HTTP client's library, reads two pages without checking them
and says where the relays should be. Its last line is its own peak memory in KB.
"""

import sys
from pathlib import Path

import requests
import serial

LOW_V = 49.9
PAGES = 2

assert requests.__name__  # nothing is sent; to have it ready is what costs
with serial.Serial(sys.argv[1], 19200, timeout=5) as port:
    pages = [port.read_until(b"\r").strip().split(b",") for _ in range(PAGES)]
# An FX has it in its eleventh field, an MX in the same one, in tenths of a volt.
voltages_v = [float(page[10]) / 10 for page in pages if len(page) > 10]
print("GRID" if min(voltages_v) <= LOW_V else "BATTERY")
status = Path("/proc/self/status").read_text(encoding="ascii")
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
