"""What the model sees: the same bits in training and in serving."""
