"""The MATE's end of a serial line: a pseudo-terminal whose other end a program opens like /dev/ttyUSB0."""

import fcntl
import os
import struct
import termios
import tty
from pathlib import Path

# A terminal holds at least 4095 unread bytes; well below that, a burst always fits whole.
MOST_UNREAD_BYTES = 2048


class SerialLine:
    """Raw, 19200 baud, 8N1. `link` becomes a symbolic link to the end that others open."""

    def __init__(self, link: Path) -> None:
        self._link = link
        # Both ends stay open here, so that a reader may come and go without a hang-up.
        self._ours, self._theirs = os.openpty()
        os.set_blocking(self._ours, False)
        tty.setraw(self._theirs)
        attributes = termios.tcgetattr(self._theirs)
        attributes[4] = attributes[5] = termios.B19200
        termios.tcsetattr(self._theirs, termios.TCSANOW, attributes)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._theirs))

    def send(self, burst: bytes) -> bool:
        """Send `burst` whole, or drop it whole when nobody has read for a while. Whether it was sent."""
        if self._unread_bytes() + len(burst) > MOST_UNREAD_BYTES:
            return False
        return os.write(self._ours, burst) == len(burst)

    def close(self) -> None:
        """Hang up and remove the link."""
        self._link.unlink(missing_ok=True)
        os.close(self._ours)
        os.close(self._theirs)

    def _unread_bytes(self) -> int:
        answer = fcntl.ioctl(self._theirs, termios.FIONREAD, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])
