"""DHO on somebody else's Dassl-style trainer."""
