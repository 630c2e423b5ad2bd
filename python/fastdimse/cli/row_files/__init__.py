"""Files of rows (Parquet, Arrow IPC, NDJSON, CSV): their formats, read and written."""
