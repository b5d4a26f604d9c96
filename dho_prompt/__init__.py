"""DHO (Dual-Head Optimization) for CLIP prompt tuning."""
