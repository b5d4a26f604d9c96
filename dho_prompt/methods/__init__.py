"""Host methods: each gives image features and class logits of its own, and says what it trains."""
