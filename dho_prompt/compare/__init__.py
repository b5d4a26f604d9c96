"""Many runs side by side with one line on the screen: ``python -m dho_prompt.compare``, which the scripts call."""
