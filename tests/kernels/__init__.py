"""Real kernels under qemu: fetched, given an initramfs, booted, and asked what they saw."""
