"""Standard streams as a shell gives them to a command: with an encoding, closed, full, or without a reader."""

import io
import os


def encoded(encoding):
    """Return a stream of this encoding, in memory."""
    return io.TextIOWrapper(io.BytesIO(), encoding)


def without_reader():
    """Return a pipe that nobody reads, as after the end of `head`."""
    reader, writer = os.pipe()
    os.close(reader)
    return _unbuffered(writer)


def full():
    """Return a file on a full disk."""
    return _unbuffered(os.open("/dev/full", os.O_WRONLY))


def _unbuffered(descriptor):
    # With a buffer, the error would come when all is written, which is another case.
    return io.TextIOWrapper(open(descriptor, "wb", 0), "utf-8", write_through=True)
