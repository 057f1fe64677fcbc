import os
import signal
import subprocess
import sys

from device.stopping import StopRequest

# A signal at every single line of what waiting and being told to stop runs through, the standard library's lines
# included: a lock that any of them holds is asked for again by the handler.
CHILD = """
import signal, sys
from device.stopping import StopRequest

signals = 0

def interrupt(frame, event, argument):
    global signals
    signals += 1
    signal.raise_signal(signal.SIGTERM)
    return interrupt

stopping = StopRequest(signal.SIGTERM)
sys.settrace(interrupt)
stopping.wait(0.01)
stopping._on_signal(signal.SIGTERM, None)
stopping.wait(10)
stopping.is_set()
sys.settrace(None)
print(signals)
"""


def test_a_signal_at_any_moment_never_hangs_the_process_that_waits() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=20, check=True)

    assert int(done.stdout) > 10


def test_waiting_ends_with_the_signal_and_not_before_its_time() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    try:
        stopping = StopRequest(signal.SIGUSR1)

        assert stopping.wait(0.01) is False
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stopping.wait(60) is True
        assert stopping.is_set()
        assert stopping.wait(60) is True
    finally:
        signal.signal(signal.SIGUSR1, before)
