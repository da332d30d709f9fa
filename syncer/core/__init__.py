"""The pure core: decisions only. No I/O, no clock, no randomness, no logging may live here."""
