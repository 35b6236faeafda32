"""The queue between an ended call and a sink: attempts, retries, deadlines, counters."""
