"""Files of received events in a directory.

In: batches of `fastdimse.ReceivedEvents`. Out: complete files of rows. `writer` writes a batch to a
partial file before its events are responded to, and completes the file later. `recovery` completes
the partial files of processes that were killed.
"""
