"""What a process that runs for months needs: lines of a log, metrics, and messages to systemd."""
