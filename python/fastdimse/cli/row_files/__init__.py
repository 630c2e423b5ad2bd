"""Files of rows: Parquet, Arrow IPC, NDJSON and CSV.

`read` opens a file as rows that an encoder accepts, `several` opens files and folders as one input,
and `write` writes a file. Text files can be compressed (`compression`). The columns are those of
`fastdimse.encode_events` and `fastdimse.encode_capture` (`columns`). NDJSON and CSV have no type
for bytes: EventInformation and EventReply are base64 there, as InlineBinary is in DICOM JSON
(PS3.18 F.2.7). They have no types for times either: Time is ISO 8601, and Latency is a number of
nanoseconds. An empty CSV cell is null; NDJSON omits nulls. Structured data sets are structs, and
objects in NDJSON; CSV cannot hold them.
"""
