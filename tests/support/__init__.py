"""What the process-level tests share. Nothing here knows how the gateway is built."""
